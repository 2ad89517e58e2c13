//! The shapes of all bodies, for the document. Those that are asked for rarely are encoded from here, too; the others
//! have encoders of their own, and a test compares both ways that they do not drift apart.
//!
//! Every member is always there; one that may be `null` is an `Option`. Only a problem leaves
//! members out, and a candle that somebody traded.

mod backfill;
mod market;
mod service;

pub use backfill::{Backfill, Backfills, NewBackfill};
pub use market::{Coverage, Exchange, Exchanges, History, Instruments, Ticker, Tickers};
pub use service::{Health, Live, Problem, Ready, Ticket};
