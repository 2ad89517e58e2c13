//! Live candles in memory.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use parking_lot::RwLock;

use crate::cache::{CacheError, LIVE_CANDLES_PER_SERIES, LiveCandles, Version};
use crate::model::{Candle, ExchangeId, PerExchange, Series, TimeRange, Timestamp};

type Newest = BTreeMap<Timestamp, (Version, Candle)>;

/// The newest [`LIVE_CANDLES_PER_SERIES`] candles of each series, by exchange.
#[derive(Default)]
pub struct MemoryCandles(PerExchange<RwLock<HashMap<Series, Newest>>>);

impl MemoryCandles {
    /// All candles of an exchange.
    pub fn all(&self, exchange: ExchangeId) -> Vec<(Series, Candle, Version)> {
        let all = self.series(exchange).read();
        let candles = |(series, newest): (&Series, &Newest)| {
            newest.values().map(|(version, candle)| (series.clone(), *candle, *version)).collect::<Vec<_>>()
        };
        all.iter().flat_map(candles).collect()
    }

    fn series(&self, exchange: ExchangeId) -> &RwLock<HashMap<Series, Newest>> {
        &self.0[exchange]
    }
}

#[async_trait]
impl LiveCandles for MemoryCandles {
    async fn put(&self, series: &Series, candle: Candle, version: Version) -> Result<(), CacheError> {
        let mut all = self.series(series.exchange).write();
        let newest = match all.get_mut(series) {
            Some(newest) => newest,
            None => all.entry(series.clone()).or_default(),
        };
        if let Some((stored_version, stored)) = newest.get(&candle.timestamp) {
            // Of two candles with the same version, the closed one is newer.
            if (version, candle.closed) < (*stored_version, stored.closed) {
                return Ok(());
            }
        }
        newest.insert(candle.timestamp, (version, candle));
        if newest.len() > LIVE_CANDLES_PER_SERIES {
            newest.pop_first();
        }
        Ok(())
    }

    async fn get(&self, series: &Series, range: TimeRange) -> Result<Vec<Candle>, CacheError> {
        let all = self.series(series.exchange).read();
        let Some(newest) = all.get(series) else { return Ok(Vec::new()) };
        Ok(newest.range(range.start()..range.end()).map(|(_, (_, candle))| *candle).collect())
    }

    async fn clear(&self, exchange: ExchangeId) -> Result<(), CacheError> {
        self.series(exchange).write().clear();
        Ok(())
    }
}
