//! REST calls: requests, and the pure functions that parse their responses.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Instrument, Interval, TimeRange, Timestamp};

/// A REST request and the function that parses its response.
pub struct RestCall<T> {
    /// Starts with a slash; no query.
    pub path: String,
    /// Query parameters, not yet percent-encoded.
    pub query: Vec<(&'static str, String)>,
    /// Name of the [`RateLimit`] that counts the request.
    pub scope: &'static str,
    /// Weight of the request in that limit.
    pub weight: u32,
    /// Parses the response.
    pub parse: Parse<T>,
}

/// Parses a response. The time is a lower bound of the exchange's clock at the receipt of the response. Pure.
pub type Parse<T> = Arc<dyn Fn(&RestResponse<'_>, Timestamp) -> Result<T, RestError> + Send + Sync>;

/// A time of an exchange's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerTime {
    pub at: Timestamp,
    /// Resolution of `at`: the exact time is less than this later than `at`.
    pub resolution: Duration,
}

/// A response of a REST API. The engine handles error statuses with [`classify_response`] before it parses a response.
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

/// One page of candles to request.
#[derive(Clone, Debug)]
pub struct CandlePage {
    pub instrument: Arc<Instrument>,
    pub interval: Interval,
    /// Requested open times; within [`Profile::page_rows`], unless the exchange accepts long ranges.
    pub range: TimeRange,
    /// Time of the request: some exchanges serve old candles at another path.
    pub requested_at: Timestamp,
}
