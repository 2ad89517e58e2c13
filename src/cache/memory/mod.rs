//! In-memory backends for a single process.

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

/// All backends in memory. Clones share the state.
#[must_use]
pub fn memory(clock: Clock) -> Cache {
    Cache {
        tickers: Arc::new(tickers::MemoryTickers::new(clock.clone())),
        candles: Arc::new(candles::MemoryCandles::default()),
        states: Arc::new(states::MemoryStates::new(clock.clone())),
        bus: Arc::new(bus::MemoryBus::default()),
        leases: Arc::new(leases::MemoryLeases::new(clock.clone())),
        demand: Arc::new(demand::MemoryDemand::new(clock.clone())),
        requests: Arc::new(requests::MemoryRequests::new(clock)),
        budgets: Arc::new(budgets::MemoryBudgets),
        limits: Arc::new(limits::MemoryLimits),
    }
}
