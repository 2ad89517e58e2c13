//! `GET /openapi.json`, `GET /openapi.yaml`, `GET /asyncapi.json` and `GET /docs`.

use std::sync::LazyLock;

use poem_openapi::payload::{Html, PlainText};
use poem_openapi::{ApiResponse, OpenApi};
use serde_json::Value;

use super::payload::RawJson;
use super::tag::Tag;

/// Operations that return the API documents.
pub struct DocumentApi(pub &'static LazyLock<Documents>);

/// The API documents as served.
pub struct Documents {
    /// OpenAPI as JSON.
    pub json: String,
    /// OpenAPI as YAML.
    pub yaml: String,
    /// The page with the interactive documentation.
    pub html: String,
    /// AsyncAPI as JSON.
    pub asyncapi: String,
}

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
        RawJson::new(self.0.json.as_bytes())
    }

    /// This OpenAPI document as YAML
    ///
    /// OpenAPI 3.1.
    #[oai(path = "/openapi.yaml", method = "get", operation_id = "openapiYaml")]
    async fn yaml(&self) -> Yaml {
        Yaml::Text(PlainText(&self.0.yaml))
    }

    /// AsyncAPI document of the streams
    ///
    /// AsyncAPI 3.0. Describes `/v1/stream`, `/v1/events` and the legacy sockets.
    #[oai(path = "/asyncapi.json", method = "get", operation_id = "asyncapiJson")]
    async fn asyncapi(&self) -> RawJson<Value> {
        RawJson::new(self.0.asyncapi.as_bytes())
    }

    /// Interactive API documentation
    ///
    /// Swagger UI. The page loads no external resources.
    #[oai(path = "/docs", method = "get", operation_id = "docs")]
    async fn docs(&self) -> Html<&'static str> {
        Html(&self.0.html)
    }
}
