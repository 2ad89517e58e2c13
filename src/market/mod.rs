//! The questions that every door asks: ticker, history, instruments, coverage, states.
//!
//! Answers come from the store and the cache of this replica. What only a collector can do is asked for through the
//! cache's `Requests`, the same way in every role, within a time budget. An answer says what it knows.

mod backfill;
mod directory;
mod fill;
mod hints;
mod history;
mod query;
mod service;
mod share;

pub use backfill::{BackfillFields, BackfillQuery};
pub use directory::near;
pub use query::{
    CandleFields, CandleQuery, Direction, Fill, Format, HISTORY_LIMIT, HISTORY_LIMIT_MAX, InvalidParameter, LedgerQuery,
};
pub use service::{Market, Stores};
pub use share::{ClientId, UpstreamCost};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::KeptTicker;
use crate::model::{
    Backfill, Candle, Coverage, ExchangeId, ExchangeState, Instrument, Interval, Knowledge, Symbol, TimeRange,
    Timestamp,
};

/// A market that was found in a listing.
#[derive(Clone, Debug)]
pub struct Listed {
    pub exchange: ExchangeId,
    pub instrument: Arc<Instrument>,
    /// Whether the simulator stands in for the exchange.
    pub simulated: bool,
}

/// The latest ticker.
#[derive(Clone, Debug)]
pub struct TickerAnswer {
    pub kept: KeptTicker,
    /// How long ago candlewick received it.
    pub age: Duration,
    /// Whether it is older than it should be: its stream is silent or broken.
    pub stale: bool,
}

/// A page of candles and what is known of its range.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    pub exchange: ExchangeId,
    pub symbol: Symbol,
    pub interval: Interval,
    pub simulated: bool,
    /// No closed time of the page's range is unknown or unavailable.
    pub complete: bool,
    /// What is missing, ascending.
    pub gaps: Vec<HistoryGap>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
    /// Ascending.
    pub candles: Vec<Candle>,
    /// The open times of those candles that nobody traded: they continue the close before them.
    pub filled: BTreeSet<Timestamp>,
}

/// A hole in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryGap {
    pub range: TimeRange,
    pub reason: HoleReason,
}

/// Why a range of a history is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoleReason {
    /// It is being fetched; ask again.
    Pending,
    /// The exchange cannot give it.
    Unavailable,
    /// The exchange gives only rows that cannot be right.
    Invalid,
    /// The exchange gives only rows that are off the grid of the interval.
    OffGrid,
    /// Nobody can fetch it now.
    Offline,
}

impl HoleReason {
    /// Why a time of this state has no candle, if it is lost.
    #[must_use]
    pub const fn of(state: Knowledge) -> Option<Self> {
        match state {
            Knowledge::Unavailable => Some(Self::Unavailable),
            Knowledge::Invalid => Some(Self::Invalid),
            Knowledge::OffGrid => Some(Self::OffGrid),
            Knowledge::Empty | Knowledge::Derived | Knowledge::Observed | Knowledge::Fetched => None,
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

/// Which instruments to list. Texts compare without case.
#[derive(Clone, Debug, Default)]
pub struct InstrumentQuery {
    pub exchange: Option<ExchangeId>,
    pub base: Option<String>,
    pub quote: Option<String>,
    /// Part of the symbol or of the exchange's own id.
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

/// A page of the ledger.
#[derive(Clone, Debug)]
pub struct CoverageAnswer {
    pub listed: Listed,
    pub interval: Interval,
    /// No closed time of the page is unknown or unavailable.
    pub complete: bool,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
    pub coverage: Coverage,
}

/// A backfill and how far it is.
#[derive(Clone, Debug)]
pub struct BackfillAnswer {
    pub backfill: Backfill,
    /// Whether the simulator stands in for the exchange.
    pub simulated: bool,
    /// How much of its range is known.
    pub known: Duration,
    /// No time of its range is unknown or unavailable.
    pub complete: bool,
}

/// How the whole is doing.
#[derive(Clone, Debug)]
pub struct Health {
    pub uptime: Duration,
    /// What does not work as it should, a word each: `store`, `cache`, `binance`.
    pub degraded: Vec<String>,
    pub exchanges: Vec<Arc<ExchangeState>>,
}

/// Why a question has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MarketError {
    #[error("{}", .0.first().map_or("", |first| first.detail.as_str()))]
    InvalidParameters(Vec<InvalidParameter>),
    /// The exchange is not known, or not enabled here; the text says which are.
    #[error("{0}")]
    UnknownExchange(String),
    /// Nobody lists the symbol; the text names near ones.
    #[error("{0}")]
    UnknownSymbol(String),
    /// The interval cannot be had there; the text says which can.
    #[error("{0}")]
    UnsupportedInterval(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// What is not known of the range would cost more of the exchange's limits than one client may cause: a backfill is needed.
    #[error("{0}")]
    RangeTooLarge(String),
    /// Too much of this was asked for already.
    #[error("{detail}")]
    TooMany { detail: String, retry_after: Duration },
    /// The exchange did not answer.
    #[error("{detail}")]
    UpstreamUnavailable { detail: String, retry_after: Duration },
    /// The exchange's rate limit holds us back.
    #[error("the exchange's rate limit is used up; try again at {until}")]
    UpstreamRateLimited { until: Timestamp, retry_after: Duration },
    /// The candle store does not answer.
    #[error("{0}")]
    StoreUnavailable(String),
    /// The listing of the exchange has not been read yet.
    #[error("{0}")]
    NotReady(String),
}
