//! Binance spot.
//!
//! Documentation: <https://developers.binance.com/docs/binance-spot-api-docs>.

mod adapter;
mod profile;
mod rest;
mod stream;
mod symbols;
#[cfg(test)]
mod tests;
mod wire;

pub use adapter::Binance;
