//! Logs, metrics and traces. An internal event is a struct whose `emit` writes the log line and counts at once, so the names
//! that dashboards and alerts rest on are few files to read: one a room.
//!
//! Metric names are `candlewick_<noun>_<unit>[_total]`. Labels are bounded: exchange, channel, operation; never a symbol.

pub mod cache;
pub mod catalog;
pub mod collect;
pub mod http;
pub mod hub;
pub mod listing;
pub mod logs;
pub mod metrics;
pub mod otlp;
pub mod store;
pub mod trace;
pub mod upstream;
