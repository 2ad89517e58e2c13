//! The API documents.

use std::sync::LazyLock;

use super::openapi::{openapi_json, openapi_page, openapi_yaml};
use super::rest::Documents;
use super::stream::asyncapi_json;

/// The served documents, created at the first request.
pub static DOCUMENTS: LazyLock<Documents> = LazyLock::new(|| Documents {
    json: openapi_json(),
    yaml: openapi_yaml(),
    html: openapi_page(),
    asyncapi: asyncapi_json(),
});
