//! The shared state of a single process, in its memory.

mod budgets;
pub(super) mod bus;
pub(super) mod candles;
mod demand;
mod leases;
mod limits;
pub(super) mod requests;
pub(super) mod states;
pub(super) mod tickers;

use std::sync::Arc;

use super::Cache;
use crate::clock::Clock;

/// All seams in memory. Its clones share it; it ends with the last of them.
#[must_use]
pub fn memory(clock: Clock) -> Cache {
    Cache {
        tickers: Arc::new(tickers::Tickers::new(clock.clone())),
        candles: Arc::new(candles::Candles::default()),
        states: Arc::new(states::States::default()),
        bus: Arc::new(bus::Bus::default()),
        leases: Arc::new(leases::MemoryLeases::new(clock.clone())),
        demand: Arc::new(demand::MemoryDemand::new(clock.clone())),
        requests: Arc::new(requests::MemoryRequests::new(clock)),
        budgets: Arc::new(budgets::MemoryBudgets),
        limits: Arc::new(limits::MemoryLimits),
    }
}
