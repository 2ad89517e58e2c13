//! REST client of an exchange.
//!
//! A call has four steps: identical calls in flight share one request (`flight`); the rate limiter of its scope admits
//! or defers it (`super::rate_limiter`); origins are tried in order, transient errors are retried (`fetch`); the call's
//! own pure function parses the response.

mod fetch;
mod flight;
mod headers;
mod origins;
mod request;
mod response;
mod target;

use std::sync::Arc;
use std::time::Duration;

use self::fetch::Fetcher;
use self::flight::SingleFlight;
use self::request::HttpRequest;
use self::response::FetchedResponse;
use super::tap::Tap;
use super::{Backoff, ExchangeClock, Priority, UpstreamError};
use crate::cache::Budgets;
use crate::clock::Clock;
use crate::exchanges::{Exchange, Method, Parse, RestCall, RestError, RestErrorKind, RestResponse};
use crate::model::{BudgetState, Timestamp};

/// Attempts to get a response that is not damaged.
const MAX_ATTEMPTS: u32 = 3;

/// A body of this many bytes takes more than a millisecond to parse.
const LARGE_BODY: usize = 256 * 1024;

/// REST client of one exchange, shared by all callers.
pub struct RestClient {
    fetcher: Arc<Fetcher>,
    single_flight: SingleFlight,
}

impl RestClient {
    /// A client that tries `origins` in order: `https://api.example.com`, no path.
    ///
    /// # Errors
    /// [`UpstreamError::Setup`] if an origin is invalid or TLS cannot be set up.
    pub fn new(exchange: &'static dyn Exchange, origins: &[String], clock: Clock) -> Result<Arc<Self>, UpstreamError> {
        Self::build(exchange, origins, clock, None, None)
    }

    /// Like [`RestClient::new`], within rate limits that processes behind the same address share.
    ///
    /// # Errors
    /// As for [`RestClient::new`].
    pub fn with_shared_budgets(
        exchange: &'static dyn Exchange,
        origins: &[String],
        clock: Clock,
        budgets: Arc<dyn Budgets>,
    ) -> Result<Arc<Self>, UpstreamError> {
        Self::build(exchange, origins, clock, None, Some(budgets))
    }

    /// Like [`RestClient::new`]; `tap` gets a copy of each response.
    ///
    /// # Errors
    /// As for [`RestClient::new`].
    pub fn with_tap(
        exchange: &'static dyn Exchange,
        origins: &[String],
        clock: Clock,
        tap: Tap,
    ) -> Result<Arc<Self>, UpstreamError> {
        Self::build(exchange, origins, clock, Some(tap), None)
    }

    fn build(
        exchange: &'static dyn Exchange,
        origins: &[String],
        clock: Clock,
        tap: Option<Tap>,
        budgets: Option<Arc<dyn Budgets>>,
    ) -> Result<Arc<Self>, UpstreamError> {
        let fetcher = Arc::new(Fetcher::new(exchange, origins, clock, tap, budgets)?);
        Ok(Arc::new(Self { fetcher, single_flight: SingleFlight::default() }))
    }

    /// Sends a call with [`Priority::Live`] and parses the response. Retries transient errors and damaged responses a
    /// few times, but not an HTTP 200 that says that the exchange is busy.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn call<T: Send + 'static>(&self, call: &RestCall<T>) -> Result<T, UpstreamError> {
        self.call_with_priority(call, Priority::Live).await
    }

    /// Like [`RestClient::call`], with this priority.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn call_with_priority<T: Send + 'static>(
        &self,
        call: &RestCall<T>,
        priority: Priority,
    ) -> Result<T, UpstreamError> {
        let request = HttpRequest::new(call);
        let exchange = self.fetcher.exchange();
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
        let mut attempt = 1;
        loop {
            let response = self.fetch(&request, priority).await?;
            let error = match parse(call, &response, self.exchange_clock().now()).await {
                Ok(parsed) => return Ok(parsed),
                Err(error) => error,
            };
            if let Some(error) = self.fetcher.record_rejection(call.scope, &response, &error) {
                return Err(error);
            }
            // The origin is now marked as blocked, so this loop ends.
            if error.kind == RestErrorKind::RegionBlocked {
                continue;
            }
            let is_damaged = error.kind == RestErrorKind::Malformed && !is_json(&response.body);
            let error = UpstreamError::ErrorResponse { exchange, error };
            if !is_damaged || attempt == MAX_ATTEMPTS {
                return Err(error);
            }
            self.fetcher.origins().avoid(response.origin);
            self.fetcher.back_off(&mut backoff, &request.target, &error).await;
            attempt += 1;
        }
    }

    /// Sends a request, or joins an identical one in flight. A POST request is never shared.
    async fn fetch(&self, request: &HttpRequest, priority: Priority) -> Result<FetchedResponse, UpstreamError> {
        if request.method == Method::Post {
            return self.fetcher.fetch(request, priority).await;
        }
        // A call does not join a request of lower priority.
        let flight = self.single_flight.join((priority, &request.target), || {
            let (fetcher, request) = (Arc::clone(&self.fetcher), request.clone());
            async move { fetcher.fetch(&request, priority).await }
        });
        flight.await
    }

    /// The exchange's time, measured from its responses.
    #[must_use]
    pub fn exchange_clock(&self) -> &ExchangeClock {
        self.fetcher.exchange_clock()
    }

    /// Measures the exchange's time for [`RestClient::exchange_clock`]: with its server-time call, else with the `Date`
    /// header of a probe.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn measure_clock(&self) -> Result<(), UpstreamError> {
        let Some(call) = self.fetcher.server_time() else { return self.probe().await.map(drop) };
        let response = self.fetch(&HttpRequest::new(&call), Priority::Live).await?;
        let clock = self.exchange_clock();
        let server_time = parse(&call, &response, clock.now())
            .await
            .map_err(|error| UpstreamError::ErrorResponse { exchange: self.fetcher.exchange(), error })?;
        clock.record_response(response.sent, response.received, server_time.at, server_time.resolution);
        Ok(())
    }

    /// Checks whether the exchange is reachable: one request for the probe path per origin, with a short timeout.
    /// Returns the `Date` of the response, in whole seconds.
    ///
    /// # Errors
    /// [`UpstreamError`]: the error of the origin that failed last.
    pub async fn probe(&self) -> Result<Option<Timestamp>, UpstreamError> {
        self.fetcher.probe().await
    }

    /// Starts the next calls at the next origin, if there are several.
    pub fn prefer_next_origin(&self) {
        self.fetcher.origins().prefer_next();
    }

    /// Usage of each of the exchange's rate limits.
    #[must_use]
    pub fn budgets(&self) -> Vec<BudgetState> {
        self.fetcher.budgets()
    }
}

/// Parses a response. A large one, such as a listing of thousands of markets, is parsed on a blocking thread.
async fn parse<T: Send + 'static>(
    call: &RestCall<T>,
    response: &FetchedResponse,
    now: Timestamp,
) -> Result<T, RestError> {
    let read = move |parse: &Parse<T>, response: &FetchedResponse| {
        parse(&RestResponse { status: response.status, body: &response.body }, now)
    };
    if response.body.len() < LARGE_BODY {
        return read(&call.parse, response);
    }
    let (parse, response) = (Arc::clone(&call.parse), response.clone());
    let reading = tokio::task::spawn_blocking(move || read(&parse, &response)).await;
    reading.unwrap_or_else(|error| Err(RestError::new(RestErrorKind::Malformed, error.to_string())))
}

/// Whether a body is complete: all exchanges answer in JSON. A proxy's page or a truncated body is not JSON.
fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}
