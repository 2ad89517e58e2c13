//! One integration binary: real sockets, real stores, the simulators with faults.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

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
