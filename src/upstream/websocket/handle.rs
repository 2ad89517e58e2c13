//! Handle to a connection: its state and its subscriptions.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::exchanges::Subscription;
use crate::model::{ConnectionState, FeedState, Timestamp, Topic};

/// Handle to one connection. Clones refer to the same connection.
#[derive(Clone)]
pub struct ConnectionHandle(Arc<Shared>);

struct Shared {
    name: String,
    capacity: usize,
    /// The target subscriptions. The runner applies them to each new connection, so that no change is lost.
    target: Mutex<BTreeMap<Topic, Subscription>>,
    changed: Notify,
    status: Mutex<Status>,
}

#[derive(Clone, Copy)]
pub(super) struct Status {
    pub state: FeedState,
    pub last_message: Option<Timestamp>,
    pub reconnects: u64,
}

/// The connection cannot carry that many subscriptions; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this connection can carry only {spare_capacity} more subscriptions: open another one")]
pub struct ConnectionFull {
    pub spare_capacity: usize,
}

impl ConnectionHandle {
    pub(super) fn new(name: String, subscriptions: Vec<Subscription>, spare_capacity: usize) -> Self {
        let target: BTreeMap<_, _> =
            subscriptions.into_iter().map(|subscription| (subscription.topic(), subscription)).collect();
        let status = Status { state: FeedState::Connecting, last_message: None, reconnects: 0 };
        Self(Arc::new(Shared {
            name,
            capacity: target.len() + spare_capacity,
            target: Mutex::new(target),
            changed: Notify::new(),
            status: Mutex::new(status),
        }))
    }

    /// Name of the connection: `binance.1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Adds and removes subscriptions, now or with the next connection. Existing ones are not added again.
    ///
    /// # Errors
    /// [`ConnectionFull`]; nothing is changed.
    pub fn update_subscriptions(&self, add: &[Subscription], remove: &[Subscription]) -> Result<(), ConnectionFull> {
        {
            let mut target = self.0.target.lock();
            let mut next = target.clone();
            for removed in remove {
                next.remove(&removed.topic());
            }
            next.extend(add.iter().map(|added| (added.topic(), added.clone())));
            if next.len() > self.0.capacity {
                return Err(ConnectionFull { spare_capacity: self.0.capacity.saturating_sub(target.len()) });
            }
            *target = next;
        }
        self.0.changed.notify_one();
        Ok(())
    }

    /// The target subscriptions.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Subscription> {
        self.0.target.lock().values().cloned().collect()
    }

    /// How many more subscriptions it can carry.
    #[must_use]
    pub fn spare_capacity(&self) -> usize {
        self.0.capacity.saturating_sub(self.0.target.lock().len())
    }

    /// State for `/v1/exchanges`.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        let Status { state, last_message, reconnects } = *self.0.status.lock();
        let topics = self.0.target.lock().len();
        ConnectionState { id: self.0.name.clone(), state, topics, last_message, reconnects }
    }

    pub(super) fn update_status(&self, update: impl FnOnce(&mut Status)) {
        update(&mut self.0.status.lock());
    }

    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    pub(super) fn contains(&self, topic: &Topic) -> bool {
        self.0.target.lock().contains_key(topic)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.0.target.lock().is_empty()
    }

    pub(super) fn remove(&self, topic: &Topic) {
        self.0.target.lock().remove(topic);
    }

    pub(super) fn target(&self) -> BTreeMap<Topic, Subscription> {
        self.0.target.lock().clone()
    }
}
