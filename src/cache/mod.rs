//! State that replicas share at run time: latest tickers, live candles, exchange states, event bus, leases, demand,
//! requests to collectors, budgets and client limits.
//!
//! Each trait has one contract test suite in `tests/it/contract/cache.rs`, which runs on every backend. No data here
//! needs to be durable: everything is rebuilt from the exchanges and the store.

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

/// The cache backends of one process.
#[derive(Clone)]
pub struct Cache {
    pub tickers: Arc<dyn LatestTickers>,
    pub candles: Arc<dyn LiveCandles>,
    pub states: Arc<dyn ExchangeStates>,
    pub bus: Arc<dyn EventBus>,
    pub leases: Arc<dyn Leases>,
    pub demand: Arc<dyn Demand>,
    pub requests: Arc<dyn RequestBus>,
    pub budgets: Arc<dyn Budgets>,
    pub limits: Arc<dyn ClientLimits>,
}

/// A read or write of the shared state failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache does not answer: {0}")]
pub struct CacheError(pub String);

/// Version of a value in its topic: ordered by lease token, then by sequence number. Never by wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Lease token of the collector that assigned the sequence number.
    pub token: u64,
    /// Sequence number in the topic.
    pub seq: u64,
}

/// A cached ticker: the value, and its JSON without the closing brace, so that an endpoint can append members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedTicker {
    pub ticker: Ticker,
    pub simulated: bool,
    pub version: Version,
    /// `{"exchange":…,"simulated":false` — see [`crate::model::wire::ticker_fields`].
    pub json: Bytes,
}

/// The latest ticker of each market.
#[async_trait]
pub trait LatestTickers: Send + Sync + 'static {
    /// Stores a ticker unless a newer one is already stored. One from REST never replaces one from a stream that is
    /// younger than `stream_ttl`. Returns whether it was stored.
    async fn put(&self, ticker: CachedTicker, stream_ttl: Duration) -> Result<bool, CacheError>;

    /// The latest ticker of a market.
    async fn get(&self, exchange: ExchangeId, symbol: &Symbol) -> Result<Option<CachedTicker>, CacheError>;

    /// Deletes all tickers of an exchange: its data source changed.
    async fn clear(&self, exchange: ExchangeId) -> Result<(), CacheError>;
}

/// Candles that the store does not have yet: the open one, and closed ones that are not written yet.
#[async_trait]
pub trait LiveCandles: Send + Sync + 'static {
    /// Stores a candle unless a newer version is already stored. Per series the newest [`LIVE_CANDLES_PER_SERIES`] are
    /// retained.
    async fn put(&self, series: &Series, candle: Candle, version: Version) -> Result<(), CacheError>;

    /// The cached candles of a series in `range`, ascending.
    async fn get(&self, series: &Series, range: TimeRange) -> Result<Vec<Candle>, CacheError>;

    /// Deletes all candles of an exchange: its data source changed.
    async fn clear(&self, exchange: ExchangeId) -> Result<(), CacheError>;
}

/// Maximum number of candles per series in [`LiveCandles`].
pub const LIVE_CANDLES_PER_SERIES: usize = 16;

/// The states of exchanges that collectors report.
#[async_trait]
pub trait ExchangeStates: Send + Sync + 'static {
    async fn put(&self, state: ExchangeState) -> Result<(), CacheError>;
    async fn get(&self, exchange: ExchangeId) -> Result<Option<Arc<ExchangeState>>, CacheError>;
    async fn all(&self) -> Result<Vec<Arc<ExchangeState>>, CacheError>;

    /// Upper bound of an exchange's current time: the last reported [`ExchangeState::exchange_time`] and the time since
    /// then by the monotonic clock. `None` until a collector has reported it.
    fn exchange_time(&self, exchange: ExchangeId) -> Option<Timestamp>;
}

/// An event for subscribers: numbered and encoded once, shared by all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusEvent {
    /// The epoch that `seq` belongs to. A new collector begins a new one.
    pub epoch: Arc<str>,
    pub seq: u64,
    pub kind: BusEventKind,
}

/// Kinds of [`BusEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusEventKind {
    /// New data: the JSON object of [`crate::model::wire::event_data`].
    Data(Bytes),
    /// Events before this one were missed.
    Gap(GapReason),
}

/// Delivers events from collectors to hubs.
#[async_trait]
pub trait EventBus: Send + Sync + 'static {
    /// Publishes an event to all subscribers of its topic. Never waits for a subscriber.
    async fn publish(&self, topic: &Topic, event: BusEvent) -> Result<(), CacheError>;

    /// Subscribes to a topic from now on.
    async fn subscribe(&self, topic: &Topic) -> Result<Box<dyn BusSubscription>, CacheError>;
}

/// A subscription to a topic.
#[async_trait]
pub trait BusSubscription: Send {
    /// The next event; [`BusEventKind::Gap`] with `SlowClient` if this subscriber was too slow and missed events.
    /// `None` when the bus has ended.
    async fn next(&mut self) -> Option<BusEvent>;
}

/// Leases: which process may collect an exchange.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// Acquires the lease `name` for `ttl` if it is free. Each acquisition has a greater token than the one before.
    async fn acquire(&self, name: &str, ttl: Duration) -> Result<Option<Lease>, CacheError>;

    /// Extends a lease to `ttl` from now. Returns false if it is no longer held.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<bool, CacheError>;

    /// Releases a lease.
    async fn release(&self, lease: &Lease) -> Result<(), CacheError>;
}

