//! Keeps one WebSocket connection to an exchange alive and tells what came over it.
//!
//! [`Feed::open`] gives a handle and a future to run. The future dials (`dial`), runs the exchange's session on the open
//! socket at the exchange's pace (`link`, `wire`, `pace`), and connects anew when it breaks or is due to be cut (`runner`). A
//! feed is one link, or none while it is broken, or two while a new one takes over from an old one.
//!
//! What was missed is part of the stream: [`FeedItem::Lost`] comes at the moment of the loss, and a
//! [`MarketEvent::Gap`] stands before the first data of each topic after it.

mod dial;
mod handle;
mod link;
mod pace;
mod rhythm;
mod runner;
mod wire;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::dial::{Dial, DialError, DialErrorKind, Dialer, Io, Socket, socket_config};
pub use self::handle::{ConnectionHandle, NoRoom};
use self::runner::Runner;
use crate::cache::Budgets;
use crate::clock::Clock;
use crate::exchanges::{ConnectionPlan, Exchange, Subscription};
use crate::model::{BudgetState, MarketEvent, Timestamp};
use crate::upstream::meter::{HeldBack, Meter, Others};
use crate::upstream::tap::Tap;

/// How WebSocket connections to one exchange are opened.
#[derive(Clone)]
pub struct Feed {
    exchange: &'static dyn Exchange,
    origins: Vec<String>,
    dialer: Arc<dyn Dial>,
    clock: Clock,
    /// All connections of an exchange are opened within one budget.
    connects: Arc<Meter>,
    tap: Option<Tap>,
}

/// What a connection tells, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedItem {
    /// From now on the events of these are whole.
    Confirmed { subscriptions: Vec<Subscription>, at: Timestamp },
    /// What happened on the market, as it was read together. Before the first event of a topic after a loss stands a
    /// [`MarketEvent::Gap`]. While a new connection takes over from an old one, events come twice.
    Events(Vec<MarketEvent>),
    /// All that the exchange had to tell up to this moment of its clock was handed on, on the connection of that name.
    Reached { connection: Arc<str>, at: Timestamp },
    /// The connection broke; the last frame came at `since`. They will be confirmed anew.
    Lost { subscriptions: Vec<Subscription>, since: Timestamp },
    /// The exchange refuses this one; it is not asked for again.
    Refused { subscription: Subscription, reason: String },
    /// The connection ended for good.
    GaveUp { subscriptions: Vec<Subscription>, reason: String },
}

impl Feed {
    /// How to reach `exchange` at `origins`, which are tried in order: `wss://stream.example.com`, no path.
    #[must_use]
    pub fn new(exchange: &'static dyn Exchange, origins: Vec<String>, dialer: Arc<dyn Dial>, clock: Clock) -> Self {
        let connects = Arc::new(Meter::new(&exchange.profile().connects, clock.clone(), None));
        Self { exchange, origins, dialer, clock, connects, tap: None }
    }

    /// Hands on what comes and goes.
    #[must_use]
    pub fn tapped(self, tap: Tap) -> Self {
        Self { tap: Some(tap), ..self }
    }

    /// Opens connections inside of a limit that others behind the same address use, too.
    #[must_use]
    pub fn sharing(self, budgets: Arc<dyn Budgets>) -> Self {
        let others = Some(Others { exchange: self.exchange.id(), budgets });
        let connects = Arc::new(Meter::new(&self.exchange.profile().connects, self.clock.clone(), others));
        Self { connects, ..self }
    }

    /// How many connections were opened of those that the exchange allows.
    #[must_use]
    pub fn budget(&self) -> BudgetState {
        self.connects.state()
    }

    /// Why no socket is opened before the budget allows it.
    fn held_back(&self, HeldBack(until): HeldBack) -> DialError {
        DialError {
            kind: DialErrorKind::RateLimited,
            message: format!("too many connections were opened; none is before {until}"),
            retry_after: Some(until.since(self.clock.now())),
        }
    }

    /// Opens a connection called `name` (`binance.1`) for `plan`. Nothing happens until the returned future runs; it
    /// ends when `stop` is cancelled (with a close frame), when `items` is closed, or after [`FeedItem::GaveUp`].
    ///
    /// A full `items` makes the reader wait, and in the end the exchange (TCP back-pressure): nothing is dropped.
    pub fn open(
        &self,
        name: impl Into<String>,
        plan: ConnectionPlan,
        items: mpsc::Sender<FeedItem>,
        stop: CancellationToken,
    ) -> (ConnectionHandle, impl Future<Output = ()> + Send + 'static) {
        let handle = ConnectionHandle::new(name.into(), plan.subscriptions, plan.spare);
        let runner = Runner::new(self.clone(), plan.path, plan.session, handle.clone(), items, stop);
        (handle, runner.run())
    }
}
