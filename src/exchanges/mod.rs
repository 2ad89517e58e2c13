//! Exchange adapters: data and pure functions. No sockets, no clocks, no locks.
//!
//! An exchange is a folder here, a variant of [`ExchangeId`] and an arm of [`exchange`]. An adapter has two parts: a
//! [`RestCall`] is a request and the pure function that parses its response; a [`FeedSession`] is one WebSocket
//! connection as a state machine. The engine in `upstream` does all network I/O, in the same way for every exchange.

pub mod binance;
pub mod bybit;
mod candle_rows;
mod codec;
pub mod coinbase;
mod errors;
pub mod kraken;
mod listing;
mod markets;
pub mod okx;
mod pending;
#[cfg(test)]
mod testing;

pub use errors::{classify_response, is_region_block};
pub use listing::{Listing, ListingIssue};

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    BadEvent, Channel, ExchangeId, Instrument, Interval, MarketEvent, Series, Symbol, TickerPatch, TimeRange,
    Timestamp, Topic,
};

pub use self::candle_rows::{CandleRows, SkippedRow};

/// An exchange: data and pure functions.
pub trait Exchange: Send + Sync + 'static {
    /// The id of the exchange.
    fn id(&self) -> ExchangeId;

    /// Addresses, limits and capabilities.
    fn profile(&self) -> &Profile;

    /// The exchange's clock. `None` where the API has no such call.
    fn server_time(&self) -> Option<RestCall<ServerTime>> {
        None
    }

    /// The listing.
    fn instruments(&self) -> RestCall<Listing>;

    /// The calls whose merged responses make a ticker; later ones override earlier ones.
    fn ticker(&self, instrument: &Instrument) -> Vec<RestCall<TickerPatch>>;

    /// One page of candles, with forming ones marked as not closed, and the rows that cannot be parsed. `None` where
    /// the exchange does not offer the interval on our grid.
    fn candles(&self, page: &CandlePage) -> Option<RestCall<CandleRows>>;

    /// Parses an error body in the exchange's documented form; `None` for any other body, such as the page of a proxy.
    /// [`classify_response`] classifies the response as a whole.
    fn api_error(&self, response: &RestResponse<'_>, received: Timestamp) -> Option<RestError> {
        let _ = (response, received);
        None
    }

    /// Distributes `subscriptions` over connections, by socket path and by the exchange's limits.
    fn connections(&self, subscriptions: &[Subscription]) -> Vec<ConnectionPlan>;

    /// A session that accepts frames of any market, without the listing; see [`Exchange::guess_symbol`].
    fn decoder(&self) -> Box<dyn FeedSession>;

    /// Derives the symbol from the native id of a spot market without the listing, by known quote assets: `BTCUSDT` is
    /// `BTC/USDT`.
    fn guess_symbol(&self, native: &str) -> Option<Symbol>;

    /// Whether a WebSocket URL carries spot markets. Recordings may contain several URLs.
    fn is_spot_stream(&self, url: &str) -> bool {
        let _ = url;
        true
    }
}

/// The adapter of an exchange.
#[must_use]
pub fn exchange(id: ExchangeId) -> &'static dyn Exchange {
    match id {
        ExchangeId::Binance => &binance::Binance,
        ExchangeId::Kraken => &kraken::Kraken,
        ExchangeId::Coinbase => &coinbase::Coinbase,
        ExchangeId::Okx => &okx::Okx,
        ExchangeId::Bybit => &bybit::Bybit,
    }
}

