//! Bodies that are encoded already.

use std::hash::Hasher;

use bytes::Bytes;
use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{Body, Response};
use rustc_hash::FxHasher;
use serde::Serialize;

use crate::api::problem::Problem;

pub const JSON: &str = "application/json";

/// An answer of encoded JSON.
pub fn json(body: impl Into<Body>) -> Response {
    bytes(JSON, body)
}

/// An answer of a media type.
pub fn bytes(media: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::builder().body(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// An answer that is encoded here; for what is asked for rarely.
pub fn encode(value: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "an answer could not be encoded");
        Problem::new(crate::api::problem::Code::Internal, "the answer could not be encoded")
    })?;
    Ok(json(body))
}

/// Answers with `body` under its entity tag, or with 304 where the client has it already.
pub fn tagged(request: &HeaderMap, media: &'static str, body: Vec<u8>, cache: &'static str) -> Response {
    let tag = entity_tag(&body);
    let known = request.get(header::IF_NONE_MATCH).is_some_and(|known| names(known, &tag));
    let mut response = if known {
        Response::builder().status(StatusCode::NOT_MODIFIED).finish()
    } else {
        bytes(media, Bytes::from(body))
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// A strong entity tag: the same bytes have the same tag on every replica.
fn entity_tag(body: &[u8]) -> String {
    let mut hasher = FxHasher::default();
    hasher.write(body);
    format!("\"{:016x}-{:x}\"", hasher.finish(), body.len())
}

/// Whether an `If-None-Match` names the tag (RFC 9110, 13.1.2: compared weakly).
fn names(known: &HeaderValue, tag: &str) -> bool {
    let Ok(known) = known.to_str() else { return false };
    known.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_body_does_not_get_it_again() {
        let first = tagged(&HeaderMap::new(), JSON, b"[1]".to_vec(), "no-cache");
        let tag = first.headers()[header::ETAG].clone();
        assert_eq!((first.status(), first.header("cache-control")), (StatusCode::OK, Some("no-cache")));
        let lists = [tag.to_str().unwrap().to_owned(), format!("\"x\", W/{}", tag.to_str().unwrap()), "*".to_owned()];
        for list in lists {
            let headers: HeaderMap = [(header::IF_NONE_MATCH, list.parse().unwrap())].into_iter().collect();
            let second = tagged(&headers, JSON, b"[1]".to_vec(), "no-cache");
            assert_eq!((second.status(), &second.headers()[header::ETAG]), (StatusCode::NOT_MODIFIED, &tag));
            if list != "*" {
                assert_eq!(tagged(&headers, JSON, b"[2]".to_vec(), "no-cache").status(), StatusCode::OK);
            }
        }
    }
}
