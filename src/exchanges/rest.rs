//! REST calls: requests, and the pure functions that parse their responses.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::errors::classify;
use super::response::{RestError, RestResponse};
use crate::model::{Instrument, Interval, TimeRange, Timestamp};

/// A REST request and the function that parses its response. Build it with [`RestCall::get`] or [`RestCall::post`]:
///
/// ```text
/// RestCall::get("/api/v3/klines").query("symbol", "BTCUSDT").scope("rest").weight(2).errors(api_error).read(parse_rows)
/// ```
pub struct RestCall<T> {
    pub method: Method,
    /// Starts with a slash; no query.
    pub path: String,
    /// Query parameters, not yet percent-encoded.
    pub query: Vec<(&'static str, String)>,
    /// JSON body, if any.
    pub body: Option<String>,
    /// Name of the [`RateLimit`](super::RateLimit) that counts the request.
    pub scope: &'static str,
    /// Weight of the request in that limit.
    pub weight: u32,
    /// Parses the error bodies of the exchange.
    pub errors: ApiErrorParser,
    /// Parses the response.
    pub parse: Parse<T>,
}

/// HTTP method of a [`RestCall`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    Get,
    Post,
}

/// Parses an error body in the exchange's documented form; `None` for any other body.
pub type ApiErrorParser = fn(&RestResponse<'_>, Timestamp) -> Option<RestError>;

impl RestCall<()> {
    /// A GET request of weight 1, without a rate limit, whose response is discarded.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::Get, path.into())
    }

    /// Like [`RestCall::get`], with POST. Its retries may be executed more than once.
    #[must_use]
    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::Post, path.into())
    }

    fn new(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            body: None,
            scope: "",
            weight: 1,
            errors: |_, _| None,
            parse: Arc::new(|_, _| Ok(())),
        }
    }

    /// Adds a query parameter.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "callers pass numbers and literals")]
    pub fn query(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn body(self, body: impl Into<String>) -> Self {
        Self { body: Some(body.into()), ..self }
    }

    /// Sets the rate limit that counts the request.
    #[must_use]
    pub fn scope(self, scope: &'static str) -> Self {
        Self { scope, ..self }
    }

    /// Sets the weight in the rate limit.
    #[must_use]
    pub fn weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }

    /// Sets the parser of error bodies.
    #[must_use]
    pub fn errors(self, errors: ApiErrorParser) -> Self {
        Self { errors, ..self }
    }

    /// Sets the parser of successful responses, which gets the body and the time of [`Parse`]. An error body is
    /// recognized at any status; a parser checks it first if a body may have both an error and data.
    #[must_use]
    pub fn read<T: 'static>(
        self,
        read: impl Fn(&[u8], Timestamp) -> Result<T, RestError> + Send + Sync + 'static,
    ) -> RestCall<T> {
        let Self { method, path, query, body, scope, weight, errors, .. } = self;
        let parse: Parse<T> = Arc::new(move |response: &RestResponse<'_>, received| {
            if (200..300).contains(&response.status) {
                read(response.body, received).map_err(|error| errors(response, received).unwrap_or(error))
            } else {
                Err(classify(response, errors(response, received)))
            }
        });
        RestCall { method, path, query, body, scope, weight, errors, parse }
    }
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

/// Part of a response with several markets: a response with one market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarketResponse<'a> {
    /// Native id of the market, if the response has it.
    pub native: Option<String>,
    /// Body of the response.
    pub body: Cow<'a, [u8]>,
}

/// One page of candles to request.
#[derive(Clone, Debug)]
pub struct CandlePage {
    pub instrument: Arc<Instrument>,
    pub interval: Interval,
    /// Requested open times; within [`Profile::page_rows`](super::Profile::page_rows), unless the exchange accepts long ranges.
    pub range: TimeRange,
    /// Time of the request: some exchanges serve old candles at another path.
    pub requested_at: Timestamp,
}
