//! Bodies that are encoded already.

use std::hash::Hasher;
use std::marker::PhantomData;

use bytes::Bytes;
use poem::http::{HeaderValue, header};
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use rustc_hash::FxHasher;
use serde::Serialize;

/// Encoded JSON that looks as `T` says. The framework's own `Json` builds a tree of values first, and loses digits.
pub struct RawJson<T>(Bytes, PhantomData<fn() -> T>);

impl<T> RawJson<T> {
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self(body.into(), PhantomData)
    }
}

impl<T: Serialize> RawJson<T> {
    /// Encodes a value; for what is asked for rarely.
    ///
    /// # Panics
    /// If a key is not a text, which the types forbid.
    pub fn encode(value: &T) -> Self {
        Self::new(serde_json::to_vec(value).expect("keys are texts"))
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
        let whole =
            MetaResponse { description: "", status: Some(200), status_range: None, content, headers: Vec::new() };
        MetaResponses { responses: vec![whole] }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// A strong entity tag: the same bytes have the same tag on every replica.
pub fn entity_tag(body: &[u8]) -> String {
    let mut hasher = FxHasher::default();
    hasher.write(body);
    format!("\"{:016x}-{:x}\"", hasher.finish(), body.len())
}

/// Whether an `If-None-Match` names the tag (RFC 9110, 13.1.2: compared weakly).
pub fn names(known: &str, tag: &str) -> bool {
    known.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_body_does_not_get_it_again() {
        let tag = entity_tag(b"[1]");
        assert_eq!(tag, entity_tag(b"[1]"));
        assert!(!names("\"x\"", &tag) && !names("", &tag));
        for list in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            assert!(names(&list, &tag), "{list}");
            assert_eq!(names(&list, &entity_tag(b"[2]")), list == "*", "{list}");
        }
    }
}
