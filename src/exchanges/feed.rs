//! WebSocket connections as state machines: frames in; events, frames and notices out.

use std::sync::Arc;
use std::time::Duration;

use super::rest::RestCall;
use crate::model::{BadEvent, Channel, Instrument, Interval, MarketEvent, Series, Symbol, Timestamp, Topic};

/// One channel of one market. Candles are one-minute candles; longer ones are rollups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub channel: Channel,
    pub instrument: Arc<Instrument>,
}

impl Subscription {
    /// The topic of its events.
    #[must_use]
    pub fn topic(&self) -> Topic {
        let (exchange, symbol) = (self.instrument.exchange, self.instrument.symbol.clone());
        match self.channel {
            Channel::Ticker => Topic::Ticker { exchange, symbol },
            Channel::Trades => Topic::Trades { exchange, symbol },
            Channel::Candles => Topic::Candles(Series { exchange, symbol, interval: Interval::M1 }),
        }
    }
}

/// Creates the state machine of a new connection with these subscriptions.
pub type SessionFactory = fn(Vec<Subscription>) -> Box<dyn FeedSession>;

/// One WebSocket connection to open.
pub struct ConnectionPlan {
    /// Path and query on the WebSocket origin. Plans with the same path carry the same kind of subscription.
    pub path: String,
    /// The call that returns the address, made before each dial. `None`: `path` on an origin of the profile.
    pub address: Option<fn() -> RestCall<SocketAddress>>,
    /// Compression of binary frames.
    pub encoding: Encoding,
    /// Initial subscriptions of the connection.
    pub subscriptions: Vec<Subscription>,
    /// Number of additional subscriptions, of any channel, that fit on the connection.
    pub spare_capacity: usize,
    /// Creates the state machine of a new connection; every reconnect creates a new one.
    pub session: SessionFactory,
}

/// An address that an exchange assigns to one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketAddress {
    /// `wss://host/path?query`.
    pub url: String,
    /// How often to send a ping, if the exchange says so.
    pub ping_interval: Option<Duration>,
}

/// Compression of binary frames. The engine decompresses them, and the session receives text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Frames are not compressed.
    #[default]
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 1951, without a header.
    Deflate,
}

/// One connection as a state machine: frames in; events and frames out. Calls are sequential.
///
/// A session sends its initial subscriptions in [`FeedSession::on_open`], tracks the requests that are not yet
/// acknowledged and their deadlines, and reports acknowledged and rejected subscriptions in the outbox. It merges
/// partial updates, so that its events are complete.
pub trait FeedSession: Send {
    /// Called before [`FeedSession::on_open`] if [`SocketAddress::ping_interval`] is set.
    fn set_ping_interval(&mut self, interval: Duration) {
        let _ = interval;
    }

    /// Called when the connection is open: subscribes.
    fn on_open(&mut self, now: Timestamp, out: &mut Outbox);

    /// Subscribes and unsubscribes on the open connection.
    fn update_subscriptions(&mut self, add: &[Subscription], remove: &[Subscription], now: Timestamp, out: &mut Outbox);

    /// Handles a received frame.
    ///
    /// # Errors
    /// Tells the runner how to proceed; valid events of the same frame are in the outbox.
    fn on_frame(&mut self, frame: Frame<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError>;

    /// Called about once per second: sends heartbeats and checks deadlines.
    ///
    /// # Errors
    /// As for [`FeedSession::on_frame`].
    fn on_timer(&mut self, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError>;
}

/// A data frame of a WebSocket.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

/// Output of a session.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Market events, in order; see [`Outbox::push_event`].
    pub events: Events,
    /// Text frames to send, in order; the runner observes [`Profile::send_interval`](super::Profile::send_interval).
    pub frames: Vec<String>,
    /// Notices for the runner and the collector.
    pub notices: Vec<Notice>,
}

impl Outbox {
    /// Adds an event that was received at `received`. An invalid trade is reported as [`Notice::TradeSkipped`].
    ///
    /// # Errors
    /// The event is invalid and was not added.
    pub fn push_event(&mut self, event: MarketEvent, received: Timestamp) -> Result<(), BadEvent> {
        let checked = event.check(received);
        match (event, &checked) {
            (event, Ok(())) => self.events.0.push(event),
            (MarketEvent::Trade(trade), Err(_)) => self.notices.push(Notice::TradeSkipped(Some(trade.symbol))),
            (_, Err(_)) => {}
        }
        checked
    }
}

/// Events that were checked when they were added.
#[derive(Debug, Default)]
pub struct Events(Vec<MarketEvent>);

impl Events {
    /// Removes and returns all events.
    pub fn take(&mut self) -> Vec<MarketEvent> {
        std::mem::take(&mut self.0)
    }

    /// Removes and returns the events from index `at` on.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        Self(self.0.split_off(at))
    }

    /// Removes all events.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl std::ops::Deref for Events {
    type Target = [MarketEvent];
    fn deref(&self) -> &[MarketEvent] {
        &self.0
    }
}

/// Output of a session other than events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The exchange acknowledged these subscriptions; their data is complete from now on.
    Acknowledged(Vec<Subscription>),
    /// The exchange rejected a subscription; a retry does not help.
    Rejected {
        subscription: Subscription,
        /// Message of the exchange.
        reason: String,
    },
    /// The exchange will close this connection soon: open the next one now.
    Rotate,
    /// The exchange states that it has sent everything up to this time of its clock on this connection.
    CompleteUntil(Timestamp),
    /// Heartbeat of the exchange: its data service is up, although it may have no data to send.
    Heartbeat,
    /// A trade was invalid and skipped: of this market, or, for `None`, of any market of the connection.
    TradeSkipped(Option<Symbol>),
}

/// An error of a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FeedError {
    /// How the runner proceeds.
    pub recovery: Recovery,
    /// What happened, with an excerpt of the frame.
    pub message: String,
}

/// How the runner proceeds after a [`FeedError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Skip the frame and continue.
    SkipFrame,
    /// Reconnect, but not before `after`.
    Reconnect { after: Duration },
    /// Do not retry.
    GiveUp,
}

impl FeedError {
    /// A frame that cannot be parsed; the message has its beginning.
    #[must_use]
    pub fn malformed(what: impl std::fmt::Display, frame: &str) -> Self {
        let excerpt: String = frame.chars().take(120).collect();
        Self { recovery: Recovery::SkipFrame, message: format!("{what} in `{excerpt}`") }
    }

    /// How the runner proceeds.
    #[must_use]
    pub const fn recovery(&self) -> Recovery {
        self.recovery
    }
}
