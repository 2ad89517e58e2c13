//! Integration tests in one binary: real sockets, real stores, and simulated exchanges with faults.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod api;
mod architecture;
mod backfill;
mod contract;
mod decode;
mod doctor;
mod exchanges;
mod export;
mod mutated;
mod record;
mod recordings;
mod replicas;
mod simulator;
mod support;
mod system;
mod upstream;
