//! What candlewick knows of each exchange: data and pure functions. No socket, no clock, no lock.
//!
//! An exchange is a folder here, a variant of [`ExchangeId`] and a line in [`exchange`]. Its dialect is spoken in two
//! ways: a [`RestCall`] is a request and the pure function that reads its reply, and a [`FeedSession`] is one WebSocket
//! connection as a state machine. The engine in `upstream` does all that touches the network, for every exchange alike.

pub mod binance;
pub mod bybit;
mod codec;
pub mod coinbase;
pub mod kraken;
mod listing;
mod markets;
pub mod okx;
mod pending;
mod refusal;
mod rows;
#[cfg(test)]
mod testing;

pub use listing::{Listing, OddRow};
pub use refusal::{classify, names_region};

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    BadEvent, Channel, ExchangeId, Instrument, Interval, MarketEvent, Series, Symbol, TickerPatch, TimeRange,
    Timestamp, Topic,
};

pub use self::rows::{CandleRows, SkippedRow};

/// An exchange: data and pure functions.
pub trait Exchange: Send + Sync + 'static {
    /// Which one.
    fn id(&self) -> ExchangeId;

    /// Its addresses, limits and habits.
    fn profile(&self) -> &Profile;

    /// What time it is there. `None` where its interface has no such call.
    fn server_time(&self) -> Option<RestCall<ServerTime>> {
        None
    }

    /// Everything that it lists.
    fn instruments(&self) -> RestCall<Listing>;

    /// The calls whose merged answers make a ticker; later ones win.
    fn ticker(&self, instrument: &Instrument) -> Vec<RestCall<TickerPatch>>;

    /// One page of candles, forming ones marked as not closed, and the rows that could not be read. `None` where the
    /// exchange does not offer the interval on our grid.
    fn candles(&self, page: &CandlePage) -> Option<RestCall<CandleRows>>;

    /// What an error body in the exchange's own, documented form means; `None` for any other body, such as the page of a
    /// proxy. [`classify`] says what a reply means as a whole.
    fn refusal(&self, reply: &Reply<'_>, received: Timestamp) -> Option<ReplyError> {
        let _ = (reply, received);
        None
    }

    /// How to listen to all of `subscriptions`: split by kind of socket and by the exchange's limits.
    fn connections(&self, subscriptions: &[Subscription]) -> Vec<ConnectionPlan>;

    /// A session that takes frames of any market, without knowing the listing; see [`Exchange::guess_symbol`].
    fn decoder(&self) -> Box<dyn FeedSession>;

    /// Reads the exchange's own id of a spot market without knowing the listing, by its known quotes:
    /// `BTCUSDT` is `BTC/USDT`.
    fn guess_symbol(&self, native: &str) -> Option<Symbol>;

    /// Whether a WebSocket address is one that carries spot markets, for recordings of several.
    fn is_spot_stream(&self, address: &str) -> bool {
        let _ = address;
        true
    }
}

/// An exchange's implementation.
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

/// Addresses, limits and habits of an exchange. Each value's source stands where it is set.
#[derive(Debug)]
pub struct Profile {
    /// REST origins, tried in order: `https://api.example.com`, no path.
    pub rest_origins: &'static [&'static str],
    /// WebSocket origins, tried in order.
    pub ws_origins: &'static [&'static str],
    /// Headers that its REST interface wants, beside `User-Agent`; names in lower case.
    pub rest_headers: &'static [(&'static str, &'static str)],
    /// A cheap path that answers 200 whenever the exchange is there.
    pub probe_path: &'static str,
    /// What the exchange meters, each on its own. The first is the REST interface's.
    pub scopes: &'static [Scope],
    /// How many WebSocket connections an address may open in so much time.
    pub connects: Scope,
    /// How long to stay away after a ban (403, 418) that names no time. A limit (429) that names none is waited for as long
    /// as its window.
    pub ban_pause: Duration,
    /// The reply header that says when the window of a limit that is used up ends, in Unix milliseconds.
    pub reset_header: Option<&'static str>,
    /// What one page of candles costs, in the scope that meters it.
    pub page_cost: PageCost,
    /// The channels that its WebSocket gives; `Candles` means candles of one minute.
    pub channels: &'static [Channel],
    /// Where its candles of one minute come from while they form.
    pub minutes: MinuteCandles,
    /// The intervals whose native open times equal ours.
    pub intervals: &'static [Interval],
    /// The most candles that one page gives.
    pub page_rows: u32,
    /// Whether a page may ask for a longer time than `page_rows` candles; it then gives the first of them.
    pub wide_pages: bool,
    /// How long after its end a candle of its REST interface may still be missing or not whole: it lags its streams.
    pub rest_lag: Duration,
    /// How many candles back from now its REST interface reaches; `None` for back to the listing.
    pub reach_rows: Option<u32>,
    /// A connection without any frame for so long is dead.
    pub idle_timeout: Duration,
    /// How long an acknowledgement of a subscription may take.
    pub ack_timeout: Duration,
    /// The most messages that may be sent on one connection in a second.
    pub messages_per_second: NonZeroU32,
    /// The exchange cuts connections of this age.
    pub max_connection_age: Option<Duration>,
}

