//! Exchange adapters: data and pure functions. No sockets, no clocks, no locks.
//!
//! An exchange is a folder here and a line of the table in `venues.rs`. An adapter has two parts: a [`RestCall`] is a
//! request and the pure function that parses its response; a `StreamCodec` is the dialect of its
//! WebSocket, which `session` runs as a state machine ([`FeedSession`]). The engine in `upstream` does all network I/O, in
//! the same way for every exchange.

mod adapter;
mod candle_rows;
mod codec;
mod errors;
mod feed;
mod listing;
mod markets;
mod prelude;
mod profile;
mod registry;
mod response;
mod rest;
mod session;
#[cfg(test)]
mod testing;

macro_rules! folders {
    ($($constant:ident $id:ident $name:literal;)*) => { $(mod $id;)* };
}

venues!(folders);

pub use adapter::Exchange;
pub use candle_rows::{CandleRows, SkippedRow};
pub use errors::is_region_block;
pub use feed::{
    ConnectionPlan, Encoding, Events, FeedError, FeedSession, Frame, Notice, Outbox, Recovery, SessionFactory,
    SocketAddress, Subscription,
};
pub use listing::{Listing, ListingIssue};
pub use profile::{MinuteCandles, PageCost, Profile, RateLimit};
pub use registry::{NoAdapter, exchange};
pub use response::{RestError, RestErrorKind, RestResponse};
pub use rest::{ApiErrorParser, CandlePage, MarketResponse, Method, Parse, RestCall, ServerTime};
