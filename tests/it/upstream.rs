//! The upstream engine against a fake exchange: REST over loopback, WebSocket over memory.

#[expect(clippy::unwrap_used, reason = "the fake exchange may panic in tests")]
mod assigned;
mod dial;
#[expect(clippy::unwrap_used, reason = "tests may panic on their own server's errors")]
mod error_replies;
#[expect(clippy::unwrap_used, reason = "the fake exchange may panic in tests")]
mod fake;
mod feed;
mod liveness;
#[expect(clippy::unwrap_used, reason = "tests may panic on their own server's errors")]
mod rest;
mod rotation;
