//! Responses of REST APIs, and why they have no result.

use std::time::Duration;

/// A response of a REST API.
#[derive(Clone, Copy, Debug)]
pub struct RestResponse<'a> {
    /// HTTP status.
    pub status: u16,
    /// Complete body.
    pub body: &'a [u8],
}

/// Why a response has no result. Some exchanges send errors with HTTP 200.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RestError {
    /// How to handle the error.
    pub kind: RestErrorKind,
    /// Message of the exchange, truncated.
    pub message: String,
    /// How long to send no requests, if the exchange names a duration.
    pub retry_after: Option<Duration>,
}

/// Kinds of [`RestError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestErrorKind {
    /// Too many requests of this kind: wait until the window of the limit ends.
    RateLimited,
    /// This client address is banned for a while, for too many requests or by a firewall: send no request to any
    /// origin.
    Banned,
    /// This origin serves no clients in this region; another origin may.
    RegionBlocked,
    /// The exchange is busy or in maintenance: retry later.
    Unavailable,
    /// The exchange does not list the symbol.
    UnknownSymbol,
    /// The exchange rejects the request for another reason; a retry does not help.
    Rejected,
    /// The response does not match its documentation.
    Malformed,
}

impl RestError {
    /// An error of `kind`; truncates long messages.
    #[must_use]
    pub fn new(kind: RestErrorKind, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if let Some((end, _)) = message.char_indices().nth(300) {
            message.truncate(end);
            message.push('…');
        }
        Self { kind, message, retry_after: None }
    }
}
