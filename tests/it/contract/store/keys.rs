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
    let second = ApiKey { per_minute: Some(60_000_000), expires_at: Some(minute(7)), ..key(2) };
    for one in [&second, &first] {
        store.put_key(one).await.unwrap();
    }
    assert_eq!(store.keys().await.unwrap(), [first.clone(), second.clone()], "oldest first");
    let revoked = ApiKey { revoked_at: Some(minute(9)), name: "other".to_owned(), ..second.clone() };
    store.put_key(&revoked).await.unwrap();
    let expected = ApiKey { name: second.name.clone(), ..revoked };
    assert_eq!(store.keys().await.unwrap(), [first, expected], "only the revocation changes");
}

pub async fn only_latest_revoked_keys_are_retained(backend: Backend) {
    let store = (backend.open)().await;
    let limit = MAX_STORED_REVOKED_KEYS.cast_unsigned();
    let valid = key(limit + 5);
    store.put_key(&valid).await.unwrap();
    for number in 0..limit + 2 {
        let one = key(number);
        store.put_key(&ApiKey { revoked_at: Some(one.created_at), ..one }).await.unwrap();
    }
    let stored = store.keys().await.unwrap();
    assert_eq!((stored.len() as u64, &stored[0].id), (limit + 1, &key(2).id));
    assert!(stored.contains(&valid));
}
