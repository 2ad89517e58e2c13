//! API keys.

use async_trait::async_trait;

use super::columns::Columns;
use super::database::Value;
use super::store::SqlStore;
use crate::model::{ApiKey, KeyDigest, Timestamp};
use crate::store::error::StoreError;
use crate::store::keys::{KeyStore, MAX_STORED_REVOKED_KEYS};

const INSERT: &str = "INSERT INTO api_keys (id, digest, name, scopes, per_minute, created_at, expires_at, revoked_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING";

const REVOKE: &str = "UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";

const DELETE_OLD: &str = "DELETE FROM api_keys WHERE revoked_at IS NOT NULL AND id NOT IN \
    (SELECT id FROM api_keys WHERE revoked_at IS NOT NULL ORDER BY revoked_at DESC, id LIMIT $1)";

const SELECT: &str = "SELECT id, digest, name, scopes, per_minute, created_at, expires_at, revoked_at FROM api_keys \
    ORDER BY created_at, id";

#[async_trait]
impl<S: SqlStore> KeyStore for S {
    async fn insert_key(&self, key: &ApiKey) -> Result<bool, StoreError> {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let scopes = scopes.join(" ");
        let values: [Value<'_>; 8] = [
            (&*key.id).into(),
            Value::Bytes(&key.digest.0),
            (&*key.name).into(),
            (&*scopes).into(),
            Value::Integer(key.per_minute.map(i64::from)),
            key.created_at.into(),
            key.expires_at.into(),
            key.revoked_at.into(),
        ];
        let inserted = self.write_all(&[(INSERT, &values)]).await?;
        Ok(inserted == 1)
    }

    async fn revoke_key(&self, id: &str, at: Timestamp) -> Result<bool, StoreError> {
        let delete_old = [Value::from(MAX_STORED_REVOKED_KEYS)];
        let revoked = self.write_all(&[(REVOKE, &[id.into(), at.into()]), (DELETE_OLD, &delete_old)]).await?;
        Ok(revoked == 1)
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.read_all(SELECT, &[], read).await
    }
}

fn read(row: &impl Columns) -> Result<ApiKey, String> {
    let digest = row.bytes(1)?.try_into().map_err(|_| "the digest has not 32 bytes")?;
    let scopes = row.text(3)?.split(' ').map(str::parse).collect::<Result<_, _>>();
    let per_minute = row.optional_integer(4)?.map(u32::try_from).transpose();
    Ok(ApiKey {
        id: row.text(0)?.to_owned(),
        digest: KeyDigest(digest),
        name: row.text(2)?.to_owned(),
        scopes: scopes.map_err(|_| "the scopes are invalid")?,
        per_minute: per_minute.map_err(|_| "the rate limit is invalid")?,
        created_at: row.timestamp(5)?,
        expires_at: row.optional_timestamp(6)?,
        revoked_at: row.optional_timestamp(7)?,
    })
}
