//! How connections to an exchange are opened, and what they report.

use std::sync::Arc;
use std::time::Duration;

use super::dial::{Dial, DialError, DialErrorKind, Socket};
use crate::cache::Budgets;
use crate::clock::Clock;
use crate::exchanges::{Exchange, Subscription};
use crate::model::{BudgetState, MarketEvent, Timestamp};
use crate::upstream::Priority;
use crate::upstream::rate_limiter::{Deferred, RateLimiter, SharedBudget};
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
        Self { exchange, origins, dialer, clock, connect_limiter, tap: None }
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

    /// Opens a socket to the first origin that answers, starting with index `first`. Returns its index and the socket.
    pub(super) async fn dial(self, first: usize, path: String) -> Result<(usize, Socket), DialError> {
        let mut failed: Option<DialError> = None;
        for index in (first..self.origins.len()).chain(0..first) {
            let origin = self.origins[index].trim_end_matches('/');
            self.connect_limiter.acquire(1, Priority::Live).await.map_err(|deferred| self.deferred(deferred))?;
            let dialed = self.clock.timeout(DIAL_TIMEOUT, self.dialer.dial(&format!("{origin}{path}"))).await;
            let mut error = match dialed {
                Ok(Ok(socket)) => return Ok((index, socket)),
                Ok(Err(error)) => error,
                Err(_) => DialError::unreachable("no answer in time"),
            };
            error.message = format!("{origin}: {}", error.message);
            if error.kind == DialErrorKind::RateLimited {
                let pause = error.retry_after.unwrap_or(self.exchange.profile().default_ban_duration);
                self.connect_limiter.open_breaker(pause);
                // The limit is per address: more attempts at other origins would count against it.
                return Err(DialError { retry_after: Some(pause), ..error });
            }
            if let Some(earlier) = failed {
                error.message = format!("{}; {}", earlier.message, error.message);
                error.retry_after = error.retry_after.max(earlier.retry_after);
            }
            failed = Some(error);
        }
        Err(failed.unwrap_or_else(|| DialError::unreachable("no ws_url is configured")))
    }
}
