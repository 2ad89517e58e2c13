//! `GET /openapi.json`, `GET /openapi.yaml`, `GET /asyncapi.json` and `GET /docs`.

use poem_openapi::payload::{Html, PlainText};
use poem_openapi::{ApiResponse, OpenApi};
use serde_json::Value;

use super::Tag;
use super::payload::RawJson;
use crate::api::openapi::DOCUMENTS;

/// Operations that return the API documents.
pub struct DocumentApi;

#[derive(ApiResponse)]
enum Yaml {
    /// The document as YAML (RFC 9512).
    #[oai(status = 200, content_type = "application/yaml")]
    Text(PlainText<&'static str>),
}

#[OpenApi(tag = "Tag::Service")]
#[expect(clippy::unused_async, reason = "operations are asynchronous")]
impl DocumentApi {
    /// This OpenAPI document
    ///
    /// OpenAPI 3.1.
    #[oai(path = "/openapi.json", method = "get", operation_id = "openapiJson")]
    async fn json(&self) -> RawJson<Value> {
        RawJson::new(DOCUMENTS.json.as_bytes())
    }

    /// This OpenAPI document as YAML
    ///
    /// OpenAPI 3.1.
    #[oai(path = "/openapi.yaml", method = "get", operation_id = "openapiYaml")]
    async fn yaml(&self) -> Yaml {
        Yaml::Text(PlainText(&DOCUMENTS.yaml))
    }

    /// AsyncAPI document of the streams
    ///
    /// AsyncAPI 3.0. Describes `/v1/stream`, `/v1/events` and the legacy sockets.
    #[oai(path = "/asyncapi.json", method = "get", operation_id = "asyncapiJson")]
    async fn asyncapi(&self) -> RawJson<Value> {
        RawJson::new(DOCUMENTS.asyncapi.as_bytes())
    }

    /// Interactive API documentation
    ///
    /// Swagger UI. The page loads no external resources.
    #[oai(path = "/docs", method = "get", operation_id = "docs")]
    async fn docs(&self) -> Html<&'static str> {
        Html(&DOCUMENTS.html)
    }
}
