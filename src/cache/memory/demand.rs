//! Demand in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::cache::{CacheError, Demand, MAX_DEMAND_PER_EXCHANGE as MAX};
use crate::clock::Clock;
use crate::model::{ExchangeId, PerExchange, Symbol};

/// When the demand for each market ends, by exchange.
pub struct MemoryDemand {
    clock: Clock,
    demand: PerExchange<Mutex<BTreeMap<Symbol, Duration>>>,
}

impl MemoryDemand {
    pub fn new(clock: Clock) -> Self {
        Self { clock, demand: PerExchange::default() }
    }
}

#[async_trait]
impl Demand for MemoryDemand {
    async fn add(&self, exchange: ExchangeId, symbol: &Symbol, ttl: Duration) -> Result<(), CacheError> {
        let now = self.clock.elapsed();
        let until = now.saturating_add(ttl);
        let mut demand = self.demand[exchange].lock();
        if let Some(end) = demand.get_mut(symbol) {
            *end = until.max(*end);
            return Ok(());
        }
        if demand.len() >= MAX {
            demand.retain(|_, until| *until > now);
        }
        if demand.len() >= MAX {
            return Err(CacheError(format!("there is demand for {MAX} markets of {exchange} already")));
        }
        demand.insert(symbol.clone(), until);
        Ok(())
    }

    async fn symbols(&self, exchange: ExchangeId) -> Result<Vec<Symbol>, CacheError> {
        let now = self.clock.elapsed();
        let mut demand = self.demand[exchange].lock();
        demand.retain(|_, until| *until > now);
        Ok(demand.keys().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[tokio::test]
    async fn demand_is_bounded_and_expires() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let demand = MemoryDemand::new(clock.clone());
        let symbol = |n: usize| format!("C{n}/USDT").parse::<Symbol>().unwrap();
        let add = |n, secs| {
            let (demand, symbol) = (&demand, symbol(n));
            async move { demand.add(ExchangeId::BINANCE, &symbol, Duration::from_secs(secs)).await }
        };
        for n in 0..MAX {
            add(n, 10).await.unwrap();
        }
        assert!(add(MAX, 10).await.is_err());
        add(0, 20).await.unwrap();
        clock.advance(Duration::from_secs(10)).await;
        add(MAX, 10).await.unwrap();
        assert_eq!(demand.symbols(ExchangeId::BINANCE).await.unwrap(), [symbol(0), symbol(MAX)]);
    }
}
