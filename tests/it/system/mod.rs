//! System tests: the whole service against the simulator, with real sockets, a real store and an accelerated clock.

mod backfills;
mod bad_data;
mod bad_input;
mod candle_closes;
mod clocks;
mod coverage_claims;
mod crashes;
mod demand;
mod documented_clients;
mod end_to_end;
mod error_replies;
mod exchange_state;
mod faults;
mod lifecycle;
mod listing_faults;
mod listings;
mod mass_reconnect;
mod metrics;
mod modes;
mod safety;
mod traces;
