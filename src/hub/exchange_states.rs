//! Watches the exchange states: polls the cache twice a second while there are receivers.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cache::ExchangeStates;
use crate::clock::Clock;
use crate::lifecycle::restart_on_panic;
use crate::model::ExchangeState;

/// Poll interval. Collectors report at the same interval.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The states of all exchanges.
pub type States = Vec<Arc<ExchangeState>>;

/// Publishes changes of the exchange states to receivers.
pub struct ExchangeStateWatcher {
    states: Arc<dyn ExchangeStates>,
    clock: Clock,
    published: watch::Sender<States>,
    /// Whether the polling task runs.
    polling: Mutex<bool>,
}

impl ExchangeStateWatcher {
    pub(super) fn new(states: Arc<dyn ExchangeStates>, clock: Clock) -> Arc<Self> {
        Arc::new(Self { states, clock, published: watch::Sender::new(Vec::new()), polling: Mutex::new(false) })
    }

    /// Receives the current states and each change. Polling ends when the last receiver is dropped.
    pub async fn subscribe(self: &Arc<Self>) -> watch::Receiver<States> {
        let receiver = self.published.subscribe();
        self.refresh().await;
        if !std::mem::replace(&mut *self.polling.lock(), true) {
            let watcher = Arc::clone(self);
            tokio::spawn(async move {
                let clock = watcher.clock.clone();
                restart_on_panic("statuses", &clock, || Arc::clone(&watcher).poll()).await;
            });
        }
        receiver
    }

    async fn poll(self: Arc<Self>) {
        loop {
            self.clock.sleep(POLL_INTERVAL).await;
            {
                let mut polling = self.polling.lock();
                if self.published.receiver_count() == 0 {
                    *polling = false;
                    return;
                }
            }
            self.refresh().await;
        }
    }

    async fn refresh(&self) {
        // While the cache is unavailable, the last published states stay.
        let Ok(states) = self.states.all().await else { return };
        self.published.send_if_modified(|published| {
            let same = published.len() == states.len()
                && published.iter().zip(&states).all(|(old, new)| old.has_same_status(new));
            if !same {
                *published = states;
            }
            !same
        });
    }
}
