//! One request until it is answered: origins in order, a few retries, pauses that the exchange asks for.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tracing::Instrument;
use tracing::field::Empty;

use super::headers::{age, date, number, retry_after, window_reset};
use super::origins::Origins;
use super::request::HttpRequest;
use super::response::FetchedResponse;
use super::target::path_of;
use crate::cache::Budgets;
use crate::clock::Clock;
use crate::exchanges::{Exchange, Method, RestCall, RestError, RestErrorKind, RestResponse, ServerTime};
use crate::model::{BudgetState, ExchangeId, Timestamp};
use crate::telemetry::trace::{self, TRACEPARENT};
use crate::telemetry::upstream::{BreakerOpened, RestCalled, RestRetried};
use crate::upstream::rate_limiter::{Deferred, RateLimiter, SharedBudget};
use crate::upstream::tap::{Tap, TrafficKind};
use crate::upstream::{Backoff, ExchangeClock, MAX_RETRY_AFTER, Priority, USER_AGENT, UpstreamError};

/// Timeout of a connect, in real time, because it depends on the network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a request, including the response body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Timeout of a probe of one origin.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How many times all origins are tried.
const MAX_ROUNDS: u32 = 3;
/// No retry starts later than this after the first attempt.
const DEADLINE: Duration = Duration::from_mins(1);
/// Maximum delay of a retry. If the exchange asks for more, the call fails.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);
/// Maximum size of a response body. Binance's listing has about 10 MB.
const MAX_BODY: usize = 32 << 20;
/// Minimum pause after a rate limit without a `Retry-After`: a window may be shorter than the round trip.
const MIN_PAUSE: Duration = Duration::from_secs(5);

/// Sends requests to one exchange.
pub(super) struct Fetcher {
    exchange: &'static dyn Exchange,
    http: reqwest::Client,
    clock: Clock,
    exchange_clock: ExchangeClock,
    origins: Origins,
    limiters: Vec<RateLimiter>,
    tap: Option<Tap>,
}

/// Why one request to one origin failed.
enum Failure {
    /// The next origin, or a retry, may succeed.
    Transient { error: UpstreamError, retry_after: Option<Duration> },
    /// This origin blocks this region.
    Blocked { status: u16 },
    /// Must not be retried now.
    Final(UpstreamError),
}

impl Fetcher {
    pub fn new(
        exchange: &'static dyn Exchange,
        origins: &[String],
        clock: Clock,
        tap: Option<Tap>,
        budgets: Option<Arc<dyn Budgets>>,
    ) -> Result<Self, UpstreamError> {
        super::super::install_crypto();
        let origins = Origins::new(exchange.id(), origins, clock.clone())?;
        let mut http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(headers(exchange))
            .connect_timeout(CONNECT_TIMEOUT)
            // No exchange documents redirects; one redirects blocked regions to an HTML page.
            .redirect(reqwest::redirect::Policy::none());
        if origins.are_plain() {
            // A local simulator: needs no proxy and no certificates, which a minimal container may lack.
            http = http.tls_certs_only([]).no_proxy();
        }
        let http = http.build().map_err(|error| {
            UpstreamError::Setup(format!(
                "TLS cannot be set up (are the ca-certificates installed?): {}",
                error_chain(&error)
            ))
        })?;
        let shared = budgets.map(|budgets| SharedBudget { exchange: exchange.id(), budgets });
        let limiters = exchange
            .profile()
            .rate_limits
            .iter()
            .map(|scope| RateLimiter::new(scope, clock.clone(), shared.clone()))
            .collect();
        let exchange_clock = ExchangeClock::new(clock.clone());
        Ok(Self { exchange, http, clock, exchange_clock, origins, limiters, tap })
    }

    pub fn exchange(&self) -> ExchangeId {
        self.exchange.id()
    }

    pub const fn origins(&self) -> &Origins {
        &self.origins
    }

    pub const fn exchange_clock(&self) -> &ExchangeClock {
        &self.exchange_clock
    }

    pub fn server_time(&self) -> Option<RestCall<ServerTime>> {
        self.exchange.server_time()
    }

