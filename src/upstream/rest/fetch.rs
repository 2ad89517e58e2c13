//! One request until it is answered: origins in order, a few tries, the exchange's word on when.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tracing::Instrument;
use tracing::field::Empty;

use super::Fetched;
use super::headers::{age, date, number, reset, retry_after};
use crate::cache::Budgets;
use crate::clock::Clock;
use crate::exchanges::{Exchange, Reply, ReplyError, ReplyErrorKind, RestCall, ServerTime, classify};
use crate::model::{BudgetState, ExchangeId, Timestamp};
use crate::telemetry::trace::{self, TRACEPARENT};
use crate::telemetry::upstream::{BreakerOpened, RegionClosed, RestCalled, RestRetried};
use crate::upstream::meter::{HeldBack, Meter, Others};
use crate::upstream::tap::{Tap, What};
use crate::upstream::{Backoff, ExchangeClock, LONGEST_TROUBLE, USER_AGENT, UpstreamError, Urgency};

/// How long connecting may take. In the machine's own time, since it is the network that is waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request may take, reply included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one origin may take to answer a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often all origins are gone through.
const ROUNDS: u32 = 3;
/// After so long no further try is begun.
const DEADLINE: Duration = Duration::from_mins(1);
/// The longest that a retry waits for; where an exchange asks for more, the caller hears it.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The largest reply that is taken. Binance's listing has about 10 MB.
const BODY_LIMIT: usize = 32 << 20;
/// How long an origin that refused this region is left alone: routes and rules change.
const CLOSED_FOR: Duration = Duration::from_mins(5);
/// The shortest pause after a limit that names no time: windows may be shorter than the way to the exchange.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);

/// Sends requests to one exchange.
pub(super) struct Fetcher {
    exchange: &'static dyn Exchange,
    http: reqwest::Client,
    clock: Clock,
    exchange_clock: ExchangeClock,
    origins: Mutex<Origins>,
    meters: Vec<Meter>,
    tap: Option<Tap>,
}

/// The origins in their order, and which one worked last.
struct Origins {
    list: Vec<Origin>,
    preferred: usize,
}

struct Origin {
    url: Arc<str>,
    /// Refuses this region until then (by the clock's `elapsed`), with this status.
    closed: Option<(Duration, u16)>,
}

