//! Queries behind every API: ticker, history, instruments, coverage, backfills, exchange states.
//!
//! Results come from the store and the cache. Data that only a collector can fetch are requested through
//! `cache::RequestBus`, in every role and within a time budget. A result says which data are missing.

mod backfill;
mod client_quota;
mod fill;
mod hints;
mod history;
mod listing_cache;
mod query;
mod service;

pub use backfill::{BackfillParams, BackfillQuery};
pub use client_quota::{ClientId, UpstreamCost};
pub use listing_cache::similar_symbols;
pub use query::{
    CandleParams, CandleQuery, CoverageQuery, Direction, Fill, Format, HISTORY_LIMIT, HISTORY_LIMIT_MAX,
    InvalidParameter,
};
pub use service::{MarketService, Stores};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::CachedTicker;
use crate::model::{
    Backfill, Candle, Coverage, CoverageState, ExchangeId, ExchangeState, Instrument, Interval, MarketKind, Series,
    Symbol, TimeRange, Timestamp,
};

/// A market found in the listing of an exchange.
#[derive(Clone, Debug)]
pub struct ListedMarket {
    pub exchange: ExchangeId,
    pub instrument: Arc<Instrument>,
    /// Whether the simulator replaces the exchange.
    pub simulated: bool,
}

impl ListedMarket {
    /// The candles of this market.
    fn series(&self, interval: Interval) -> Series {
        Series { exchange: self.exchange, symbol: self.instrument.symbol.clone(), interval }
    }
}

/// The latest known ticker.
#[derive(Clone, Debug)]
pub struct LatestTicker {
    pub cached: CachedTicker,
    /// Time since candlewick received it.
    pub age: Duration,
    /// Whether it may be outdated: its stream is interrupted, or a newer ticker could not be fetched.
    pub stale: bool,
}

/// A page of candles with the gaps in its range.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    pub exchange: ExchangeId,
    pub symbol: Symbol,
    pub interval: Interval,
    pub simulated: bool,
    /// No closed part of the page's range is unknown or unavailable.
    pub complete: bool,
    /// Ascending.
    pub gaps: Vec<HistoryGap>,
    /// Cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
    /// Ascending.
    pub candles: Vec<Candle>,
    /// Open times of the candles without trades that continue the previous close.
    pub filled: BTreeSet<Timestamp>,
}

/// A range of a history without data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryGap {
    pub range: TimeRange,
    pub reason: HistoryGapReason,
}

/// Reason of a [`HistoryGap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryGapReason {
    /// The range is being fetched; retry later.
    Pending,
    /// The exchange has no data for it.
    Unavailable,
    /// The exchange returns only invalid rows for it.
    Invalid,
    /// The exchange returns only rows that are off the grid of the interval.
    OffGrid,
    /// The range cannot be fetched now.
    Offline,
}

impl HistoryGapReason {
    /// The reason for a coverage state that leaves a gap; `None` for other states.
    #[must_use]
    pub const fn from_state(state: CoverageState) -> Option<Self> {
        match state {
            CoverageState::Unavailable => Some(Self::Unavailable),
            CoverageState::Invalid => Some(Self::Invalid),
            CoverageState::OffGrid => Some(Self::OffGrid),
            CoverageState::Empty | CoverageState::Derived | CoverageState::Observed | CoverageState::Fetched => None,
        }
    }

    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Unavailable => "unavailable",
            Self::Invalid => "invalid",
            Self::OffGrid => "off_grid",
            Self::Offline => "offline",
        }
    }
}

/// Filter and page of instruments. Strings compare case-insensitively.
#[derive(Clone, Debug, Default)]
pub struct InstrumentQuery {
    pub exchange: Option<ExchangeId>,
    pub kind: Option<MarketKind>,
    pub base: Option<String>,
    pub quote: Option<String>,
    /// Substring of the symbol or of the exchange's own id.
    pub q: Option<String>,
    pub limit: usize,
    pub cursor: Option<String>,
}

/// A page of instruments.
#[derive(Clone, Debug)]
pub struct InstrumentPage {
    pub instruments: Vec<Arc<Instrument>>,
    pub next_cursor: Option<String>,
}

/// A page of the coverage ledger.
#[derive(Clone, Debug)]
pub struct CoveragePage {
    pub listed: ListedMarket,
    pub interval: Interval,
    /// No closed part of the page is unknown or unavailable.
    pub complete: bool,
    /// Cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
    pub coverage: Coverage,
}

/// A backfill and its progress.
#[derive(Clone, Debug)]
pub struct BackfillStatus {
    pub backfill: Backfill,
    /// Whether the simulator replaces the exchange.
    pub simulated: bool,
    /// Length of the known part of its range.
    pub known: Duration,
    /// No part of its range is unknown or unavailable.
    pub complete: bool,
}

/// Health of the service.
#[derive(Clone, Debug)]
pub struct Health {
    pub uptime: Duration,
    /// Names of the components that do not work: `store`, `cache`, `binance`.
    pub degraded: Vec<String>,
    pub exchanges: Vec<Arc<ExchangeState>>,
}

/// Error of a query.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MarketError {
    #[error("{}", .0.first().map_or("", |first| first.detail.as_str()))]
    InvalidParameters(Vec<InvalidParameter>),
    /// The exchange is unknown or not enabled; the text names the enabled ones.
    #[error("{0}")]
    UnknownExchange(String),
    /// No exchange lists the symbol; the text names similar symbols.
    #[error("{0}")]
    UnknownSymbol(String),
    /// The exchange does not have the interval; the text names the intervals that it has.
    #[error("{0}")]
    UnsupportedInterval(String),
    /// The requested resource does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Fetching the unknown parts of the range would exceed the client's quota: a backfill is needed.
    #[error("{0}")]
    RangeTooLarge(String),
    /// The client's quota or the number of open backfills is exhausted.
    #[error("{detail}")]
    TooManyRequests { detail: String, retry_after: Duration },
    /// The exchange did not answer.
    #[error("{detail}")]
    UpstreamUnavailable { detail: String, retry_after: Duration },
    /// The exchange's rate limit is exhausted.
    #[error("the exchange's rate limit is used up; try again at {until}")]
    UpstreamRateLimited { until: Timestamp, retry_after: Duration },
    /// The candle store does not answer.
    #[error("{0}")]
    StoreUnavailable(String),
    /// The listing of the exchange has not been read yet.
    #[error("{0}")]
    NotReady(String),
}

impl MarketError {
    /// Whether the error depends on the client's quota, so that another client may get a result.
    #[must_use]
    pub const fn concerns_client(&self) -> bool {
        matches!(self, Self::RangeTooLarge(_) | Self::TooManyRequests { .. })
    }
}
