//! Bybit, version 5, spot.
//!
//! Documentation: <https://bybit-exchange.github.io/docs/v5/intro>, as of 2026-11.

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
