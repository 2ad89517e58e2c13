//! Contract of stored API keys.

use candlewick::model::{ApiKey, KeyScope};
use candlewick::store::MAX_STORED_REVOKED_KEYS;

use super::{Backend, minute};

fn key(number: u64) -> ApiKey {
    let at = minute(number.cast_signed());
    ApiKey::generate("a bot's \"key\"", &[KeyScope::Stream, KeyScope::Read], at, || (number + 1) << 32).0
}

pub async fn key_is_stored_and_revoked(backend: Backend) {
    let store = (backend.open)().await;
    assert_eq!(store.keys().await.unwrap(), []);
    let first = key(1);
    let mut second = ApiKey { per_minute: Some(60_000_000), expires_at: Some(minute(7)), ..key(2) };
    for one in [&second, &first] {
        assert!(store.insert_key(one).await.unwrap());
    }
    assert_eq!(store.keys().await.unwrap(), [first.clone(), second.clone()], "oldest first");
    assert!(store.revoke_key(&second.id, minute(9)).await.unwrap());
    second.revoked_at = Some(minute(9));
    assert_eq!(store.keys().await.unwrap(), [first.clone(), second.clone()], "only the revocation changes");
    assert!(!store.revoke_key(&second.id, minute(12)).await.unwrap(), "a key is revoked only once");
    assert!(!store.revoke_key("no such key", minute(12)).await.unwrap());
    assert_eq!(store.keys().await.unwrap(), [first, second]);
}

/// A second key with the id of a valid, an expired or a revoked key never replaces it.
pub async fn existing_id_is_refused(backend: Backend) {
    let store = (backend.open)().await;
    let (valid, expired, mut revoked) = (key(1), ApiKey { expires_at: Some(minute(2)), ..key(2) }, key(3));
    for one in [&valid, &expired, &revoked] {
        assert!(store.insert_key(one).await.unwrap());
    }
    assert!(store.revoke_key(&revoked.id, minute(9)).await.unwrap());
    revoked.revoked_at = Some(minute(9));
    for one in [&valid, &expired, &revoked] {
        let (other, _) = ApiKey::generate("other", &[KeyScope::Admin], minute(20), || 99 << 32);
        let other = ApiKey { id: one.id.clone(), ..other };
        assert_ne!(other.digest, one.digest);
        assert!(!store.insert_key(&other).await.unwrap(), "{}", one.id);
        let revoked = ApiKey { revoked_at: Some(minute(21)), ..other };
        assert!(!store.insert_key(&revoked).await.unwrap(), "{}", one.id);
    }
    assert_eq!(store.keys().await.unwrap(), [valid, expired, revoked], "the stored keys are unchanged");
}

pub async fn only_latest_revoked_keys_are_retained(backend: Backend) {
    let store = (backend.open)().await;
    let limit = MAX_STORED_REVOKED_KEYS.cast_unsigned();
    let valid = key(limit + 5);
    assert!(store.insert_key(&valid).await.unwrap());
    for number in 0..limit + 2 {
        let one = key(number);
        assert!(store.insert_key(&one).await.unwrap());
        assert!(store.revoke_key(&one.id, one.created_at).await.unwrap());
    }
    let stored = store.keys().await.unwrap();
    assert_eq!((stored.len() as u64, &stored[0].id), (limit + 1, &key(2).id));
    assert!(stored.contains(&valid));
}
