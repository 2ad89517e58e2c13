//! How connections to an exchange are opened, and what they report.

use std::sync::Arc;
use std::time::Duration;

use super::dial::{Dial, DialError, DialErrorKind, Socket};
use crate::cache::Budgets;
use crate::clock::Clock;
use crate::exchanges::{Exchange, RestCall, SocketAddress, Subscription};
use crate::model::{BudgetState, MarketEvent, Timestamp};
use crate::upstream::Priority;
use crate::upstream::rate_limiter::{Deferred, RateLimiter, SharedBudget};
use crate::upstream::rest::RestClient;
use crate::upstream::tap::Tap;

/// Timeout for opening a socket, per origin.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How WebSocket connections to one exchange are opened.
#[derive(Clone)]
pub struct Feed {
    pub(super) exchange: &'static dyn Exchange,
    pub(super) origins: Vec<String>,
    dialer: Arc<dyn Dial>,
    pub(super) clock: Clock,
    /// Limits the connects to the exchange, shared by all its connections.
    connect_limiter: Arc<RateLimiter>,
    /// Asks for addresses.
    rest: Option<Arc<RestClient>>,
    pub(super) tap: Option<Tap>,
}

/// What a connection reports, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedItem {
    /// The exchange acknowledged these: from now on their events are complete.
    Acknowledged { subscriptions: Vec<Subscription>, at: Timestamp },
    /// The events of one read. A [`MarketEvent::Gap`] precedes the first event of a topic after a loss. While a new
    /// connection takes over from an old one, events are duplicated.
    Events(Vec<MarketEvent>),
    /// All events up to this time of the exchange's clock were reported, on the connection of that name.
    CompleteUntil { connection: Arc<str>, at: Timestamp },
    /// The connection broke; the last frame was received at `since`. `Acknowledged` follows when they resume.
    Lost { subscriptions: Vec<Subscription>, since: Timestamp },
    /// The exchange rejected this one; it is not subscribed to again.
    Rejected { subscription: Subscription, reason: String },
    /// The connection ended for good.
    GaveUp { subscriptions: Vec<Subscription>, reason: String },
}

impl Feed {
    /// A feed of `exchange` that tries `origins` in order: `wss://stream.example.com`, no path.
    #[must_use]
    pub fn new(exchange: &'static dyn Exchange, origins: Vec<String>, dialer: Arc<dyn Dial>, clock: Clock) -> Self {
        let connect_limiter = Arc::new(RateLimiter::new(&exchange.profile().connection_limit, clock.clone(), None));
        Self { exchange, origins, dialer, clock, connect_limiter, rest: None, tap: None }
    }

    /// Asks the exchange for the addresses of connections with `rest`, if it assigns them.
    #[must_use]
    pub fn with_rest(self, rest: Arc<RestClient>) -> Self {
        Self { rest: Some(rest), ..self }
    }

    /// Copies all traffic to `tap`.
    #[must_use]
    pub fn with_tap(self, tap: Tap) -> Self {
        Self { tap: Some(tap), ..self }
    }

    /// Opens connections within a limit that processes behind the same address share.
    #[must_use]
    pub fn with_shared_budgets(self, budgets: Arc<dyn Budgets>) -> Self {
        let shared = Some(SharedBudget { exchange: self.exchange.id(), budgets });
        let connect_limiter =
            Arc::new(RateLimiter::new(&self.exchange.profile().connection_limit, self.clock.clone(), shared));
        Self { connect_limiter, ..self }
    }

    /// Usage of the exchange's connect limit.
    #[must_use]
    pub fn budget(&self) -> BudgetState {
        self.connect_limiter.state()
    }

    /// The error of a connect that the budget defers.
    fn deferred(&self, Deferred(until): Deferred) -> DialError {
        DialError {
            kind: DialErrorKind::RateLimited,
            message: format!("connect limit reached: no connection is opened before {until}"),
            retry_after: Some(until.since(self.clock.now())),
        }
    }

    /// Opens a socket for `plan`: at the address that the exchange assigns or, starting with index `first`, at the first
    /// origin that answers.
    pub(super) async fn dial(self, first: usize, target: DialTarget) -> Result<Dialed, DialError> {
        let path = match target {
            DialTarget::Assigned(address) => return self.dial_assigned(address()).await,
            DialTarget::Path(path) => path,
        };
        let mut failed: Option<DialError> = None;
        for origin in (first..self.origins.len()).chain(0..first) {
            let name = self.origins[origin].trim_end_matches('/');
            let url = format!("{name}{path}");
            let mut error = match self.dial_url(name, &url).await {
                Ok(socket) => return Ok(Dialed { origin, name: name.to_owned(), url, socket, ping_interval: None }),
                // The limit is per address: more attempts at other origins would count against it.
                Err(error) if error.kind == DialErrorKind::RateLimited => return Err(error),
                Err(error) => error,
            };
            if let Some(earlier) = failed {
                error.message = format!("{}; {}", earlier.message, error.message);
                error.retry_after = error.retry_after.max(earlier.retry_after);
            }
            failed = Some(error);
        }
        Err(failed.unwrap_or_else(|| DialError::unreachable("no ws_url is configured")))
    }

    /// Asks the exchange for an address and opens a socket there.
    async fn dial_assigned(&self, call: RestCall<SocketAddress>) -> Result<Dialed, DialError> {
        let Some(rest) = &self.rest else { return Err(DialError::unreachable("no REST client to ask for an address")) };
        let SocketAddress { url, ping_interval } = rest.call(&call).await.map_err(|error| DialError {
            retry_after: error.retry_at().map(|at| at.since(self.clock.now())),
            ..DialError::unreachable(format!("no address was assigned: {error}"))
        })?;
        // The query contains a token, which belongs neither in logs nor in recordings.
        let name = url.split_once('?').map_or(&*url, |(address, _)| address).to_owned();
        let socket = self.dial_url(&name, &url).await?;
        Ok(Dialed { origin: 0, url: name.clone(), name, socket, ping_interval })
    }

    /// Opens a socket at `url`, which errors call `name`, within the connect limit.
    async fn dial_url(&self, name: &str, url: &str) -> Result<Socket, DialError> {
        self.connect_limiter.acquire(1, Priority::Live).await.map_err(|deferred| self.deferred(deferred))?;
        let mut error = match self.clock.timeout(DIAL_TIMEOUT, self.dialer.dial(url)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => error,
            Err(_) => DialError::unreachable("no answer in time"),
        };
        error.message = format!("{name}: {}", error.message);
        if error.kind == DialErrorKind::RateLimited {
            let pause = error.retry_after.unwrap_or(self.exchange.profile().default_ban_duration);
            self.connect_limiter.open_breaker(pause);
            error.retry_after = Some(pause);
        }
        Err(error)
    }
}

/// Where to open a socket.
#[derive(Clone)]
pub(super) enum DialTarget {
    /// Path and query on one of the origins.
    Path(String),
    /// At the address that this call returns.
    Assigned(fn() -> RestCall<SocketAddress>),
}

/// A WebSocket that was opened.
pub(super) struct Dialed {
    /// Index of its origin.
    pub origin: usize,
    /// The origin, or the assigned address without its query.
    pub name: String,
    /// The address; without its query if it was assigned.
    pub url: String,
    pub socket: Socket,
    /// How often to send a ping, if the exchange says so.
    pub ping_interval: Option<Duration>,
}
