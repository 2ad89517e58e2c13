//! Binance spot.
//!
//! Documentation: <https://developers.binance.com/docs/binance-spot-api-docs>.

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
