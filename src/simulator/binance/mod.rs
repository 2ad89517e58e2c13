//! Binance's spot protocol.
//! <https://developers.binance.com/docs/binance-spot-api-docs>

mod catalog;
mod format;
mod rest;
mod simulated;
mod stream;

pub use simulated::Simulated;
