//! From an exchange's stream to the cache and the store.
//!
//! [`supervise`] collects one exchange: it chooses the source (`source`) and keeps a collector running (`collector`).
//! Everything that the streams say passes through its loop (`live`). Candles are judged by `closing`, written by `writer`
//! and made longer by `aftermath` and `derive`; what is missing is asked for by `repair`, which shares the way of
//! `fill` with the questions of the doors (`answers`). What nobody asks for is found by
//! `sweep`; `backfill` works off what was asked for in large. `publisher` numbers and encodes what subscribers get.

mod aftermath;
mod answers;
mod backfill;
mod claims;
mod closing;
mod collector;
mod connections;
mod derive;
mod errand;
mod exchange_time;
mod fetch;
mod fill;
mod inquiry;
mod lease;
mod listing;
mod live;
mod publisher;
mod repair;
#[cfg(test)]
mod replay;
mod retention;
mod source;
mod state;
mod suspects;
mod sweep;
mod tasks;
mod writer;

pub use collector::CollectError;
pub use errand::{Errand, Verified};
pub use fill::FillError;
pub use retention::retain;
pub use source::{Assignment, Shared, Source, supervise};
