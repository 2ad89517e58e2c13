//! **candlewick**: a self-hosted crypto market-data service.
//!
//! It collects tickers, trades and candles from exchanges over their native protocols, stores closed candles together
//! with a coverage ledger, and serves the data over REST and WebSocket. `README.md` describes the operation,
//! `ARCHITECTURE.md` the code. The modules, from the lowest layer up:
//!
//! - **Base**, used by all modules: [`model`] (domain types), [`clock`], [`telemetry`], [`lifecycle`], [`config`].
//! - **Exchange side**: [`exchanges`] (protocol codecs), [`upstream`] (REST client and WebSocket connections),
//!   [`simulator`] (simulated exchanges).
//! - **Data**: [`collect`] (from streams to the cache and the store), [`store`] (persistent data), [`cache`] (runtime
//!   data shared by replicas).
//! - **Client side**: [`hub`] (distribution of events to subscribers), [`market`] (queries shared by all endpoints),
//!   [`api`] (REST and streaming endpoints).
//! - **Top**: [`app`] (wiring), [`cli`] (command line).

// First, because the modules below use its macro.
#[macro_use]
mod venues;

pub mod api;
pub mod app;
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
