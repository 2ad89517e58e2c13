//! API keys.

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row, query};

use super::{SqliteStore, corrupt, store_error};
use crate::model::{ApiKey, KeyDigest, Timestamp};
use crate::store::{MAX_STORED_REVOKED_KEYS, StoreError};

pub(super) async fn put(store: &SqliteStore, key: &ApiKey) -> Result<(), StoreError> {
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let mut writer = store.writer.acquire().await.map_err(store_error)?;
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)?;
    query(
        "INSERT INTO api_keys (id, digest, name, scopes, per_minute, created_at, expires_at, revoked_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (id) DO UPDATE SET revoked_at = excluded.revoked_at",
    )
    .bind(&key.id)
    .bind(key.digest.0.to_vec())
    .bind(&key.name)
    .bind(scopes.join(" "))
    .bind(key.per_minute.map(u32::cast_signed))
    .bind(key.created_at.millis())
    .bind(key.expires_at.map(Timestamp::millis))
    .bind(key.revoked_at.map(Timestamp::millis))
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    query(
        "DELETE FROM api_keys WHERE revoked_at IS NOT NULL AND id NOT IN \
            (SELECT id FROM api_keys WHERE revoked_at IS NOT NULL ORDER BY revoked_at DESC, id LIMIT $1)",
    )
    .bind(MAX_STORED_REVOKED_KEYS)
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)
}

pub(super) async fn all(store: &SqliteStore) -> Result<Vec<ApiKey>, StoreError> {
    let select = query("SELECT * FROM api_keys ORDER BY created_at, id");
    select.fetch_all(&store.readers).await.map_err(store_error)?.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> Result<ApiKey, StoreError> {
    let text = |name: &'static str| row.try_get::<&str, _>(name).map_err(store_error);
    let time = |name: &'static str| row.try_get::<Option<i64>, _>(name).map_err(store_error);
    let id = text("id")?;
    let invalid = |column: &str| corrupt(format_args!("API key {id} has an invalid `{column}`"));
    let digest = row.try_get::<&[u8], _>("digest").map_err(store_error)?;
    let scopes = text("scopes")?.split(' ').map(str::parse).collect::<Result<_, _>>();
    Ok(ApiKey {
        id: id.to_owned(),
        digest: KeyDigest(digest.try_into().map_err(|_| invalid("digest"))?),
        name: text("name")?.to_owned(),
        scopes: scopes.map_err(|_| invalid("scopes"))?,
        per_minute: row.try_get::<Option<i32>, _>("per_minute").map_err(store_error)?.map(i32::cast_unsigned),
        created_at: Timestamp::from_millis(time("created_at")?.ok_or_else(|| invalid("created_at"))?),
        expires_at: time("expires_at")?.map(Timestamp::from_millis),
        revoked_at: time("revoked_at")?.map(Timestamp::from_millis),
    })
}
