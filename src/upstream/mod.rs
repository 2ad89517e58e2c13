//! Talks to every exchange: REST client, WebSocket runner, rate limiter, backoff, circuit breaker.
//!
//! It owns sockets, timers and retries; `exchanges` decodes the payloads. [`RestClient`] runs [`RestCall`]s within the
//! exchange's rate limits. [`Feed::open`] keeps one WebSocket connection open and reports as [`FeedItem`]s what it
//! receives and what it missed.
//!
//! [`RestCall`]: crate::exchanges::RestCall

mod backoff;
mod error;
mod exchange_clock;
mod offset;
mod rate_limiter;
mod rest;
mod tap;
mod websocket;
mod window;

use std::time::Duration;

pub use backoff::Backoff;
pub use error::UpstreamError;
pub use exchange_clock::ExchangeClock;
pub use rest::RestClient;
pub use tap::{Tap, TrafficEvent, TrafficKind};
pub use websocket::{
    ConnectionFull, ConnectionHandle, Dial, DialError, DialErrorKind, Dialer, Feed, FeedItem, Io, Socket, socket_config,
};

/// Priority of a call that waits for an exchange's budget, highest first. Calls of equal priority go in order of
/// arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Live data: connections, and the listing that says which markets can be subscribed to.
    Live,
    /// Repair of gaps in collected series.
    Repair,
    /// Requests of clients. They leave a sixth of each budget to higher priorities.
    ClientRequest,
    /// Backfills, reconciliation and rechecks: no client waits. They leave a third of each budget to higher priorities.
    Background,
}

/// Upper bound for a rate-limit pause, whatever a header says; a breaker stays open no longer than this. Binance bans
/// for three days at most: <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits>
const MAX_BAN: Duration = Duration::from_hours(72);

/// Upper bound for a `Retry-After` of any other error; a proxy may have set it.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(10);

/// The `User-Agent` that exchanges see.
const USER_AGENT: &str = concat!("candlewick/", env!("CARGO_PKG_VERSION"), " (+", env!("CARGO_PKG_REPOSITORY"), ")");

/// Makes `aws_lc_rs` the crypto provider of the process. Call it first in `main` and in tests that use TLS; further
/// calls do nothing.
pub fn install_crypto() {
    // An error means that a provider is already installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
