//! Coinbase's protocol: the public market data of Advanced Trade.
//! <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/overview>

mod catalog;
mod format;
mod rest;
mod simulated;
mod stream;

pub use simulated::Simulated;
