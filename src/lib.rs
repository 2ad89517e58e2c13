//! **candlewick**: a self-hosted crypto market-data service.
//!
//! It collects tickers, trades and candles from exchanges in their own protocols, keeps closed candles together with a
//! ledger of what is known, and serves them over REST and WebSocket. `README.md` says how to run it; `ARCHITECTURE.md`
//! walks through the code. This page is the list of rooms, from the ground up:
//!
//! - **The ground**, on which everybody may stand: [`model`] (the vocabulary), [`clock`], [`telemetry`], [`lifecycle`],
//!   [`config`].
//! - **Towards the exchanges**: [`exchanges`] (what their bytes mean), [`upstream`] (the engine that talks to them),
//!   [`simulator`] (who stands in for them).
//! - **In the middle**: [`collect`] (from streams to the cache and the store), [`store`] (what must last), [`cache`] (what is
//!   shared while it runs).
//! - **Towards those who ask**: [`hub`] (one event in, many subscribers out), [`market`] (the questions that every door
//!   asks), [`api`] (the doors).
//! - **Above all**: [`app`] (puts it together), [`cli`] (the command line).

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
