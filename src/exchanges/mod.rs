//! Exchange adapters: data and pure functions. No sockets, no clocks, no locks.
//!
//! An exchange is a folder here, a variant of [`ExchangeId`](crate::model::ExchangeId) and an arm of [`exchange`]. An
//! adapter has two parts: a [`RestCall`] is a request and the pure function that parses its response; a
//! [`StreamCodec`](session::StreamCodec) is the dialect of its WebSocket, which `session` runs as a state machine
//! ([`FeedSession`]). The engine in `upstream` does all network I/O, in
//! the same way for every exchange.

mod adapter;
pub mod binance;
pub mod bybit;
mod candle_rows;
mod codec;
pub mod coinbase;
mod errors;
mod feed;
pub mod kraken;
mod listing;
mod markets;
pub mod okx;
mod prelude;
mod profile;
mod registry;
mod rest;
mod session;
#[cfg(test)]
mod testing;

pub use adapter::Exchange;
pub use candle_rows::{CandleRows, SkippedRow};
pub use errors::{classify_response, is_region_block};
pub use feed::{
    ConnectionPlan, Encoding, Events, FeedError, FeedSession, Frame, Notice, Outbox, Recovery, SocketAddress,
    Subscription,
};
pub use listing::{Listing, ListingIssue};
pub use profile::{MinuteCandles, PageCost, Profile, RateLimit};
pub use registry::exchange;
pub use rest::{
    ApiErrorParser, CandlePage, Method, Parse, RestCall, RestError, RestErrorKind, RestResponse, ServerTime,
};
