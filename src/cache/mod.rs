//! What replicas share while they run: latest tickers, open candles, states, the event bus, leases, demand, requests and limits.
//!
//! Each trait has one contract suite in `tests/it/contract/cache.rs`, run on every backend. Nothing here must last:
//! all of it is rebuilt from the exchanges and the store.

mod memory;
mod redis;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::{Candle, ExchangeId, ExchangeState, GapReason, Series, Symbol, Ticker, TimeRange, Timestamp, Topic};
use crate::telemetry::trace::TraceParent;

pub use memory::memory;
pub use redis::{RedisConfig, redis};

/// The backends of one process, each behind its seam.
#[derive(Clone)]
pub struct Cache {
    pub tickers: Arc<dyn LatestTickers>,
    pub candles: Arc<dyn LiveCandles>,
    pub states: Arc<dyn ExchangeStates>,
    pub bus: Arc<dyn EventBus>,
    pub leases: Arc<dyn Leases>,
    pub demand: Arc<dyn Demand>,
    pub requests: Arc<dyn Requests>,
    pub budgets: Arc<dyn Budgets>,
    pub limits: Arc<dyn ClientLimits>,
}

/// Why a shared state was not read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache does not answer: {0}")]
pub struct CacheError(pub String);

/// Where a value stands in the order of its topic: newer by lease token first, then by number. Never by wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The lease of the collector that numbered it.
    pub token: u64,
    /// Its number in the topic.
    pub seq: u64,
}

/// A ticker as it is kept: the value, and its JSON without the closing brace, so that a door can append members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptTicker {
    pub ticker: Ticker,
    pub simulated: bool,
    pub position: Position,
    /// `{"exchange":…,"simulated":false` — see [`crate::model::wire::ticker_fields`].
    pub json: Bytes,
}

/// The latest ticker of each market.
#[async_trait]
pub trait LatestTickers: Send + Sync + 'static {
    /// Keeps a ticker unless a newer one is there. One from REST never replaces one of a live stream that is younger
    /// than `stream_holds`. Says whether it was kept.
    async fn put(&self, ticker: KeptTicker, stream_holds: Duration) -> Result<bool, CacheError>;

    /// The latest ticker of a market.
    async fn get(&self, exchange: ExchangeId, symbol: &Symbol) -> Result<Option<KeptTicker>, CacheError>;

    /// Forgets all of an exchange: its source changed.
    async fn clear(&self, exchange: ExchangeId) -> Result<(), CacheError>;
}

/// Candles that the store does not have yet: the one that is open, and closed ones on their way to it.
#[async_trait]
pub trait LiveCandles: Send + Sync + 'static {
    /// Puts a new state of a candle beside the others of its series. Of a series the newest [`LIVE_CANDLES`] are kept.
    async fn put(&self, series: &Series, candle: Candle, position: Position) -> Result<(), CacheError>;

    /// The kept candles of a series in `range`, ascending.
    async fn get(&self, series: &Series, range: TimeRange) -> Result<Vec<Candle>, CacheError>;

    /// Forgets all of an exchange: its source changed.
    async fn clear(&self, exchange: ExchangeId) -> Result<(), CacheError>;
}

/// How many candles of a series [`LiveCandles`] keeps.
pub const LIVE_CANDLES: usize = 16;

/// What collectors tell about exchanges.
#[async_trait]
pub trait ExchangeStates: Send + Sync + 'static {
    async fn put(&self, state: ExchangeState) -> Result<(), CacheError>;
    async fn get(&self, exchange: ExchangeId) -> Result<Option<Arc<ExchangeState>>, CacheError>;
    async fn all(&self) -> Result<Vec<Arc<ExchangeState>>, CacheError>;
}

/// An event on its way to subscribers: numbered and encoded once, shared by all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusEvent {
    /// Which run of numbers `seq` belongs to. A new collector begins a new one.
    pub epoch: Arc<str>,
    pub seq: u64,
    pub kind: BusEventKind,
}

/// What a [`BusEvent`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusEventKind {
    /// New data: the encoded object of [`crate::model::wire::event_data`].
    Data(Bytes),
    /// Events before this one were missed.
    Gap(GapReason),
}

/// Carries events from collectors to hubs.
#[async_trait]
pub trait EventBus: Send + Sync + 'static {
    /// Sends an event to whoever listens to its topic. Never waits for a listener.
    async fn publish(&self, topic: &Topic, event: BusEvent) -> Result<(), CacheError>;

    /// Listens to a topic from now on.
    async fn subscribe(&self, topic: &Topic) -> Result<Box<dyn BusListener>, CacheError>;
}

/// One listener of a topic.
#[async_trait]
pub trait BusListener: Send {
    /// The next event; [`BusEventKind::Gap`] with `SlowClient` where this listener was too slow for some. `None` when
    /// the bus is gone.
    async fn next(&mut self) -> Option<BusEvent>;
}

/// Who may collect an exchange.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// Takes the lease of `name` for `ttl` if nobody holds it. The token grows with every taking.
    async fn acquire(&self, name: &str, ttl: Duration) -> Result<Option<Lease>, CacheError>;

    /// Holds a lease for another `ttl`; says whether it was still ours.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<bool, CacheError>;

    /// Gives a lease back.
    async fn release(&self, lease: &Lease) -> Result<(), CacheError>;
}

