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

pub use backoff::Backoff;
pub use error::UpstreamError;
pub use exchange_clock::{CLOCK_JUMP, ExchangeClock};
pub use rest::RestClient;
pub use tap::{Tap, Traffic, What};
pub use websocket::{
    ConnectionHandle, Dial, DialError, DialErrorKind, Dialer, Feed, FeedItem, Io, NoRoom, Socket, socket_config,
};

/// Who has the first claim on an exchange's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Urgency {
    /// Someone waits: live data, their repair, the questions of the doors.
    Live,
    /// Nobody waits: backfills, sweeps and checks. They leave a third of each budget alone, and go behind all that is live.
    Background,
}

/// How candlewick introduces itself to exchanges.
const USER_AGENT: &str = concat!("candlewick/", env!("CARGO_PKG_VERSION"), " (+", env!("CARGO_PKG_REPOSITORY"), ")");

/// Makes `aws_lc_rs` the crypto provider of the process. Call it first in `main` and in tests that open TLS; calling it
/// again does nothing.
pub fn install_crypto() {
    // An error means that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
