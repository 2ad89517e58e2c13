//! The API keys that this process accepts.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::model::{ApiKey, Timestamp};

/// The stored API keys, held in memory: requests do not wait for the store and succeed while it is unavailable.
#[derive(Default)]
pub struct KeyRegistry(RwLock<HashMap<String, Arc<ApiKey>>>);

impl KeyRegistry {
    /// Replaces all keys with those of the store.
    pub fn replace(&self, keys: Vec<ApiKey>) {
        let keys = keys.into_iter().map(|key| (key.id.clone(), Arc::new(key))).collect();
        drop(std::mem::replace(&mut *self.0.write(), keys));
    }

    /// Whether any key is valid at `now`.
    #[must_use]
    pub fn has_valid_key(&self, now: Timestamp) -> bool {
        self.0.read().values().any(|key| key.is_valid(now))
    }

    /// Whether the key with this id exists and is valid at `now`.
    pub fn is_valid(&self, id: &str, now: Timestamp) -> bool {
        self.valid(id, now).is_some()
    }

    /// Finds the key with this text, if it is valid at `now`.
    pub fn find_by_key(&self, text: &str, now: Timestamp) -> Option<Arc<ApiKey>> {
        self.valid(ApiKey::key_id(text)?, now).filter(|key| key.verify(text))
    }

    /// Finds the key that signed this ticket, if ticket and key are valid at `now`.
    pub fn find_by_ticket(&self, ticket: &str, now: Timestamp) -> Option<Arc<ApiKey>> {
        self.valid(ApiKey::ticket_key_id(ticket)?, now).filter(|key| key.verify_ticket(ticket, now))
    }

    fn valid(&self, id: &str, now: Timestamp) -> Option<Arc<ApiKey>> {
        self.0.read().get(id).filter(|key| key.is_valid(now)).cloned()
    }
}