impl Profile {
    /// Whether there are candles of this interval: its own, or made of its own.
    #[must_use]
    pub fn offers(&self, interval: Interval) -> bool {
        self.intervals.contains(&interval) || self.intervals.iter().any(|native| native.divides(interval))
    }

    /// The time between two messages on one connection. A fifth of the exchange's limit stays free: pongs count there
    /// too, and two messages that left apart may arrive together.
    #[must_use]
    pub fn pace(&self) -> Duration {
        let limit = self.messages_per_second.get();
        Duration::from_secs(1) / (limit - limit.div_ceil(5)).max(1)
    }
}

/// What a page of candles costs.
#[derive(Clone, Copy, Debug)]
pub struct PageCost {
    /// The name of the [`Scope`] that meters it; where old candles have one of their own, that.
    pub scope: &'static str,
    pub weight: u32,
}

/// Where the candles of one minute come from while they form, and what closes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinuteCandles {
    /// A stream that says of a candle that it is closed. Nothing else closes one. The REST interfaces of these exchanges give
    /// a candle for a time in which nobody traded, too.
    Flagged,
    /// A stream without such a flag: the next candle or the clock closes one, and its trades must add up to it.
    Unflagged,
    /// No stream: they are built from the trades.
    FromTrades,
}

/// Something that an exchange meters: so much weight in so much time.
#[derive(Debug)]
pub struct Scope {
    /// Its name in the API and in metrics.
    pub name: &'static str,
    /// Weight that fits one window.
    pub limit: u32,
    /// How long a window is.
    pub window: Duration,
    /// The reply header that says how much of the window is used.
    pub used_header: Option<&'static str>,
}

/// A request to a REST interface together with how its reply is read.
pub struct RestCall<T> {
    /// Starts with a slash; no query.
    pub path: String,
    /// Query parameters, not yet percent-encoded.
    pub query: Vec<(&'static str, String)>,
    /// The name of the [`Scope`] that meters it.
    pub scope: &'static str,
    /// What it costs there.
    pub weight: u32,
    /// Reads the reply.
    pub parse: Parse<T>,
}

/// Reads a reply that was received when the exchange's own clock had certainly reached a time. Pure.
pub type Parse<T> = Arc<dyn Fn(&Reply<'_>, Timestamp) -> Result<T, ReplyError> + Send + Sync>;

/// What time it is at an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerTime {
    pub at: Timestamp,
    /// How exactly it is told: it is less than this later than `at`.
    pub resolution: Duration,
}

/// What an exchange answered. The engine has dealt with statuses that are no answer before anyone reads this: [`classify`].
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: &'a [u8],
}

/// Why a reply holds no answer. Some exchanges say so with HTTP 200.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReplyError {
    /// What to do about it.
    pub kind: ReplyErrorKind,
    /// What the exchange said, shortened.
    pub message: String,
    /// How long to stay away, where it says so.
    pub retry_after: Option<Duration>,
}

/// Kinds of [`ReplyError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyErrorKind {
    /// Too many requests of this kind: wait until the window of the limit ends.
    RateLimited,
    /// This address is shut out for a while, for too many requests or by a firewall: ask for nothing, at no origin.
    Banned,
    /// This origin serves no client in this region; another may.
    RegionClosed,
    /// The exchange is busy or in maintenance: ask again later.
    Unavailable,
    /// It does not list the symbol.
    UnknownSymbol,
    /// It refuses the request for another reason; asking again does not help.
    Refused,
    /// The reply is not what its documentation says.
    Malformed,
}

impl ReplyError {
    /// An error of `kind`; long messages are cut.
    #[must_use]
    pub fn new(kind: ReplyErrorKind, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if let Some((cut, _)) = message.char_indices().nth(300) {
            message.truncate(cut);
            message.push('…');
        }
        Self { kind, message, retry_after: None }
    }
}

