//! The vocabulary of market data. Everything else speaks in these words.

mod backfill;
mod candle;
mod coverage;
mod event;
mod exchange;
mod instrument;
mod interval;
mod key;
mod number;
pub mod rows;
mod state;
mod symbol;
mod text;
mod ticker;
mod time;
mod topic;
mod trade;
pub mod wire;

pub use backfill::{Backfill, BackfillState, UnknownBackfillState};
pub use candle::{CLOSING_GRACE, Candle, CandleError, aggregate};
pub use coverage::{Coverage, CoveredRange, Knowledge};
pub use event::{BadEvent, CandleUpdate, Gap, GapReason, MarketEvent};
pub use exchange::{ExchangeId, UnknownExchange};
pub use instrument::{BadStatus, Instrument, InstrumentStatus};
pub use interval::{Interval, UnknownInterval};
pub use key::{ApiKey, KeyDigest, KeyScope, TICKET_LASTS, UnknownKeyScope};
pub use number::{BadNumber, NUMBER_BOUND, Number, parse_decimal};
pub use state::{BudgetState, ClockOffset, ConnectionState, EndedSymbol, ExchangeState, FeedState};
pub use symbol::{BadSymbol, Symbol};
pub use ticker::{Source, Ticker, TickerPatch};
pub use time::{BadTime, TimeRange, Timestamp};
pub use topic::{BadTopic, Channel, Series, Topic};
pub use trade::{Side, Trade};