    pub fn budgets(&self) -> Vec<BudgetState> {
        self.limiters.iter().map(RateLimiter::state).collect()
    }

    /// Applies a rejection to later calls: opens the breaker or marks the origin as blocked. Returns the error of this
    /// call, or `None` if the response concerns this call alone or another origin is left.
    pub fn record_rejection(
        &self,
        scope: &str,
        response: &FetchedResponse,
        error: &RestError,
    ) -> Option<UpstreamError> {
        match error.kind {
            RestErrorKind::RateLimited | RestErrorKind::Banned => {
                Some(self.open_breaker(scope, error.kind, error.retry_after.or(response.retry_after), false))
            }
            RestErrorKind::RegionBlocked => {
                self.origins.block(response.origin, response.status);
                let all_blocked = self.origins.usable().err();
                all_blocked.filter(|error| matches!(error, UpstreamError::RegionBlocked { .. }))
            }
            _ => None,
        }
    }

    /// Waits before a retry of a call whose response was damaged.
    pub async fn back_off(&self, backoff: &mut Backoff, target: &str, error: &UpstreamError) {
        let wait = backoff.next(&self.clock);
        RestRetried { exchange: self.exchange(), path: path_of(target), error, after: wait }.emit();
        self.clock.sleep(wait).await;
    }

    /// Opens the breaker of this scope, or of all scopes, for `retry_after`, else for the window of the limit or the
    /// exchange's default ban duration.
    fn open_breaker(
        &self,
        scope: &str,
        kind: RestErrorKind,
        retry_after: Option<Duration>,
        all_scopes: bool,
    ) -> UpstreamError {
        let is_ban = kind == RestErrorKind::Banned;
        let mut until = self.clock.now();
        for limiter in self.limiters.iter().filter(|limiter| all_scopes || limiter.scope().name == scope) {
            let default = if is_ban {
                self.exchange.profile().default_ban_duration
            } else {
                limiter.scope().window.max(MIN_PAUSE)
            };
            until = until.max(limiter.record_rejection(retry_after, default));
        }
        let scope = self.limiter(scope).map_or("", |limiter| limiter.scope().name);
        BreakerOpened { exchange: self.exchange(), scope, until }.emit();
        UpstreamError::Deferred { exchange: self.exchange(), until }
    }

    /// Sends `request` until an origin sends a response to parse.
    pub async fn fetch(&self, request: &HttpRequest, priority: Priority) -> Result<FetchedResponse, UpstreamError> {
        let HttpRequest { scope, weight, target, .. } = request;
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
        let (mut round, started) = (1, self.clock.elapsed());
        loop {
            let mut outcome = None;
            for (index, origin) in self.origins.usable()? {
                let limiter = self.limiter(scope);
                if let Some(limiter) = limiter {
                    limiter.acquire(*weight, priority).await.map_err(|deferred| self.deferred(deferred))?;
                }
                let sent = self.clock.elapsed();
                let result = self.request((index, &origin), request, REQUEST_TIMEOUT).await;
                if let Some(limiter) = limiter {
                    limiter.record_reply(sent, *weight);
                }
                match result {
                    Ok(response) => {
                        self.origins.prefer(index);
                        return Ok(response);
                    }
                    Err(Failure::Blocked { status }) => self.origins.block(index, status),
                    Err(Failure::Final(error)) => return Err(error),
                    Err(Failure::Transient { error, retry_after }) => outcome = Some((error, retry_after)),
                }
            }
            // Without an outcome every origin has just been marked as blocked: `usable` fails in the next
            // round.
            let Some((error, retry_after)) = outcome else { continue };
            let wait = backoff.next(&self.clock).max(retry_after.unwrap_or_default());
            let is_late = self.clock.elapsed().saturating_sub(started) + wait > DEADLINE;
            if round >= MAX_ROUNDS || wait > MAX_RETRY_DELAY || is_late {
                return Err(error);
            }
            RestRetried { exchange: self.exchange(), path: path_of(target), error: &error, after: wait }.emit();
            self.clock.sleep(wait).await;
            round += 1;
        }
    }