/// An acquired lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    /// Fencing token: values with a lower token are stale.
    pub token: u64,
}

/// Markets that clients subscribe to, so that a collector collects them.
#[async_trait]
pub trait Demand: Send + Sync + 'static {
    /// Adds demand for a market until `ttl` from now.
    async fn add(&self, exchange: ExchangeId, symbol: &Symbol, ttl: Duration) -> Result<(), CacheError>;

    /// The markets of an exchange with demand.
    async fn symbols(&self, exchange: ExchangeId) -> Result<Vec<Symbol>, CacheError>;
}

/// Maximum number of markets with demand, per exchange.
pub const MAX_DEMAND_PER_EXCHANGE: usize = 1_000;

/// Usage of the exchanges' rate limits by all processes that share a public IP address. Each process has its own rate
/// limiter in addition.
#[async_trait]
pub trait Budgets: Send + Sync + 'static {
    /// Spends a part of a budget if it is available.
    async fn spend(&self, request: BudgetRequest<'_>) -> Result<BudgetDecision, CacheError>;

    /// Records that the exchange bans this address for `pause`.
    async fn ban(&self, exchange: ExchangeId, scope: &str, pause: Duration) -> Result<(), CacheError>;
}

/// A request to [`Budgets::spend`], with what the requesting process knows of the budget.
#[derive(Clone, Copy, Debug)]
pub struct BudgetRequest<'a> {
    pub exchange: ExchangeId,
    pub scope: &'a str,
    pub weight: u32,
    pub max_per_window: u32,
    pub window: Duration,
    /// Usage in this window that this process knows of: its own, or as reported by the exchange.
    pub used_locally: u32,
    /// Remaining time of a ban that this process knows of.
    pub ban_remaining: Duration,
}

/// Result of [`Budgets::spend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetDecision {
    Granted,
    /// The budget may be available after this duration.
    RetryAfter(Duration),
    /// The exchange bans this address for this duration.
    Banned(Duration),
}

/// Usage of the clients' rate limits across all replicas.
#[async_trait]
pub trait ClientLimits: Send + Sync + 'static {
    /// Whether other replicas may exist.
    fn is_shared(&self) -> bool;

    /// Adds usage of a client at this replica, as the time in which the limit refills. Returns the time until the limit
    /// is full again, with the usage at all replicas; at most `max`.
    async fn record_usage(&self, client: &str, used: Duration, max: Duration) -> Result<Duration, CacheError>;
}

/// Makes an epoch for a collector's sequence numbers: `TOKEN.NONCE`, both hexadecimal. The random nonce distinguishes
/// epochs under the same lease token.
#[must_use]
pub fn new_epoch(token: u64, nonce: u64) -> Arc<str> {
    format!("{token:x}.{:04x}", nonce & 0xffff).into()
}

/// The lease token of an epoch.
#[must_use]
pub fn epoch_token(epoch: &str) -> u64 {
    epoch.split_once('.').and_then(|(token, _)| u64::from_str_radix(token, 16).ok()).unwrap_or_default()
}

/// Request/reply channel between API replicas and the collector of an exchange. Identical requests share one reply.
#[async_trait]
pub trait RequestBus: Send + Sync + 'static {
    /// Sends a request and waits at most `timeout` for the reply. The collector continues after a timeout.
    async fn request(&self, request: CollectorRequest, timeout: Duration) -> Result<CollectorReply, RequestError>;

    /// Receives the requests for an exchange until the returned receiver is dropped.
    async fn serve(&self, exchange: ExchangeId) -> Result<Box<dyn RequestReceiver>, CacheError>;
}

/// Receives requests at a collector.
#[async_trait]
pub trait RequestReceiver: Send {
    /// The next request; `None` when the cache has ended.
    async fn next(&mut self) -> Option<IncomingRequest>;
}

/// A request that waits for its reply.
pub struct IncomingRequest {
    pub request: CollectorRequest,
    /// Trace context of the first requester.
    pub trace: Option<TraceParent>,
    /// Sends the reply to all requesters.
    pub reply: Box<dyn FnOnce(Result<CollectorReply, RequestError>) + Send>,
}

/// A request that only a collector can serve.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CollectorRequest {
    /// Fetch the ticker of a market that is not collected, and put it into [`LatestTickers`].
    Ticker { exchange: ExchangeId, symbol: Symbol },
    /// Make this range of a series known: fetch or derive it, and write it to the store with its coverage claims.
    Candles { series: Series, range: TimeRange },
}

impl CollectorRequest {
    /// The exchange whose collector replies.
    #[must_use]
    pub const fn exchange(&self) -> ExchangeId {
        match self {
            Self::Ticker { exchange, .. } | Self::Candles { series: Series { exchange, .. }, .. } => *exchange,
        }
    }
}

/// A collector's reply.
#[expect(clippy::large_enum_variant, reason = "replies are few, and each is stored once")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectorReply {
    Ticker(CachedTicker),
    /// The range is as complete as possible now; read it from the store.
    Stored,
}

/// Why a request has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No collector serves the exchange.
    #[error("no collector serves this exchange now")]
    Offline,
    /// The reply takes longer than the timeout. The collector continues.
    #[error("the exchange takes longer than the time allowed")]
    Pending,
    /// The exchange's rate limit admits no request before this time.
    #[error("the exchange's rate limit is used up until {0}")]
    RateLimited(Timestamp),
    /// The exchange does not list the symbol.
    #[error("the exchange does not list this symbol")]
    UnknownSymbol,
    /// The request failed, with the reason.
    #[error("{0}")]
    Failed(String),
}
