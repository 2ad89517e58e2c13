//! Logs, metrics and traces. Each telemetry event is a struct whose `emit` writes the log line and updates the metrics.
//! There is one file per module, so that all names used by dashboards and alerts are defined in few places.
//!
//! Metric names are `candlewick_<noun>_<unit>[_total]`. Labels have a bounded number of values: exchange, channel,
//! operation; never a symbol.

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
