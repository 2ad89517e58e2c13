//! Telemetry of the shared cache.

use metrics::{counter, gauge};

/// Redis is unreachable. The service continues with its in-memory data.
pub struct CacheUnavailable<'a> {
    pub server: &'a str,
    pub error: &'a str,
}

impl CacheUnavailable<'_> {
    pub fn emit(&self) {
        counter!("candlewick_cache_losses_total").increment(1);
        gauge!("candlewick_cache_up").set(0);
        tracing::warn!(server = self.server, error = self.error, "cannot reach Redis, continuing without it");
    }
}

/// Redis is reachable again.
pub struct CacheRecovered<'a> {
    pub server: &'a str,
}

impl CacheRecovered<'_> {
    pub fn emit(&self) {
        gauge!("candlewick_cache_up").set(1);
        tracing::info!(server = self.server, "connection to Redis restored");
    }
}

/// Events for other replicas were dropped. The replicas detect this by missing sequence numbers, or receive the next
/// change.
pub struct CacheEventsDropped {
    pub count: usize,
}

impl CacheEventsDropped {
    pub fn emit(&self) {
        counter!("candlewick_cache_dropped_total").increment(self.count as u64);
    }
}
