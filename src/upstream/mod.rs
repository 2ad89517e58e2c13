//! The one engine that talks to every exchange: REST client, WebSocket runner, budget, backoff, breaker.
//!
//! It owns the sockets, the timers and the patience; what the bytes mean is left to `exchanges`. [`RestClient`] answers
//! [`RestCall`]s within the exchange's limits, and [`Feed::open`] keeps one WebSocket connection alive and tells in
//! [`FeedItem`]s what came over it and what was missed.
//!
//! [`RestCall`]: crate::exchanges::RestCall

mod backoff;
mod error;
mod exchange_clock;
mod meter;
mod offset;
mod rest;
mod tap;
mod websocket;
mod window;

use std::time::Duration;

pub use backoff::Backoff;
pub use error::UpstreamError;
pub use exchange_clock::{CLOCK_JUMP, ExchangeClock};
pub use rest::RestClient;
pub use tap::{Tap, Traffic, What};
pub use websocket::{
    ConnectionHandle, Dial, DialError, DialErrorKind, Dialer, Feed, FeedItem, Io, NoRoom, Socket, socket_config,
};

/// The claim of a call on an exchange's budget. Of those that wait, the first in this order goes first; within one level,
/// the one that came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Live data: connections, and the listing that says what can be subscribed to.
    Live,
    /// Repair of gaps in what is collected.
    Repair,
    /// What clients asked for. It leaves a sixth of each budget to what goes before it.
    Asked,
    /// Backfills, sweeps and checks: no client waits. They leave a third of each budget to what goes before them.
    Background,
}

/// The longest that a refusal of too many requests is believed, whatever a header says; a breaker stays open no longer. Binance bans for three days at most:
/// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits>
const LONGEST_BAN: Duration = Duration::from_hours(72);

/// The same of other trouble, of which a proxy may tell.
const LONGEST_TROUBLE: Duration = Duration::from_mins(10);

/// How candlewick introduces itself to exchanges.
const USER_AGENT: &str = concat!("candlewick/", env!("CARGO_PKG_VERSION"), " (+", env!("CARGO_PKG_REPOSITORY"), ")");

/// Makes `aws_lc_rs` the crypto provider of the process. Call it first in `main` and in tests that open TLS; calling it
/// again does nothing.
pub fn install_crypto() {
    // An error means that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
