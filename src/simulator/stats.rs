//! Counters of the simulated exchanges. Tests use them to check the behaviour of the collector.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one exchange since the simulator was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExchangeStats {
    /// REST requests received, including those affected by a fault.
    pub rest_requests: u64,
    /// REST requests and WebSocket handshakes over a rate limit.
    pub limit_violations: u64,
    /// Bans caused by these violations.
    pub bans: u64,
    /// WebSocket connections opened.
    pub sockets_opened: u64,
    /// WebSocket connections currently open.
    pub sockets_open: u64,
    /// WebSocket connections closed because the client sent too many messages.
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

pub fn increment(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