/// Which candles to ask for.
#[derive(Clone, Debug)]
pub struct CandlePage {
    pub instrument: Arc<Instrument>,
    pub interval: Interval,
    /// Open times asked for; the page fits [`Profile::page_rows`].
    pub range: TimeRange,
    /// When it is asked for: some exchanges give old candles in another place.
    pub asked_at: Timestamp,
}

/// One thing to listen to. Candles are those of one minute; longer ones are derived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub channel: Channel,
    pub instrument: Arc<Instrument>,
}

impl Subscription {
    /// The topic that its events belong to.
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
    /// What to listen to on it.
    pub subscriptions: Vec<Subscription>,
    /// How many further subscriptions of any channel it could take.
    pub spare: usize,
    /// Makes the state machine of a new connection; each reconnection starts with a fresh one.
    pub session: fn(Vec<Subscription>) -> Box<dyn FeedSession>,
}

/// One connection as a state machine: frames in; events and frames out. Calls come one at a time.
///
/// A session subscribes to everything it was made with in [`FeedSession::on_open`], keeps the requests that are not yet
/// acknowledged with their deadlines, and says in the outbox which subscriptions were confirmed or refused. It merges
/// partial frames, so that the events it gives are whole.
pub trait FeedSession: Send {
    /// The connection stands: subscribe.
    fn on_open(&mut self, now: Timestamp, out: &mut Outbox);

    /// Subscribes and unsubscribes on the open connection.
    fn change(&mut self, add: &[Subscription], remove: &[Subscription], now: Timestamp, out: &mut Outbox);

    /// A frame came.
    ///
    /// # Errors
    /// Says what the runner shall do; events of the same frame that were good are in the outbox.
    fn on_frame(&mut self, frame: Frame<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError>;

    /// Called about once a second: heartbeats to send, deadlines that passed.
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

/// What a session gives.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What happened on the market, in order. [`Outbox::event`] adds to it.
    pub events: Events,
    /// Text frames to send, in order, at the exchange's pace.
    pub frames: Vec<String>,
    /// What the runner and the collector should know.
    pub notices: Vec<Notice>,
}

impl Outbox {
    /// Adds an event that was received at `received`. Of a trade that is left out, [`Notice::TradeSkipped`] tells.
    ///
    /// # Errors
    /// The event cannot be true; it is left out.
    pub fn event(&mut self, event: MarketEvent, received: Timestamp) -> Result<(), BadEvent> {
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
    /// Takes all of them.
    pub fn take(&mut self) -> Vec<MarketEvent> {
        std::mem::take(&mut self.0)
    }

    /// Takes those from `at` on.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        Self(self.0.split_off(at))
    }

    /// Drops all of them.
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

/// What a session tells beside events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The exchange acknowledged these; what comes from now on is whole.
    Confirmed(Vec<Subscription>),
    /// The exchange refuses this one; asking again does not help.
    Refused {
        /// Which.
        subscription: Subscription,
        /// In the exchange's words.
        reason: String,
    },
    /// The exchange will cut this connection soon: open the next one now.
    Rotate,
    /// Everything up to this moment of the exchange's clock was told on this connection, by the exchange's own word.
    Reached(Timestamp),
    /// The exchange's heartbeat: its data service is there, though it may have nothing to tell.
    Alive,
    /// A trade of this market, or of one of those that the connection carries, could not be used and was left out.
    TradeSkipped(Option<Symbol>),
}

/// What went wrong in a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FeedError {
    /// What to do.
    pub recovery: Recovery,
    /// What happened, with an excerpt of the frame.
    pub message: String,
}

/// What the runner shall do after a [`FeedError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Leave the frame out and go on.
    SkipFrame,
    /// Connect anew, not before so long.
    Reconnect { after: Duration },
    /// Do not try again.
    GiveUp,
}

impl FeedError {
    /// A frame that means nothing; its beginning is shown.
    #[must_use]
    pub fn malformed(what: impl std::fmt::Display, frame: &str) -> Self {
        let excerpt: String = frame.chars().take(120).collect();
        Self { recovery: Recovery::SkipFrame, message: format!("{what} in `{excerpt}`") }
    }

    /// What the runner shall do.
    #[must_use]
    pub const fn recovery(&self) -> Recovery {
        self.recovery
    }
}
