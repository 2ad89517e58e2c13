//! The schemas of all bodies, for the document. Bodies that are requested rarely are encoded from these types. The
//! others have encoders of their own; a test checks that they match their schemas.
//!
//! Every member is always present; one that may be `null` is an `Option`. Exceptions: `errors` of a problem and
//! `filled` of a candle are omitted if they have no value.

mod backfill;
mod market;
mod service;

pub use backfill::{Backfill, Backfills, NewBackfill};
pub use market::{Coverage, Exchange, Exchanges, History, Instruments, Ticker, Tickers};
pub use service::{Health, Live, Ready, Ticket};
