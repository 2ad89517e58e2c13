//! Bybit's spot protocol, API version 5.
//! <https://bybit-exchange.github.io/docs/v5/intro>

mod catalog;
mod format;
mod rest;
mod simulated;
mod stream;

pub use simulated::Simulated;
