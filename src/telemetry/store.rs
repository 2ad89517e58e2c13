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
