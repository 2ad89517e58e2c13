//! Creates, lists and revokes API keys.

use std::time::Duration;

use super::{InvalidParameter, MarketError, MarketService};
use crate::clock::Clock;
use crate::config::MAX_PER_MINUTE;
use crate::model::{ApiKey, KeyScope};
use crate::store::KeyStore;

/// Maximum number of valid keys.
const MAX_KEYS: usize = 10_000;

/// Maximum number of ids to try for a new key. An id has 32 random bits.
const MAX_ID_ATTEMPTS: usize = 10;

/// Maximum length of a key's name in characters.
const MAX_NAME: usize = 100;

/// Maximum number of days until a key expires.
pub const MAX_EXPIRY_DAYS: u32 = 36_500;

/// Retry delay when there are too many keys.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// The properties of a key to create.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Says what the key is for.
    pub name: String,
    /// At least one.
    pub scopes: Vec<KeyScope>,
    /// Rate limit in cost units per minute; `None` for the default of the service.
    pub per_minute: Option<u32>,
    /// Days until the key expires; `None` for never.
    pub expires_in_days: Option<u32>,
}

impl NewKey {
    fn check(&self) -> Result<(), Vec<InvalidParameter>> {
        let mut invalid = Vec::new();
        let mut reject = |parameter, detail: String| invalid.push(InvalidParameter { parameter, detail });
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            reject("name", format!("a key's name must have 1 to {MAX_NAME} characters and no control characters"));
        }
        if self.scopes.is_empty() {
            reject("scopes", "a key needs at least one of the scopes read, stream, admin".to_owned());
        }
        if self.per_minute.is_some_and(|limit| !(1..=MAX_PER_MINUTE).contains(&limit)) {
            reject("per_minute", format!("`per_minute` is a number from 1 to {MAX_PER_MINUTE}"));
        }
        if self.expires_in_days.is_some_and(|days| !(1..=MAX_EXPIRY_DAYS).contains(&days)) {
            reject("expires_in_days", format!("`expires_in_days` is a number from 1 to {MAX_EXPIRY_DAYS}"));
        }
        if invalid.is_empty() { Ok(()) } else { Err(invalid) }
    }
}

/// Creates a key. Returns it with its text, which is not stored.
///
/// # Errors
/// `InvalidParameters`; `TooManyRequests` if there are too many keys; `StoreUnavailable`.
pub async fn create_key(store: &dyn KeyStore, clock: &Clock, new: &NewKey) -> Result<(ApiKey, String), MarketError> {
    new.check().map_err(MarketError::InvalidParameters)?;
    let now = clock.now();
    if store.keys().await?.iter().filter(|key| key.is_valid(now)).count() >= MAX_KEYS {
        let detail = format!("there are already {MAX_KEYS} valid keys: revoke some first");
        return Err(MarketError::TooManyRequests { detail, retry_after: RETRY_AFTER });
    }
    let expires_at = new.expires_in_days.map(|days| now + Duration::from_hours(24) * days);
    insert_with_new_id(store, || {
        let (key, text) = ApiKey::generate(new.name.trim(), &new.scopes, now, || clock.random_u64());
        (ApiKey { per_minute: new.per_minute, expires_at, ..key }, text)
    })
    .await
}

/// Stores a generated key. Generates another one if a key with its id exists.
async fn insert_with_new_id(
    store: &dyn KeyStore,
    mut generate: impl FnMut() -> (ApiKey, String),
) -> Result<(ApiKey, String), MarketError> {
    for _ in 0..MAX_ID_ATTEMPTS {
        let (key, text) = generate();
        if store.insert_key(&key).await? {
            return Ok((key, text));
        }
    }
    let detail = format!("no key was created: {MAX_ID_ATTEMPTS} random ids belong to other keys; try again");
    Err(MarketError::TooManyRequests { detail, retry_after: RETRY_AFTER })
}

/// Revokes a key. Services apply this within seconds. Revoking a revoked key changes nothing.
///
/// # Errors
/// `NotFound`, `StoreUnavailable`.
pub async fn revoke_key(store: &dyn KeyStore, clock: &Clock, id: &str) -> Result<ApiKey, MarketError> {
    let Some(mut key) = store.keys().await?.into_iter().find(|key| key.id == id) else {
        return Err(MarketError::NotFound(format!(
            "there is no key `{id}`; `candlewick keys list` and `GET /v1/keys` list the keys"
        )));
    };
    let now = clock.now();
    if store.revoke_key(id, now).await? {
        key.revoked_at = Some(now);
    }
    Ok(key)
}

impl MarketService {
    /// All API keys, oldest first, including expired and revoked ones.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn keys(&self) -> Result<Vec<ApiKey>, MarketError> {
        Ok(self.stores.real.keys().await?)
    }

    /// Creates a key, see [`create_key`].
    ///
    /// # Errors
    /// Those of [`create_key`].
    pub async fn create_key(&self, new: &NewKey) -> Result<(ApiKey, String), MarketError> {
        create_key(&*self.stores.real, &self.clock, new).await
    }

    /// Revokes a key, see [`revoke_key`].
    ///
    /// # Errors
    /// Those of [`revoke_key`].
    pub async fn revoke_key(&self, id: &str) -> Result<ApiKey, MarketError> {
        revoke_key(&*self.stores.real, &self.clock, id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn new_key_does_not_take_id_of_other_key() {
        let store = SqliteStore::in_memory().await.unwrap();
        let at = Timestamp::EPOCH;
        let with_id = |id: u64| ApiKey::generate("bot", &[KeyScope::Read], at, || id << 32);
        let (other, _) = with_id(7);
        assert!(store.insert_key(&other).await.unwrap() && store.revoke_key(&other.id, at).await.unwrap());
        let mut ids = [7, 7, 8].into_iter();
        let (key, _) = insert_with_new_id(&store, || with_id(ids.next().unwrap())).await.unwrap();
        assert_eq!(key.id, "00000008");
        assert!(insert_with_new_id(&store, || with_id(7)).await.is_err(), "the number of attempts is limited");
        let stored = store.keys().await.unwrap();
        assert_eq!(stored, [ApiKey { revoked_at: Some(at), ..other }, key]);
    }
}
