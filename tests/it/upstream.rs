//! The engine against an exchange of its own: REST over loopback, WebSocket over memory.

mod fake;
mod feed;
mod rest;
mod rotation;
