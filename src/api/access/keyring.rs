//! The keys that open doors here.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::model::{ApiKey, Timestamp};

/// The keys that the store keeps, in memory, so that who asks never waits for it and it may be away.
#[derive(Default)]
pub struct Keyring(RwLock<HashMap<String, Arc<ApiKey>>>);

impl Keyring {
    /// What the store has now.
    pub fn replace(&self, keys: Vec<ApiKey>) {
        let keys = keys.into_iter().map(|key| (key.id.clone(), Arc::new(key))).collect();
        // The old ones are let go when nobody waits for the lock.
        drop(std::mem::replace(&mut *self.0.write(), keys));
    }

    /// Whether any key is good at `now`.
    #[must_use]
    pub fn has_some(&self, now: Timestamp) -> bool {
        self.0.read().values().any(|key| key.is_valid(now))
    }

    /// Whether the key of that id is good at `now`.
    pub fn has(&self, id: &str, now: Timestamp) -> bool {
        self.valid(id, now).is_some()
    }

    /// The key of a text, if it is one's and good at `now`.
    pub fn find(&self, text: &str, now: Timestamp) -> Option<Arc<ApiKey>> {
        self.valid(ApiKey::id_of(text)?, now).filter(|key| key.is(text))
    }

    /// The key that a ticket stands in for, if both are good at `now`.
    pub fn find_by_ticket(&self, ticket: &str, now: Timestamp) -> Option<Arc<ApiKey>> {
        self.valid(ApiKey::id_of_ticket(ticket)?, now).filter(|key| key.honours(ticket, now))
    }

    fn valid(&self, id: &str, now: Timestamp) -> Option<Arc<ApiKey>> {
        self.0.read().get(id).filter(|key| key.is_valid(now)).cloned()
    }
}
