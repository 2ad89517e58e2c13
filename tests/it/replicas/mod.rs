//! Several processes on one PostgreSQL and one Redis.

mod both;
mod commands;
mod failover;
mod kills;
mod outages;
mod shared;
mod streams;

/// Ten seconds of the market in one of the test: slow enough for leases, whose end Redis counts.
const SPEED: f64 = 10.0;
