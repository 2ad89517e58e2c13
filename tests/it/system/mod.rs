//! The whole service against the simulator: real sockets, real store, a minute in a second.

mod bad_input;
mod clocks;
mod closes;
mod complete;
mod crashes;
mod faults;
mod lifecycle;
mod listings;
mod metrics;
mod modes;
mod numbers;
mod odd_listings;
mod proof;
mod refusals;
mod safety;
mod state;
mod storms;
mod stream_clients;
mod streams;
mod traces;
mod whole;