/// What one request to one origin came to when it was not a reply.
enum Failure {
    /// The next origin, or the next try, may do better.
    Passing { error: UpstreamError, retry_after: Option<Duration> },
    /// This origin refuses this region.
    Closed { status: u16 },
    /// No further try may be made now.
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
        let list = origins.iter().map(|origin| parse_origin(origin)).collect::<Result<Vec<_>, _>>()?;
        if list.is_empty() {
            return Err(UpstreamError::Setup(format!("{} has no rest_url", exchange.id().name())));
        }
        let mut http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(headers(exchange))
            .connect_timeout(CONNECT_TIMEOUT)
            // No interface documents a redirect; one was seen to lead a closed region to a page for people.
            .redirect(reqwest::redirect::Policy::none());
        if list.iter().all(|origin| origin.url.starts_with("http://")) {
            // A simulator beside us: no certificates are needed, which a bare container may lack, and no proxy.
            http = http.tls_certs_only([]).no_proxy();
        }
        let http = http.build().map_err(|error| {
            UpstreamError::Setup(format!(
                "TLS cannot be set up (are the ca-certificates installed?): {}",
                chain(&error)
            ))
        })?;
        let others = budgets.map(|budgets| Others { exchange: exchange.id(), budgets });
        let meters =
            exchange.profile().scopes.iter().map(|scope| Meter::new(scope, clock.clone(), others.clone())).collect();
        let exchange_clock = ExchangeClock::new(clock.clone());
        let origins = Mutex::new(Origins { list, preferred: 0 });
        Ok(Self { exchange, http, clock, exchange_clock, origins, meters, tap })
    }

    pub fn exchange(&self) -> ExchangeId {
        self.exchange.id()
    }

    pub const fn exchange_clock(&self) -> &ExchangeClock {
        &self.exchange_clock
    }

    pub fn server_time(&self) -> Option<RestCall<ServerTime>> {
        self.exchange.server_time()
    }

    pub fn budgets(&self) -> Vec<BudgetState> {
        self.meters.iter().map(Meter::state).collect()
    }

    /// What a refusal does to the calls that come after it; `None` where it says something about this call alone.
    pub fn refused(&self, scope: &str, fetched: &Fetched, error: &ReplyError) -> Option<UpstreamError> {
        match error.kind {
            ReplyErrorKind::RateLimited | ReplyErrorKind::Banned => {
                Some(self.hold_back(scope, error.kind, error.retry_after.or(fetched.named), false))
            }
            ReplyErrorKind::RegionClosed => {
                self.close(fetched.origin, fetched.status);
                let all_closed = self.open_origins().err();
                all_closed.filter(|error| matches!(error, UpstreamError::RegionClosed { .. }))
            }
            _ => None,
        }
    }

    /// The next request begins with another origin than this one, where there is one.
    pub fn avoid(&self, index: usize) {
        let mut origins = self.origins.lock();
        if origins.preferred == index {
            origins.preferred = (index + 1) % origins.list.len();
        }
    }

    /// Waits before the next try of a call whose reply was damaged.
    pub async fn pause(&self, backoff: &mut Backoff, target: &str, error: &UpstreamError) {
        let wait = backoff.next(&self.clock);
        RestRetried { exchange: self.exchange(), path: path_of(target), error, after: wait }.emit();
        self.clock.sleep(wait).await;
    }

    /// Holds calls of this scope back, or of all scopes, for as long as the exchange said: until the window of a limit ends, or
    /// a ban.
    fn hold_back(&self, scope: &str, kind: ReplyErrorKind, named: Option<Duration>, all_scopes: bool) -> UpstreamError {
        let is_ban = kind == ReplyErrorKind::Banned;
        let mut until = self.clock.now();
        for meter in self.meters.iter().filter(|meter| all_scopes || meter.scope().name == scope) {
            let usual =
                if is_ban { self.exchange.profile().ban_pause } else { meter.scope().window.max(SHORTEST_PAUSE) };
            until = until.max(meter.refused(named, usual));
        }
        let scope = self.meter(scope).map_or("", |meter| meter.scope().name);
        BreakerOpened { exchange: self.exchange(), scope, until }.emit();
        UpstreamError::HeldBack { exchange: self.exchange(), until }
    }

    /// Asks for `target` until there is a reply to read.
    pub async fn fetch(
        &self,
        target: &str,
        scope: &str,
        weight: u32,
        urgency: Urgency,
    ) -> Result<Fetched, UpstreamError> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
        let (mut round, started) = (1, self.clock.elapsed());
        loop {
            let mut outcome = None;
            for (index, origin) in self.open_origins()? {
                let meter = self.meter(scope);
                if let Some(meter) = meter {
                    meter.admit(weight, urgency).await.map_err(|held_back| self.held_back(held_back))?;
                }
                let sent = self.clock.elapsed();
                let result = self.request((index, &origin), target, scope, REQUEST_TIMEOUT).await;
                if let Some(meter) = meter {
                    meter.replied(sent, weight);
                }
                match result {
                    Ok(fetched) => {
                        self.origins.lock().preferred = index;
                        return Ok(fetched);
                    }
                    Err(Failure::Closed { status }) => self.close(index, status),
                    Err(Failure::Final(error)) => return Err(error),
                    Err(Failure::Passing { error, retry_after }) => outcome = Some((error, retry_after)),
                }
            }
            // Without an outcome every origin has just been closed: the next round says so.
            let Some((error, named)) = outcome else { continue };
            let wait = backoff.next(&self.clock).max(named.unwrap_or_default());
            let is_late = self.clock.elapsed().saturating_sub(started) + wait > DEADLINE;
            if round >= ROUNDS || wait > LONGEST_WAIT || is_late {
                return Err(error);
            }
            RestRetried { exchange: self.exchange(), path: path_of(target), error: &error, after: wait }.emit();
            self.clock.sleep(wait).await;
            round += 1;
        }
    }

    /// Asks the probe path of all origins at the same time, so that one that swallows packets does not hide the others.
    pub async fn probe(&self) -> Result<Option<Timestamp>, UpstreamError> {
        let mut probes: FuturesUnordered<_> =
            self.open_origins()?.into_iter().map(|(index, origin)| self.probe_origin(index, origin)).collect();
        let mut failure = UpstreamError::TimedOut { exchange: self.exchange() };
        while let Some(probed) = probes.next().await {
            match probed {
                Ok((index, date)) => {
                    self.origins.lock().preferred = index;
                    return Ok(date);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn probe_origin(&self, index: usize, origin: Arc<str>) -> Result<(usize, Option<Timestamp>), UpstreamError> {
        let profile = self.exchange.profile();
        let scope = profile.scopes.first().map_or("", |scope| scope.name);
        if let Some(meter) = self.meter(scope) {
            meter.admit_now(1).map_err(|held_back| self.held_back(held_back))?;
        }
        match self.request((index, &origin), profile.probe_path, scope, PROBE_TIMEOUT).await {
            Ok(fetched) if fetched.status < 300 => Ok((index, fetched.date)),
            Ok(Fetched { status, .. }) => {
                Err(UpstreamError::Trouble { exchange: self.exchange(), status, retry_at: None })
            }
            Err(Failure::Closed { status }) => {
                self.close(index, status);
                Err(UpstreamError::RegionClosed { exchange: self.exchange(), status })
            }
            Err(Failure::Passing { error, .. } | Failure::Final(error)) => Err(error),
        }
    }

    /// One request to one origin.
    async fn request(
        &self,
        origin: (usize, &str),
        target: &str,
        scope: &str,
        timeout: Duration,
    ) -> Result<Fetched, Failure> {
        let (exchange, started) = (self.exchange(), self.clock.elapsed());
        let span = tracing::info_span!(
            "upstream",
            otel.kind = "client",
            exchange = exchange.as_str(),
            path = path_of(target),
            status = Empty,
        );
        let sent = self.clock.timeout(timeout, self.send(origin, target, scope)).instrument(span.clone()).await;
        let (status, result) = match sent {
            Ok(Ok(fetched)) => (Some(fetched.status), Ok(fetched)),
            Ok(Err((status, failure))) => (status, Err(failure)),
            Err(_) => {
                let error = UpstreamError::TimedOut { exchange };
                (None, Err(Failure::Passing { error, retry_after: None }))
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
        target: &str,
        scope: &str,
    ) -> Result<Fetched, (Option<u16>, Failure)> {
        let exchange = self.exchange();
        let unreachable = |error: reqwest::Error| {
            let error = if error.is_timeout() {
                UpstreamError::TimedOut { exchange }
            } else {
                UpstreamError::Unreachable { exchange, detail: chain(&error.without_url()) }
            };
            (None, Failure::Passing { error, retry_after: None })
        };
        let mut request = self.http.get(format!("{origin}{target}"));
        if let Some(here) = trace::current() {
            request = request.header(TRACEPARENT, here.to_string());
        }
        let asked = self.clock.elapsed();
        let response = request.send().await.map_err(unreachable)?;
        let received = self.clock.elapsed();
        let (status, headers) = (response.status().as_u16(), response.headers());
        let meter = self.meter(scope);
        if let Some((meter, header)) = meter.and_then(|meter| Some((meter, meter.scope().used_header?)))
            && let Some(used) = number(headers, header)
        {
            meter.correct(used);
        }
        let (now, date) = (self.clock.now(), date(headers));
        // A date in `Retry-After` is one of the same clock.
        let named = retry_after(headers, date.unwrap_or(now)).or_else(|| {
            // Unless the limit is exceeded, Bybit's header is "just the current timestamp".
            let is_of_limit = response.status() != reqwest::StatusCode::FORBIDDEN;
            let name = self.exchange.profile().reset_header.filter(|_| is_of_limit)?;
            reset(headers, name, date.unwrap_or(now), meter.map_or(Duration::ZERO, |meter| meter.scope().window))
        });
        if let Some(date) = date
            && age(headers).is_zero()
        {
            self.exchange_clock.answered(asked, received, date, Duration::from_secs(1));
        }
        let is_answer = response.status().is_success();
        let body = match read(exchange, response).await {
            Ok(body) => body,
            // A refusal is one also where its page breaks off.
            Err(_) if !is_answer => Bytes::new(),
            Err(failure) => return Err((Some(status), failure)),
        };
        let fetched = Fetched { status, body, asked, received, date, named, origin: index };
        if !is_answer && let Some(failure) = self.failure(scope, &fetched) {
            return Err((Some(status), failure));
        }
        if let Some(tap) = &self.tap {
            tap.tell(What::Answered { url: format!("{origin}{target}"), status, body: fetched.body.clone() });
        }
        Ok(fetched)
    }

    /// What a reply with an error status comes to, unless it is the exchange's own word about what was asked for.
    fn failure(&self, scope: &str, fetched: &Fetched) -> Option<Failure> {
        let (exchange, status) = (self.exchange(), fetched.status);
        let error = classify(self.exchange, &Reply { status, body: &fetched.body }, self.exchange_clock.now());
        let named = fetched.named.or(error.retry_after);
        match error.kind {
            ReplyErrorKind::RateLimited | ReplyErrorKind::Banned => {
                // What shuts this address out at one origin may not do so at another: the next call begins there.
                if error.kind == ReplyErrorKind::Banned {
                    self.avoid(fetched.origin);
                }
                // A firewall does not know the exchange's scopes.
                Some(Failure::Final(self.hold_back(scope, error.kind, named, status == 403)))
            }
            ReplyErrorKind::RegionClosed => Some(Failure::Closed { status }),
            ReplyErrorKind::Unavailable | ReplyErrorKind::Malformed => {
                let named = named.map(|named| named.min(LONGEST_TROUBLE));
                let retry_at = named.map(|after| self.clock.now() + after);
                let error = UpstreamError::Trouble { exchange, status, retry_at };
                Some(Failure::Passing { error, retry_after: named })
            }
            ReplyErrorKind::UnknownSymbol | ReplyErrorKind::Refused => None,
        }
    }

    /// The origins that may be asked, the one that worked last first.
    fn open_origins(&self) -> Result<Vec<(usize, Arc<str>)>, UpstreamError> {
        let now = self.clock.elapsed();
        let origins = self.origins.lock();
        let is_open = |index: &usize| origins.list[*index].closed.is_none_or(|(until, _)| until <= now);
        let order = std::iter::once(origins.preferred)
            .chain((0..origins.list.len()).filter(|index| *index != origins.preferred));
        let open: Vec<_> = order.filter(is_open).map(|index| (index, Arc::clone(&origins.list[index].url))).collect();
        if open.is_empty() {
            let status = origins.list.iter().find_map(|origin| origin.closed).map_or(403, |(_, status)| status);
            return Err(UpstreamError::RegionClosed { exchange: self.exchange(), status });
        }
        Ok(open)
    }

    pub fn prefer_next_origin(&self) {
        let mut origins = self.origins.lock();
        origins.preferred = (origins.preferred + 1) % origins.list.len();
    }

    /// Leaves an origin alone for a while. Several calls may hear the same at once.
    fn close(&self, index: usize, status: u16) {
        let now = self.clock.elapsed();
        let mut origins = self.origins.lock();
        let origin = &mut origins.list[index];
        if origin.closed.is_none_or(|(until, _)| until <= now) {
            RegionClosed { exchange: self.exchange(), origin: &origin.url, status }.emit();
            origin.closed = Some((now + CLOSED_FOR, status));
        }
    }

    fn meter(&self, scope: &str) -> Option<&Meter> {
        self.meters.iter().find(|meter| meter.scope().name == scope)
    }

    fn held_back(&self, HeldBack(until): HeldBack) -> UpstreamError {
        UpstreamError::HeldBack { exchange: self.exchange(), until }
    }
}

/// Reads a body up to [`BODY_LIMIT`].
async fn read(exchange: ExchangeId, mut response: reqwest::Response) -> Result<Bytes, Failure> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body.into()),
            Ok(Some(chunk)) if body.len() + chunk.len() > BODY_LIMIT => {
                return Err(Failure::Final(UpstreamError::TooLarge { exchange, limit: BODY_LIMIT }));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Err(error) => {
                let error = UpstreamError::Unreachable { exchange, detail: chain(&error.without_url()) };
                return Err(Failure::Passing { error, retry_after: None });
            }
        }
    }
}

/// Path and query, percent-encoded.
pub(super) fn target(path: &str, query: &[(&str, String)]) -> String {
    let mut target = path.to_owned();
    for (index, (name, value)) in query.iter().enumerate() {
        target.push(if index == 0 { '?' } else { '&' });
        encode(name, &mut target);
        target.push('=');
        encode(value, &mut target);
    }
    target
}

/// Everything but the unreserved characters of <https://www.rfc-editor.org/rfc/rfc3986#section-2.3>.
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

fn headers(exchange: &dyn Exchange) -> HeaderMap {
    let header =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    exchange.profile().rest_headers.iter().map(header).collect()
}

fn path_of(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}

fn parse_origin(text: &str) -> Result<Origin, UpstreamError> {
    let bad = || {
        UpstreamError::Setup(format!(
            "`{text}` is no origin: write http:// or https://, a host and perhaps a port, and no path"
        ))
    };
    let url = reqwest::Url::parse(text).map_err(|_| bad())?;
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !matches!(url.scheme(), "http" | "https") || !plain {
        return Err(bad());
    }
    Ok(Origin { url: text.trim_end_matches('/').into(), closed: None })
}

/// An error with all of its causes, since the first often says only "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
