//! Kraken's spot protocol: REST and WebSocket version 2.
//! <https://docs.kraken.com/api/>

mod catalog;
mod format;
mod rest;
mod simulated;
mod stream;

pub use simulated::Simulated;
