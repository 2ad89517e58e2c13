//! Limits the number of concurrent connections, sockets and event streams, in total and per key.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::telemetry::http::OpenGauge;

/// Limits concurrent permits in total and per key `K`, such as a client or an address.
pub struct ConcurrencyLimiter<K> {
    max: usize,
    max_per_key: usize,
    counts: Mutex<Counts<K>>,
}

struct Counts<K> {
    total: usize,
    /// Contains only keys with at least one permit.
    per_key: HashMap<K, usize>,
}

/// A permit, released when it is dropped.
pub struct Permit<K: Eq + Hash> {
    limiter: Arc<ConcurrencyLimiter<K>>,
    key: K,
    _gauge: OpenGauge,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// The total limit.
    Total,
    /// The limit per key, with the number of permits of the key.
    PerKey(usize),
}

impl<K: Clone + Eq + Hash> ConcurrencyLimiter<K> {
    pub fn new(max: usize, max_per_key: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_key, counts: Mutex::new(Counts { total: 0, per_key: HashMap::new() }) })
    }

    /// Acquires a permit; `kind` is a metric label.
    pub fn acquire(self: &Arc<Self>, key: &K, kind: &'static str) -> Result<Permit<K>, LimitReached> {
        let mut counts = self.counts.lock();
        if counts.total >= self.max {
            return Err(LimitReached::Total);
        }
        match counts.per_key.get_mut(key) {
            Some(count) if *count >= self.max_per_key => return Err(LimitReached::PerKey(*count)),
            Some(count) => *count += 1,
            None => drop(counts.per_key.insert(key.clone(), 1)),
        }
        counts.total += 1;
        Ok(Permit { limiter: Arc::clone(self), key: key.clone(), _gauge: OpenGauge::new(kind) })
    }
}

impl<K: Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut counts = self.limiter.counts.lock();
        counts.total -= 1;
        if let Some(count) = counts.per_key.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.per_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_permits_and_releases_dropped_ones() {
        let limiter = ConcurrencyLimiter::new(3, 2);
        let acquire = |key: &'static str| limiter.acquire(&key, "socket");
        let first = acquire("one").unwrap_or_else(|full| panic!("{full:?}"));
        let _second = acquire("one");
        assert_eq!(acquire("one").err(), Some(LimitReached::PerKey(2)));
        let _third = acquire("two");
        assert_eq!(acquire("two").err(), Some(LimitReached::Total));
        drop(first);
        assert!(acquire("one").is_ok());
        assert_eq!(limiter.counts.lock().per_key.len(), 2);
    }
}
