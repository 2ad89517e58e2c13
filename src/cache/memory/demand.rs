//! Which markets someone listens to now.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::cache::{CacheError, Demand, MOST_WANTED as MOST};
use crate::clock::Clock;
use crate::model::{ExchangeId, Symbol};

/// Until when each market is wanted, by exchange.
pub struct MemoryDemand {
    clock: Clock,
    wanted: [Mutex<BTreeMap<Symbol, Duration>>; ExchangeId::ALL.len()],
}

impl MemoryDemand {
    pub fn new(clock: Clock) -> Self {
        Self { clock, wanted: Default::default() }
    }
}

#[async_trait]
impl Demand for MemoryDemand {
    async fn want(&self, exchange: ExchangeId, symbol: &Symbol, ttl: Duration) -> Result<(), CacheError> {
        let now = self.clock.elapsed();
        let until = now.saturating_add(ttl);
        let mut wanted = self.wanted[exchange as usize].lock();
        if let Some(known) = wanted.get_mut(symbol) {
            *known = until.max(*known);
            return Ok(());
        }
        if wanted.len() >= MOST {
            wanted.retain(|_, until| *until > now);
        }
        if wanted.len() >= MOST {
            return Err(CacheError(format!("{MOST} markets of {exchange} are wanted already")));
        }
        wanted.insert(symbol.clone(), until);
        Ok(())
    }

    async fn wanted(&self, exchange: ExchangeId) -> Result<Vec<Symbol>, CacheError> {
        let now = self.clock.elapsed();
        let mut wanted = self.wanted[exchange as usize].lock();
        wanted.retain(|_, until| *until > now);
        Ok(wanted.keys().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[tokio::test]
    async fn no_more_is_wanted_than_can_be_collected() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let demand = MemoryDemand::new(clock.clone());
        let symbol = |n: usize| format!("C{n}/USDT").parse::<Symbol>().unwrap();
        let want = |n, secs| {
            let (demand, symbol) = (&demand, symbol(n));
            async move { demand.want(ExchangeId::Binance, &symbol, Duration::from_secs(secs)).await }
        };
        for n in 0..MOST {
            want(n, 10).await.unwrap();
        }
        assert!(want(MOST, 10).await.is_err());
        want(0, 20).await.unwrap();
        clock.advance(Duration::from_secs(10)).await;
        want(MOST, 10).await.unwrap();
        assert_eq!(demand.wanted(ExchangeId::Binance).await.unwrap(), [symbol(0), symbol(MOST)]);
    }
}
