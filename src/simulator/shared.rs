//! State that all connections share.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::clock::Clock;
use crate::model::{ExchangeId, PerExchange, Timestamp};

use super::faults::FaultSchedule;
use super::limits::{LimitExceeded, Limits};
use super::market::Market;
use super::stats::{Counters, increment};

/// State that all connections share.
#[derive(Debug)]
pub struct Shared {
    pub clock: Clock,
    pub market: Market,
    pub faults: FaultSchedule,
    pub limits: Limits,
    /// Offset of each exchange's clock from `clock` in milliseconds.
    pub clock_offsets: PerExchange<AtomicI64>,
    pub counters: PerExchange<Counters>,
}

impl Shared {
    pub fn new(market: Market, clock: Clock) -> Self {
        Self {
            clock,
            market,
            faults: FaultSchedule::default(),
            limits: Limits::default(),
            clock_offsets: PerExchange::default(),
            counters: PerExchange::default(),
        }
    }

    /// Current time of the exchange's own clock.
    pub fn now(&self, exchange: ExchangeId) -> Timestamp {
        let offset = self.clock_offsets[exchange].load(Ordering::Relaxed);
        Timestamp::from_millis(self.clock.now().millis().saturating_add(offset))
    }

    /// Counts a request of a `kind` at `now` against a rate limit of `(requests, window in milliseconds)`.
    ///
    /// # Errors
    /// The request exceeds the limit: the number of milliseconds until the next request is allowed. The violation is
    /// counted in the statistics.
    pub fn admit(
        &self,
        client: IpAddr,
        exchange: ExchangeId,
        kind: &str,
        limit: (usize, i64),
        now: i64,
    ) -> Result<(), i64> {
        let admitted = self.limits.admit_in_window(client, exchange, kind, limit, now);
        admitted.map_err(|LimitExceeded { retry_after, is_new_ban }| {
            let counters = &self.counters[exchange];
            increment(&counters.limit_violations);
            if is_new_ban {
                increment(&counters.bans);
            }
            retry_after
        })
    }
}
