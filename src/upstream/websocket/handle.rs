//! What others see of a connection, and what they want of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::exchanges::Subscription;
use crate::model::{ConnectionState, FeedState, Timestamp, Topic};

/// One connection, from outside. Clones are the same connection.
#[derive(Clone)]
pub struct ConnectionHandle(Arc<Shared>);

struct Shared {
    name: String,
    capacity: usize,
    /// What shall be listened to. The runner makes it so, over any number of reconnections; so no change is ever lost
    /// on the way.
    wanted: Mutex<BTreeMap<Topic, Subscription>>,
    changed: Notify,
    status: Mutex<Status>,
}

#[derive(Clone, Copy)]
pub(super) struct Status {
    pub state: FeedState,
    pub last_message: Option<Timestamp>,
    pub reconnects: u64,
}

/// The connection cannot take so many subscriptions; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this connection has room for {room} more subscriptions only: open another one")]
pub struct NoRoom {
    pub room: usize,
}

impl ConnectionHandle {
    pub(super) fn new(name: String, subscriptions: Vec<Subscription>, spare: usize) -> Self {
        let wanted: BTreeMap<_, _> = subscriptions.into_iter().map(|wanted| (wanted.topic(), wanted)).collect();
        let status = Status { state: FeedState::Connecting, last_message: None, reconnects: 0 };
        Self(Arc::new(Shared {
            name,
            capacity: wanted.len() + spare,
            wanted: Mutex::new(wanted),
            changed: Notify::new(),
            status: Mutex::new(status),
        }))
    }

    /// `binance.1`
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Adds and removes subscriptions, at once or with the next connection. What is there already is not added again.
    ///
    /// # Errors
    /// [`NoRoom`], and nothing is changed.
    pub fn change(&self, add: &[Subscription], remove: &[Subscription]) -> Result<(), NoRoom> {
        {
            let mut wanted = self.0.wanted.lock();
            let mut next = wanted.clone();
            for gone in remove {
                next.remove(&gone.topic());
            }
            next.extend(add.iter().map(|new| (new.topic(), new.clone())));
            if next.len() > self.0.capacity {
                return Err(NoRoom { room: self.0.capacity.saturating_sub(wanted.len()) });
            }
            *wanted = next;
        }
        self.0.changed.notify_one();
        Ok(())
    }

    /// What it listens to, or shall.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Subscription> {
        self.0.wanted.lock().values().cloned().collect()
    }

    /// How many further subscriptions it can take.
    #[must_use]
    pub fn spare(&self) -> usize {
        self.0.capacity.saturating_sub(self.0.wanted.lock().len())
    }

    /// How it is doing.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        let Status { state, last_message, reconnects } = *self.0.status.lock();
        let topics = self.0.wanted.lock().len();
        ConnectionState { id: self.0.name.clone(), state, topics, last_message, reconnects }
    }

    pub(super) fn update(&self, update: impl FnOnce(&mut Status)) {
        update(&mut self.0.status.lock());
    }

    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    pub(super) fn is_wanted(&self, topic: &Topic) -> bool {
        self.0.wanted.lock().contains_key(topic)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.0.wanted.lock().is_empty()
    }

    pub(super) fn forget(&self, topic: &Topic) {
        self.0.wanted.lock().remove(topic);
    }

    pub(super) fn wanted(&self) -> BTreeMap<Topic, Subscription> {
        self.0.wanted.lock().clone()
    }
}
