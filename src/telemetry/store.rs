//! Telemetry of the candle store.

use std::time::Duration;

use metrics::{counter, histogram};

/// A call of the store succeeded or failed.
pub struct StoreCallFinished {
    pub operation: &'static str,
    pub ok: bool,
    pub took: Duration,
}

impl StoreCallFinished {
    pub fn emit(&self) {
        histogram!("candlewick_store_seconds", "operation" => self.operation).record(self.took);
        if !self.ok {
            counter!("candlewick_store_errors_total", "operation" => self.operation).increment(1);
        }
    }
}

/// PostgreSQL is read-only: it became a standby, or was set to read-only.
pub struct StoreReadOnly<'a> {
    pub server: &'a str,
}

impl StoreReadOnly<'_> {
    pub fn emit(&self) {
        tracing::warn!(server = self.server, "reconnecting to PostgreSQL because it is read-only");
    }
}

/// PostgreSQL is writable again.
pub struct StoreWritable<'a> {
    pub server: &'a str,
}

impl StoreWritable<'_> {
    pub fn emit(&self) {
        tracing::info!(server = self.server, "connected to a writable PostgreSQL server");
    }
}

/// An in-memory store was full: its oldest candles were deleted and their ranges are unknown again.
pub struct OldestEvicted {
    pub candles: u64,
    pub limit: u64,
}

impl OldestEvicted {
    pub fn emit(&self) {
        tracing::info!(candles = self.candles, limit = self.limit, "oldest simulated candles deleted");
    }
}
