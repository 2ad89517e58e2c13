//! What was asked of the simulated exchanges: for tests that check how candlewick behaves.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one exchange since the simulator was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExchangeStats {
    /// REST requests that were received, those that a fault befell included.
    pub rest_requests: u64,
    /// REST requests and connections over the exchange's limit.
    pub limit_violations: u64,
    /// Bans that followed from them.
    pub bans: u64,
    /// WebSocket connections ever opened.
    pub sockets_opened: u64,
    /// WebSocket connections open now.
    pub sockets_open: u64,
    /// WebSocket connections that were cut for too many messages.
    pub messages_over_rate: u64,
}

#[derive(Debug, Default)]
pub struct Counters {
    pub rest_requests: AtomicU64,
    pub limit_violations: AtomicU64,
    pub bans: AtomicU64,
    pub sockets_opened: AtomicU64,
    pub sockets_open: AtomicU64,
    pub messages_over_rate: AtomicU64,
}

impl Counters {
    pub fn read(&self) -> ExchangeStats {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ExchangeStats {
            rest_requests: value(&self.rest_requests),
            limit_violations: value(&self.limit_violations),
            bans: value(&self.bans),
            sockets_opened: value(&self.sockets_opened),
            sockets_open: value(&self.sockets_open),
            messages_over_rate: value(&self.messages_over_rate),
        }
    }
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
