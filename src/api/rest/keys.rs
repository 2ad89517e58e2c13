//! `GET /v1/keys`, `POST /v1/keys` and `POST /v1/keys/{id}/revoke`.

use std::sync::Arc;

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi};

use super::parameters::KeyId;
use super::payload::RawJson;
use super::schema;
use super::tag::Tag;
use crate::api::error_response::ErrorResponse;
use crate::api::state::AppState;

/// Operations on API keys.
pub struct KeyApi(pub Arc<AppState>);

#[derive(ApiResponse)]
enum KeyCreated {
    /// The key with its text, which is not shown again.
    #[oai(status = 201)]
    Key(RawJson<schema::CreatedKey>),
}

#[OpenApi(tag = "Tag::Keys")]
impl KeyApi {
    /// All API keys
    ///
    /// Oldest first, including expired and revoked ones. Needs a key with the scope `admin`, except for requests from
    /// the machine of the service if `auth.open_on_loopback` is true.
    #[oai(path = "/v1/keys", method = "get", operation_id = "listKeys")]
    async fn list(&self) -> Result<RawJson<schema::Keys>, ErrorResponse> {
        let AppState { market, clock, .. } = &*self.0;
        let now = clock.now();
        let keys = market.keys().await?.iter().map(|key| schema::Key::new(key, now)).collect();
        Ok(RawJson::encode(&schema::Keys { keys }))
    }

    /// Create an API key
    ///
    /// The response is the only place that contains the text of the key: the service stores its hash. All replicas
    /// accept the key within two seconds. Needs a key with the scope `admin`, as `GET /v1/keys` does.
    #[oai(path = "/v1/keys", method = "post", operation_id = "createKey")]
    async fn create(&self, request: Json<schema::NewKey>) -> Result<KeyCreated, ErrorResponse> {
        let AppState { market, clock, .. } = &*self.0;
        let (key, text) = market.create_key(&request.0.parse()?).await?;
        Ok(KeyCreated::Key(RawJson::encode(&schema::CreatedKey::new(&key, text, clock.now()))))
    }

    /// Revoke an API key
    ///
    /// All replicas reject the key within two seconds and close its streams within seven. It cannot be undone. Needs a
    /// key with the scope `admin`, as `GET /v1/keys` does.
    #[oai(path = "/v1/keys/:id/revoke", method = "post", operation_id = "revokeKey")]
    async fn revoke(&self, id: Path<KeyId>) -> Result<RawJson<schema::Key>, ErrorResponse> {
        let AppState { market, clock, .. } = &*self.0;
        let key = market.revoke_key(&id).await?;
        Ok(RawJson::encode(&schema::Key::new(&key, clock.now())))
    }
}
