//! Keeps one WebSocket connection to an exchange open and reports what it receives.
//!
//! [`Feed::open`] returns a handle and a future to run. The future dials (`dial`), runs the exchange's session on the
//! open socket (`connection`, `framed_socket`, `pacer`, `liveness`), and reconnects when the connection breaks or
//! before the exchange closes it (`runner`). A feed has one open connection, none while it is disconnected, and two
//! while a new one takes over.
//!
//! Missed data is part of the stream: [`FeedItem::Lost`] is sent when the connection is lost, and a
//! [`MarketEvent::Gap`] precedes the first data of each topic after it.

mod connection;
mod dial;
mod framed_socket;
mod handle;
mod liveness;
mod pacer;
mod runner;
mod skip_log;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::dial::{Dial, DialError, DialErrorKind, Dialer, Io, Socket, socket_config};
pub use self::handle::{ConnectionFull, ConnectionHandle};
use self::runner::Runner;
use crate::cache::Budgets;
use crate::clock::Clock;
use crate::exchanges::{ConnectionPlan, Exchange, Subscription};
use crate::model::{BudgetState, MarketEvent, Timestamp};
use crate::upstream::rate_limiter::{Deferred, RateLimiter, SharedBudget};
use crate::upstream::tap::Tap;

/// How WebSocket connections to one exchange are opened.
#[derive(Clone)]
pub struct Feed {
    exchange: &'static dyn Exchange,
    origins: Vec<String>,
    dialer: Arc<dyn Dial>,
    clock: Clock,
    /// Limits the connects to the exchange, shared by all its connections.
    connect_limiter: Arc<RateLimiter>,
    tap: Option<Tap>,
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

    /// Opens a connection called `name` (`binance.1`) for `plan`. Nothing happens until the returned future is polled.
    /// It ends when `stop` is cancelled (with a close frame), when `items` is closed, or after [`FeedItem::GaveUp`].
    ///
    /// A full `items` blocks the reader and, through TCP back-pressure, the exchange. Nothing is dropped.
    pub fn open(
        &self,
        name: impl Into<String>,
        plan: ConnectionPlan,
        items: mpsc::Sender<FeedItem>,
        stop: CancellationToken,
    ) -> (ConnectionHandle, impl Future<Output = ()> + Send + 'static) {
        let handle = ConnectionHandle::new(name.into(), plan.subscriptions, plan.spare_capacity);
        let runner = Runner::new(self.clone(), plan.path, plan.session, handle.clone(), items, stop);
        (handle, runner.run())
    }
}