    /// Requests the probe path from all origins concurrently, so that one that drops packets does not delay the others.
    pub async fn probe(&self) -> Result<Option<Timestamp>, UpstreamError> {
        let mut probes: FuturesUnordered<_> =
            self.origins.usable()?.into_iter().map(|(index, origin)| self.probe_origin(index, origin)).collect();
        let mut failure = UpstreamError::TimedOut { exchange: self.exchange() };
        while let Some(probed) = probes.next().await {
            match probed {
                Ok((index, date)) => {
                    self.origins.prefer(index);
                    return Ok(date);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn probe_origin(&self, index: usize, origin: Arc<str>) -> Result<(usize, Option<Timestamp>), UpstreamError> {
        let profile = self.exchange.profile();
        let scope = profile.rate_limits.first().map_or("", |scope| scope.name);
        let request = HttpRequest::new(&RestCall::get(profile.probe_path).scope(scope));
        if let Some(limiter) = self.limiter(scope) {
            limiter.try_acquire(1).map_err(|deferred| self.deferred(deferred))?;
        }
        match self.request((index, &origin), &request, PROBE_TIMEOUT).await {
            Ok(response) if response.status < 300 => Ok((index, response.date)),
            Ok(FetchedResponse { status, .. }) => {
                Err(UpstreamError::Unavailable { exchange: self.exchange(), status, retry_at: None })
            }
            Err(Failure::Blocked { status }) => {
                self.origins.block(index, status);
                Err(UpstreamError::RegionBlocked { exchange: self.exchange(), status })
            }
            Err(Failure::Transient { error, .. } | Failure::Final(error)) => Err(error),
        }
    }

    /// Sends one request to one origin.
    async fn request(
        &self,
        origin: (usize, &str),
        request: &HttpRequest,
        timeout: Duration,
    ) -> Result<FetchedResponse, Failure> {
        let (exchange, started, target) = (self.exchange(), self.clock.elapsed(), &*request.target);
        let span = tracing::info_span!(
            "upstream",
            otel.kind = "client",
            exchange = exchange.as_str(),
            path = path_of(target),
            status = Empty,
        );
        let sent = self.clock.timeout(timeout, self.send(origin, request)).instrument(span.clone()).await;
        let (status, result) = match sent {
            Ok(Ok(response)) => (Some(response.status), Ok(response)),
            Ok(Err((status, failure))) => (status, Err(failure)),
            Err(_) => {
                let error = UpstreamError::TimedOut { exchange };
                (None, Err(Failure::Transient { error, retry_after: None }))
            }
        };
        span.record("status", status);
        RestCalled { exchange, path: path_of(target), status, took: self.clock.elapsed().saturating_sub(started) }
            .emit();
        result
    }

    async fn send(
        &self,
        (index, origin): (usize, &str),
        HttpRequest { method, target, body, scope, .. }: &HttpRequest,
    ) -> Result<FetchedResponse, (Option<u16>, Failure)> {
        let exchange = self.exchange();
        let unreachable = |error: reqwest::Error| {
            let error = if error.is_timeout() {
                UpstreamError::TimedOut { exchange }
            } else {
                UpstreamError::Unreachable { exchange, detail: error_chain(&error.without_url()) }
            };
            (None, Failure::Transient { error, retry_after: None })
        };
        let url = format!("{origin}{target}");
        let mut request = match method {
            Method::Get => self.http.get(&url),
            Method::Post => self.http.post(&url),
        };
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        if let Some(parent) = trace::current() {
            request = request.header(TRACEPARENT, parent.to_string());
        }
        let sent = self.clock.elapsed();
        let response = request.send().await.map_err(unreachable)?;
        let received = self.clock.elapsed();
        let status = response.status().as_u16();
        let (date, retry_after) = self.evaluate_headers(scope, &response, (sent, received));
        let is_success = response.status().is_success();
        let body = match read(exchange, response).await {
            Ok(body) => body,
            // An error status counts even if its body is truncated.
            Err(_) if !is_success => Bytes::new(),
            Err(failure) => return Err((Some(status), failure)),
        };
        let response = FetchedResponse { status, body, sent, received, date, retry_after, origin: index };
        if !is_success && let Some(failure) = self.failure(scope, &response) {
            return Err((Some(status), failure));
        }
        if let Some(tap) = &self.tap {
            tap.record(TrafficKind::Response { url, status, body: response.body.clone() });
        }
        Ok(response)
    }

    /// Records the used budget and the server's time that the headers state. Returns the `Date`, and the pause that the
    /// exchange asks for.
    fn evaluate_headers(
        &self,
        scope: &str,
        response: &reqwest::Response,
        (sent, received): (Duration, Duration),
    ) -> (Option<Timestamp>, Option<Duration>) {
        let headers = response.headers();
        let limiter = self.limiter(scope);
        if let Some((limiter, header)) = limiter.and_then(|limiter| Some((limiter, limiter.scope().used_header?)))
            && let Some(used) = number(headers, header)
        {
            limiter.raise_used(used);
        }
        let (now, date) = (self.clock.now(), date(headers));
        // A date in `Retry-After` is a time of the server's clock, as `Date` is.
        let retry_after = retry_after(headers, date.unwrap_or(now)).or_else(|| {
            // The reset header may have the current time unless the limit is exceeded; 403 is no rate limit.
            let is_limit_header = response.status() != reqwest::StatusCode::FORBIDDEN;
            let name = self.exchange.profile().reset_header.filter(|_| is_limit_header)?;
            let window = limiter.map_or(Duration::ZERO, |limiter| limiter.scope().window);
            window_reset(headers, name, date.unwrap_or(now), window)
        });
        if let Some(date) = date
            && age(headers).is_zero()
        {
            self.exchange_clock.record_response(sent, received, date, Duration::from_secs(1));
        }
        (date, retry_after)
    }

    /// Classifies a response with an error status. `None` if it is an exchange error that concerns this call alone.
    fn failure(&self, scope: &str, response: &FetchedResponse) -> Option<Failure> {
        let (exchange, status) = (self.exchange(), response.status);
        let error =
            self.exchange.classify_response(&RestResponse { status, body: &response.body }, self.exchange_clock.now());
        let retry_after = response.retry_after.or(error.retry_after);
        match error.kind {
            RestErrorKind::RateLimited | RestErrorKind::Banned => {
                // Another origin may accept this address: the next call starts there.
                if error.kind == RestErrorKind::Banned {
                    self.origins.avoid(response.origin);
                }
                // A firewall does not know the exchange's scopes.
                Some(Failure::Final(self.open_breaker(scope, error.kind, retry_after, status == 403)))
            }
            RestErrorKind::RegionBlocked => Some(Failure::Blocked { status }),
            RestErrorKind::Unavailable | RestErrorKind::Malformed => {
                let retry_after = retry_after.map(|after| after.min(MAX_RETRY_AFTER));
                let retry_at = retry_after.map(|after| self.clock.now() + after);
                let error = UpstreamError::Unavailable { exchange, status, retry_at };
                Some(Failure::Transient { error, retry_after })
            }
            RestErrorKind::UnknownSymbol | RestErrorKind::Rejected => None,
        }
    }

    fn limiter(&self, scope: &str) -> Option<&RateLimiter> {
        self.limiters.iter().find(|limiter| limiter.scope().name == scope)
    }

    fn deferred(&self, Deferred(until): Deferred) -> UpstreamError {
        UpstreamError::Deferred { exchange: self.exchange(), until }
    }
}

/// Reads a body up to [`MAX_BODY`].
async fn read(exchange: ExchangeId, mut response: reqwest::Response) -> Result<Bytes, Failure> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body.into()),
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => {
                return Err(Failure::Final(UpstreamError::TooLarge { exchange, limit: MAX_BODY }));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Err(error) => {
                let error = UpstreamError::Unreachable { exchange, detail: error_chain(&error.without_url()) };
                return Err(Failure::Transient { error, retry_after: None });
            }
        }
    }
}

fn headers(exchange: &dyn Exchange) -> HeaderMap {
    let header =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    exchange.profile().rest_headers.iter().map(header).collect()
}

/// An error with all of its causes: the first often says only "error sending request".
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