/// A lease that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    /// Fences: what was numbered under a lower token is old.
    pub token: u64,
}

/// Which markets someone listens to now, so that a collector collects them.
#[async_trait]
pub trait Demand: Send + Sync + 'static {
    /// Wants a market until `ttl` from now.
    async fn want(&self, exchange: ExchangeId, symbol: &Symbol, ttl: Duration) -> Result<(), CacheError>;

    /// The wanted markets of an exchange.
    async fn wanted(&self, exchange: ExchangeId) -> Result<Vec<Symbol>, CacheError>;
}

/// The most markets of an exchange that may be wanted at a time.
pub const MOST_WANTED: usize = 1_000;

/// What all who share an address on the internet use of the exchanges' limits. Each process meters itself; this tells it
/// of the others.
#[async_trait]
pub trait Budgets: Send + Sync + 'static {
    /// Spends some of a limit if there is room.
    async fn spend(&self, spend: Spend<'_>) -> Result<Spent, CacheError>;

    /// The exchange said to stay away for so long.
    async fn ban(&self, exchange: ExchangeId, scope: &str, pause: Duration) -> Result<(), CacheError>;
}

/// What is to be spent of a limit, and what the asking process knows of it.
#[derive(Clone, Copy, Debug)]
pub struct Spend<'a> {
    pub exchange: ExchangeId,
    pub scope: &'a str,
    pub weight: u32,
    /// The most that may be spent in a window.
    pub most: u32,
    pub window: Duration,
    /// What it used itself in this window, or was told by the exchange that is used.
    pub used: u32,
    /// How long the exchange holds it back.
    pub banned: Duration,
}

/// Whether it was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    Now,
    /// There may be room in so long.
    Later(Duration),
    /// The exchange holds all of us back for so long.
    Banned(Duration),
}

/// What clients used of their limits at all replicas.
#[async_trait]
pub trait ClientLimits: Send + Sync + 'static {
    /// Whether there may be other replicas.
    fn is_shared(&self) -> bool;

    /// A client used some of its limit here, given as the time until so much is free again. Gives the time until all is
    /// free, with what it used elsewhere; at most `most`.
    async fn used(&self, client: &str, used: Duration, most: Duration) -> Result<Duration, CacheError>;
}

/// The epoch of a collector's numbers: its lease's token, and something that no other run has.
#[must_use]
pub fn epoch(token: u64, chance: u64) -> Arc<str> {
    format!("{token:x}.{:04x}", chance & 0xffff).into()
}

/// The lease token of an epoch.
#[must_use]
pub fn token_of(epoch: &str) -> u64 {
    epoch.split_once('.').and_then(|(token, _)| u64::from_str_radix(token, 16).ok()).unwrap_or_default()
}

/// Asks the collector of an exchange for what only it can do. Identical questions share one answer.
#[async_trait]
pub trait Requests: Send + Sync + 'static {
    /// Asks, and waits for the answer at most `budget`. The collector goes on after that.
    async fn ask(&self, question: Question, budget: Duration) -> Result<Answer, RequestError>;

    /// Receives questions about an exchange, until the returned stream is dropped.
    async fn serve(&self, exchange: ExchangeId) -> Result<Box<dyn Questions>, CacheError>;
}

/// Questions that arrive at a collector.
#[async_trait]
pub trait Questions: Send {
    /// The next one; `None` when the cache is gone.
    async fn next(&mut self) -> Option<Asked>;
}

/// A question that waits for an answer.
pub struct Asked {
    pub question: Question,
    /// Where the first who asked was in its trace.
    pub trace: Option<TraceParent>,
    /// Takes the answer to all who asked.
    pub answer: Box<dyn FnOnce(Result<Answer, RequestError>) + Send>,
}

/// What only a collector can do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// The ticker of a market that nobody collects. It is put into [`LatestTickers`].
    Ticker { exchange: ExchangeId, symbol: Symbol },
    /// Make this range of a series known: fetch or derive it, and write it to the store with its claims.
    Candles { series: Series, range: TimeRange },
}

impl Question {
    /// Whose collector answers.
    #[must_use]
    pub const fn exchange(&self) -> ExchangeId {
        match self {
            Self::Ticker { exchange, .. } | Self::Candles { series: Series { exchange, .. }, .. } => *exchange,
        }
    }
}

/// A collector's answer.
#[expect(clippy::large_enum_variant, reason = "answers are few, and each is held once")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The ticker.
    Ticker(KeptTicker),
    /// The range is as known as it can be now; look into the store.
    Stored,
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No collector serves the exchange.
    #[error("no collector serves this exchange now")]
    Offline,
    /// It takes longer than the budget; it goes on.
    #[error("the exchange takes longer than the time allowed")]
    Pending,
    /// The exchange holds us back until then.
    #[error("the exchange's rate limit is used up until {0}")]
    RateLimited(Timestamp),
    /// The exchange does not list it.
    #[error("the exchange does not list it")]
    UnknownSymbol,
    /// It failed.
    #[error("{0}")]
    Failed(String),
}
