//! API keys.

use async_trait::async_trait;

use super::error::StoreError;
use crate::model::{ApiKey, Timestamp};

/// Maximum number of revoked API keys in the store.
pub const MAX_STORED_REVOKED_KEYS: i64 = 1_000;

/// Stores API keys. A stored key never changes, except that it can be revoked once.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Stores a new key. Returns `false`, and changes nothing, if a key with this id exists, whether it is valid,
    /// expired or revoked.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn insert_key(&self, key: &ApiKey) -> Result<bool, StoreError>;

    /// Revokes a key. Returns `false`, and changes nothing, if there is no such key or if it is revoked already.
    /// Deletes revoked keys except the most recently revoked [`MAX_STORED_REVOKED_KEYS`].
    ///
    /// # Errors
    /// [`StoreError`].
    async fn revoke_key(&self, id: &str, at: Timestamp) -> Result<bool, StoreError>;

    /// All API keys, oldest first, including expired and revoked ones.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError>;
}
