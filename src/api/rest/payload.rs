//! Pre-encoded response bodies.

use std::marker::PhantomData;

use bytes::Bytes;
use poem::http::{HeaderValue, header};
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use serde::Serialize;
use twox_hash::XxHash3_128;

/// Encoded JSON with the schema of `T`. The framework's `Json` builds a tree of values first and loses digits.
pub struct RawJson<T>(Bytes, PhantomData<fn() -> T>);

impl<T> RawJson<T> {
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self(body.into(), PhantomData)
    }
}

impl<T: Serialize> RawJson<T> {
    /// Encodes a value with serde; for responses that are requested rarely.
    ///
    /// # Panics
    /// If a map key is not a string, which the types rule out.
    pub fn encode(value: &T) -> Self {
        Self::new(serde_json::to_vec(value).expect("map keys are strings"))
    }
}

impl<T: Type> Payload for RawJson<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T> IntoResponse for RawJson<T> {
    fn into_response(self) -> Response {
        let mut response = Response::builder().body(self.0);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

impl<T: Type> ApiResponse for RawJson<T> {
    fn meta() -> MetaResponses {
        let content = vec![MetaMediaType { content_type: Self::CONTENT_TYPE, schema: Self::schema_ref() }];
        let ok = MetaResponse { description: "", status: Some(200), status_range: None, content, headers: Vec::new() };
        MetaResponses { responses: vec![ok] }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// Computes a strong entity tag of 128 bits. Equal bytes have the same tag on every replica.
pub fn entity_tag(body: &[u8]) -> String {
    format!("\"{:032x}\"", XxHash3_128::oneshot(body))
}

/// Whether `If-None-Match` contains the tag (RFC 9110, 13.1.2: weak comparison).
pub fn matches_tag(if_none_match: &str, tag: &str) -> bool {
    if_none_match.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match_finds_the_tag() {
        let tag = entity_tag(b"[1]");
        assert_eq!(tag, entity_tag(b"[1]"));
        assert!(!matches_tag("\"x\"", &tag) && !matches_tag("", &tag));
        for list in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            assert!(matches_tag(&list, &tag), "{list}");
            assert_eq!(matches_tag(&list, &entity_tag(b"[2]")), list == "*", "{list}");
        }
    }
}
