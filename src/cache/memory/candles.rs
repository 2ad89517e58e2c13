//! Candles that the store does not have yet.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use parking_lot::RwLock;

use crate::cache::{CacheError, LIVE_CANDLES, LiveCandles, Position};
use crate::model::{Candle, ExchangeId, Series, TimeRange, Timestamp};

type Newest = BTreeMap<Timestamp, (Position, Candle)>;

/// The newest [`LIVE_CANDLES`] of each series that is collected or derived, by exchange.
#[derive(Default)]
pub struct Candles([RwLock<HashMap<Series, Newest>>; ExchangeId::ALL.len()]);

impl Candles {
    /// All candles of an exchange.
    pub fn all(&self, exchange: ExchangeId) -> Vec<(Series, Candle, Position)> {
        let all = self.of(exchange).read();
        let of = |(series, newest): (&Series, &Newest)| {
            newest.values().map(|(position, candle)| (series.clone(), *candle, *position)).collect::<Vec<_>>()
        };
        all.iter().flat_map(of).collect()
    }

    fn of(&self, exchange: ExchangeId) -> &RwLock<HashMap<Series, Newest>> {
        &self.0[exchange as usize]
    }
}

#[async_trait]
impl LiveCandles for Candles {
    async fn put(&self, series: &Series, candle: Candle, position: Position) -> Result<(), CacheError> {
        let mut all = self.of(series.exchange).write();
        let newest = match all.get_mut(series) {
            Some(newest) => newest,
            None => all.entry(series.clone()).or_default(),
        };
        if let Some((kept_at, kept)) = newest.get(&candle.timestamp) {
            // At the same position a closed candle is the later word.
            if (position, candle.closed) < (*kept_at, kept.closed) {
                return Ok(());
            }
        }
        newest.insert(candle.timestamp, (position, candle));
        if newest.len() > LIVE_CANDLES {
            newest.pop_first();
        }
        Ok(())
    }

    async fn get(&self, series: &Series, range: TimeRange) -> Result<Vec<Candle>, CacheError> {
        let all = self.of(series.exchange).read();
        let Some(newest) = all.get(series) else { return Ok(Vec::new()) };
        Ok(newest.range(range.start()..range.end()).map(|(_, (_, candle))| *candle).collect())
    }

    async fn clear(&self, exchange: ExchangeId) -> Result<(), CacheError> {
        self.of(exchange).write().clear();
        Ok(())
    }
}
