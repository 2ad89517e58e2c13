//! The engine against an exchange of its own: REST over loopback, WebSocket over memory.

mod dial;
#[expect(clippy::unwrap_used, reason = "a test's other end may panic")]
mod fake;
mod feed;
mod life;
#[expect(clippy::unwrap_used, reason = "a test's own client and server must stand")]
mod refusals;
#[expect(clippy::unwrap_used, reason = "a test's own client and server must stand")]
mod rest;
mod rotation;
