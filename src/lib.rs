//! **candlewick**: a self-hosted crypto market-data service.
//!
//! It collects tickers, trades and candles from exchanges in their own protocols, keeps closed
//! candles together with a ledger of what is known, and serves them over REST and WebSocket.
//! `ARCHITECTURE.md` walks through the house; this page is its list of rooms.

pub mod api;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod config;
pub mod exchanges;
pub mod hub;
pub mod lifecycle;
pub mod market;
pub mod model;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod upstream;
