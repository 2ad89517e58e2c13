//! Several replicas with a shared PostgreSQL and a shared Redis.

mod commands;
mod deployment;
mod failover;
mod kills;
mod outages;
mod replica_pair;
mod streams;

/// Ten seconds of the market take one second. Low enough for leases, which Redis expires in real time.
const SPEED: f64 = 10.0;
