//! Domain types of market data, used by all other modules.

mod backfill;
mod candle;
mod coverage;
mod event;
mod exchange;
mod instrument;
mod interval;
mod key;
mod market_kind;
mod number;
pub mod rows;
mod serde_str;
mod state;
mod symbol;
mod ticker;
mod time;
mod topic;
mod trade;
pub mod wire;

pub use backfill::{Backfill, BackfillState, UnknownBackfillState};
pub use candle::{CANDLE_GRACE_PERIOD, Candle, CandleError, aggregate};
pub use coverage::{Coverage, CoverageState, CoveredRange};
pub use event::{BadEvent, CandleUpdate, Gap, GapReason, MarketEvent};
pub use exchange::{ExchangeId, UnknownExchange};
pub use instrument::{BadStatus, Contract, Instrument, InstrumentStatus};
pub use interval::{Interval, UnknownInterval};
pub use key::{ApiKey, KeyDigest, KeyScope, TICKET_TTL, UnknownKeyScope};
pub use market_kind::{MarketKind, UnknownMarketKind};
pub use number::{BadNumber, NUMBER_BOUND, Number, parse_decimal};
pub use state::{BudgetState, ClockOffset, ConnectionState, EndedSymbol, ExchangeState, FeedState};
pub use symbol::{BadSymbol, Symbol};
pub use ticker::{Source, Ticker, TickerPatch};
pub use time::{BadTime, TimeRange, Timestamp};
pub use topic::{BadTopic, Channel, Series, Topic};
pub use trade::{Side, Trade};
