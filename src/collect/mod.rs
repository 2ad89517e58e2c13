//! Collects market data: receives it from the exchanges' streams, publishes it, stores it and repairs its gaps.
//!
//! [`supervise`] collects one exchange: it chooses the data source (`source`) and runs a collector (`collector`).
//!
//! - Streams: `connections` holds the WebSocket connections, `live` is the loop that processes their events,
//!   `finalizer` decides when a candle is closed and whether it is complete, `publisher` publishes events.
//! - Storage: `writer` writes candles and coverage claims, `rollup` and `derive` make longer candles from shorter ones,
//!   `retention` deletes old ones.
//! - Gaps: `fill` makes a range known, by deriving it or by fetching it (`fetch`). `page_fetch` decides which pages to
//!   request, `claims` evaluates each page, `suspect_ranges` remembers pages that prove nothing alone.
//! - What is filled: gaps of the stream (`repair`), stored history (`reconcile`), backfills (`backfill`), requests of
//!   clients (`requests`) and of the command line (`one_shot`).

mod backfill;
mod background;
mod claims;
mod collector;
mod connections;
mod context;
mod derive;
mod error;
mod exchange_time;
mod fetch;
mod fill;
mod finalizer;
mod lease;
mod listing;
mod live;
mod one_shot;
mod page_fetch;
mod publisher;
mod reconcile;
mod repair;
#[cfg(test)]
mod replay;
mod requests;
mod retention;
mod rollup;
mod source;
mod status;
mod suspect_ranges;
mod tasks;
mod writer;

pub use context::{CollectorContext, DataSource};
pub use error::CollectError;
pub use fill::FillError;
pub use one_shot::{OneShotFetcher, VerifyReport};
pub use retention::delete_old_candles;
pub use source::{Assignment, supervise};