/// Addresses, limits and capabilities of an exchange. The source of each value is cited where the value is set.
#[derive(Debug)]
pub struct Profile {
    /// REST origins, tried in order: `https://api.example.com`, without a path.
    pub rest_origins: &'static [&'static str],
    /// WebSocket origins, tried in order.
    pub ws_origins: &'static [&'static str],
    /// Headers of every REST request in addition to `User-Agent`; names in lower case.
    pub rest_headers: &'static [(&'static str, &'static str)],
    /// Inexpensive path that answers 200 whenever the exchange is available.
    pub probe_path: &'static str,
    /// Rate limits of the REST API, each counted separately. Probes count towards the first one.
    pub rate_limits: &'static [RateLimit],
    /// Limit of new WebSocket connections per client address.
    pub connection_limit: RateLimit,
    /// Pause after a ban (403, 418) that names no duration. After a rate limit (429) that names none, the pause is the
    /// window of that limit.
    pub default_ban_duration: Duration,
    /// Response header with the end of the window of an exhausted limit, in Unix milliseconds.
    pub reset_header: Option<&'static str>,
    /// Cost of one page of candles.
    pub page_cost: PageCost,
    /// Channels of the WebSocket API; `Candles` means one-minute candles.
    pub channels: &'static [Channel],
    /// Source of one-minute candles while they form.
    pub minute_candles: MinuteCandles,
    /// Intervals whose native open times are on our grid.
    pub intervals: &'static [Interval],
    /// Maximum number of candles per page.
    pub page_rows: u32,
    /// Whether a page request may span more than `page_rows` candles; the response then has the first `page_rows`.
    pub accepts_long_ranges: bool,
    /// How long after its end a candle may still be missing or incomplete in REST, which lags behind the streams.
    pub rest_lag: Duration,
    /// Number of candles back from now that REST serves; `None` if it serves all since the listing of the market.
    pub history_rows: Option<u32>,
    /// A connection that receives no frame for this long is dead.
    pub idle_timeout: Duration,
    /// Maximum time until a subscription is acknowledged.
    pub ack_timeout: Duration,
    /// Maximum number of messages sent per second on one connection.
    pub messages_per_second: NonZeroU32,
    /// Age at which the exchange closes a connection.
    pub max_connection_age: Option<Duration>,
}

impl Profile {
    /// Whether candles of this interval are available, natively or as a rollup of a native interval.
    #[must_use]
    pub fn supports_interval(&self, interval: Interval) -> bool {
        self.intervals.contains(&interval) || self.intervals.iter().any(|native| native.divides(interval))
    }

    /// Minimum time between two messages on one connection. It leaves a fifth of the exchange's limit unused: pongs
    /// count towards the limit too, and two messages sent at different times may arrive together.
    #[must_use]
    pub fn send_interval(&self) -> Duration {
        let limit = self.messages_per_second.get();
        Duration::from_secs(1) / (limit - limit.div_ceil(5)).max(1)
    }
}

/// Cost of a page of candles.
#[derive(Clone, Copy, Debug)]
pub struct PageCost {
    /// Name of the [`RateLimit`]. If old candles have a separate limit, the name of that one.
    pub scope: &'static str,
    pub weight: u32,
}

/// Source of one-minute candles while they form, and what closes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinuteCandles {
    /// A stream whose candles have a closed flag. Nothing else closes a candle. The REST APIs of these exchanges also
    /// return candles for intervals without trades.
    Flagged,
    /// A stream without a closed flag: the next candle or the clock closes a candle, and its trades must add up to it.
    Unflagged,
    /// No stream: candles are built from trades.
    FromTrades,
}

/// A rate limit of an exchange: weight per window.
#[derive(Debug)]
pub struct RateLimit {
    /// Name of the limit; the `scope` in the API and in metrics.
    pub name: &'static str,
    /// Maximum weight per window.
    pub limit: u32,
    /// Length of a window.
    pub window: Duration,
    /// Response header with the weight used in the current window.
    pub used_header: Option<&'static str>,
}

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

/// One WebSocket connection to open.
pub struct ConnectionPlan {
    /// Path and query on the WebSocket origin.
    pub path: String,
    /// Initial subscriptions of the connection.
    pub subscriptions: Vec<Subscription>,
    /// Number of additional subscriptions, of any channel, that fit on the connection.
    pub spare_capacity: usize,
    /// Creates the state machine of a new connection; every reconnect creates a new one.
    pub session: fn(Vec<Subscription>) -> Box<dyn FeedSession>,
}

/// One connection as a state machine: frames in; events and frames out. Calls are sequential.
///
/// A session sends its initial subscriptions in [`FeedSession::on_open`], tracks the requests that are not yet
/// acknowledged and their deadlines, and reports acknowledged and rejected subscriptions in the outbox. It merges
/// partial updates, so that its events are complete.
pub trait FeedSession: Send {
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
    /// Text frames to send, in order; the runner observes [`Profile::send_interval`].
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
