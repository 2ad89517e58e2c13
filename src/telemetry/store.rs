//! What the candle store tells.

use std::time::Duration;

use metrics::{counter, histogram};

/// The store did something, or could not.
pub struct StoreAnswered {
    pub operation: &'static str,
    pub well: bool,
    pub took: Duration,
}

impl StoreAnswered {
    pub fn emit(&self) {
        histogram!("candlewick_store_seconds", "operation" => self.operation).record(self.took);
        if !self.well {
            counter!("candlewick_store_errors_total", "operation" => self.operation).increment(1);
        }
    }
}

/// PostgreSQL answers read-only: it is a standby now, or was made read-only.
pub struct StoreReadOnly<'a> {
    pub place: &'a str,
}

impl StoreReadOnly<'_> {
    pub fn emit(&self) {
        tracing::warn!(place = self.place, "PostgreSQL is read-only: its connections are closed and made anew");
    }
}

/// PostgreSQL takes writes again.
pub struct StoreWritable<'a> {
    pub place: &'a str,
}

impl StoreWritable<'_> {
    pub fn emit(&self) {
        tracing::info!(place = self.place, "PostgreSQL takes writes again");
    }
}

/// A store in memory was full: its oldest candles are unknown again.
pub struct OldestForgotten {
    pub candles: u64,
    pub most: u64,
}

impl OldestForgotten {
    pub fn emit(&self) {
        tracing::info!(candles = self.candles, most = self.most, "the oldest simulated candles are forgotten");
    }
}
