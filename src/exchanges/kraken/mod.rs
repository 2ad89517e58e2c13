//! Kraken spot: REST, and WebSocket v2.
//!
//! Documentation: <https://docs.kraken.com/api>.

mod adapter;
mod profile;
mod rest;
mod split;
mod stream;
mod symbols;
#[cfg(test)]
mod tests;
mod wire;

pub use adapter::Adapter;
