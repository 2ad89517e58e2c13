//! Compression of responses, for clients that accept it.
//!
//! The framework's middleware is not used: it never selects zstd, compresses event streams and WebSocket upgrades, and
//! sends no `Vary`.

use std::io;

use async_compression::Level;
use async_compression::tokio::bufread::{GzipEncoder, ZstdEncoder};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::Body as _;
use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{Body, Request, Response};
use tokio::io::BufReader;

use super::headers::add_vary;

/// Minimum size of a body to compress, in bytes.
const MIN_BYTES: u64 = 1024;

/// Supported encodings, in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Zstd,
    Gzip,
}

impl Encoding {
    const ALL: [Self; 2] = [Self::Zstd, Self::Gzip];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The preferred encoding that the client accepts (RFC 9110, 12.5.3).
    pub fn negotiate(request: &Request) -> Option<Self> {
        Self::ALL.into_iter().find(|encoding| accepts(request.headers(), encoding.as_str()))
    }
}

/// Whether `Accept-Encoding` names an encoding with a weight above zero.
fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut choices = values.flat_map(|value| value.split(',')).map(|choice| {
        let (name, weight) = choice.split_once(';').unwrap_or((choice, "q=1"));
        (name.trim(), weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok()))
    });
    choices.any(|(name, weight)| name.eq_ignore_ascii_case(encoding) && weight.is_some_and(|weight| weight > 0.0))
}

/// Compresses a response if its body is text and long enough.
pub fn compress(response: &mut Response, encoding: Option<Encoding>) {
    // A 304 describes the response that would have been sent, which varies by encoding.
    if response.status() == StatusCode::NOT_MODIFIED {
        add_vary(response.headers_mut(), header::ACCEPT_ENCODING);
        return;
    }
    let is_complete = !matches!(
        response.status(),
        StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT
    );
    if !is_complete || !is_text(response.headers()) {
        return;
    }
    add_vary(response.headers_mut(), header::ACCEPT_ENCODING);
    let Some(encoding) = encoding else { return };
    let body: BoxBody<Bytes, io::Error> = response.take_body().into();
    if body.size_hint().exact().is_some_and(|bytes| bytes < MIN_BYTES) {
        response.set_body(Body::from(body));
        return;
    }
    let bytes = BufReader::new(Body::from(body).into_async_read());
    response.set_body(match encoding {
        Encoding::Zstd => Body::from_async_read(ZstdEncoder::with_quality(bytes, Level::Fastest)),
        Encoding::Gzip => Body::from_async_read(GzipEncoder::with_quality(bytes, Level::Fastest)),
    });
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.as_str()));
    // The compressed body has other bytes, so a strong entity tag would be wrong.
    let weak = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(|tag| format!("W/{tag}"));
    if let Some(weak) = weak.and_then(|tag| HeaderValue::try_from(tag).ok()) {
        headers.insert(header::ETAG, weak);
    }
}

/// Whether the body is uncompressed text. Event streams are excluded: a compressor would delay their events.
fn is_text(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default();
    media != "text/event-stream"
        && !headers.contains_key(header::CONTENT_ENCODING)
        && (media.starts_with("text/") || ["json", "yaml"].iter().any(|text| media.ends_with(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_preferred_accepted_encoding() {
        let negotiate =
            |value: &str| Encoding::negotiate(&Request::builder().header(header::ACCEPT_ENCODING, value).finish());
        assert_eq!(negotiate("gzip, deflate, br, zstd"), Some(Encoding::Zstd));
        assert_eq!(negotiate("gzip, deflate"), Some(Encoding::Gzip));
        assert_eq!(negotiate("zstd;q=0, GZIP;q=0.5"), Some(Encoding::Gzip));
        for none in ["", "br", "identity", "gzip;q=0", "gzip;q=x", "gzipped"] {
            assert_eq!(negotiate(none), None, "{none}");
        }
    }
}
