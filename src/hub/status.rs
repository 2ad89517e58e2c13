//! The states of exchanges, as they change: looked at twice a second while somebody wants to know.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cache::ExchangeStates;
use crate::clock::Clock;
use crate::lifecycle::outlive_panics;
use crate::model::ExchangeState;

/// How often the states are looked at. A collector tells them as often.
const LOOK: Duration = Duration::from_millis(500);

/// All states that were told.
pub type States = Vec<Arc<ExchangeState>>;

/// Watches the states of exchanges.
pub struct Statuses {
    states: Arc<dyn ExchangeStates>,
    clock: Clock,
    told: watch::Sender<States>,
    /// Whether somebody looks.
    looking: Mutex<bool>,
}

impl Statuses {
    pub(super) fn new(states: Arc<dyn ExchangeStates>, clock: Clock) -> Arc<Self> {
        Arc::new(Self { states, clock, told: watch::Sender::new(Vec::new()), looking: Mutex::new(false) })
    }

    /// The states as they are, and each change. Looking ends when the last receiver is dropped.
    pub async fn subscribe(self: &Arc<Self>) -> watch::Receiver<States> {
        let receiver = self.told.subscribe();
        self.look().await;
        if !std::mem::replace(&mut *self.looking.lock(), true) {
            let statuses = Arc::clone(self);
            tokio::spawn(async move {
                let clock = statuses.clock.clone();
                outlive_panics("statuses", &clock, || Arc::clone(&statuses).keep_looking()).await;
            });
        }
        receiver
    }

    async fn keep_looking(self: Arc<Self>) {
        loop {
            self.clock.sleep(LOOK).await;
            {
                let mut looking = self.looking.lock();
                if self.told.receiver_count() == 0 {
                    *looking = false;
                    return;
                }
            }
            self.look().await;
        }
    }

    async fn look(&self) {
        // While the cache does not answer, what was told stands.
        let Ok(states) = self.states.all().await else { return };
        self.told.send_if_modified(|told| {
            let same = told.len() == states.len() && told.iter().zip(&states).all(|(old, new)| old.reads_like(new));
            if !same {
                *told = states;
            }
            !same
        });
    }
}
