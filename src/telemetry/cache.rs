//! What the shared cache tells.

use metrics::{counter, gauge};

/// Redis does not answer. The service goes on with what it has in memory.
pub struct CacheLost<'a> {
    pub place: &'a str,
    pub why: &'a str,
}

impl CacheLost<'_> {
    pub fn emit(&self) {
        counter!("candlewick_cache_losses_total").increment(1);
        gauge!("candlewick_cache_up").set(0);
        tracing::warn!(place = self.place, error = self.why, "Redis does not answer: going on without");
    }
}

/// Redis answers again.
pub struct CacheBack<'a> {
    pub place: &'a str,
}

impl CacheBack<'_> {
    pub fn emit(&self) {
        gauge!("candlewick_cache_up").set(1);
        tracing::info!(place = self.place, "Redis answers again");
    }
}

/// So much was not told to other replicas: they learn of it by the numbers that are missing, or with the next change.
pub struct CacheDropped {
    pub count: usize,
}

impl CacheDropped {
    pub fn emit(&self) {
        counter!("candlewick_cache_dropped_total").increment(self.count as u64);
    }
}
