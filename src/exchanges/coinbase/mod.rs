//! Coinbase: the public market data of Advanced Trade, without an API key.
//!
//! Documentation: <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/overview>, as of 2026-11.

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
