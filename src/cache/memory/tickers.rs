//! The latest ticker of each market.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};

use crate::cache::{CacheError, KeptTicker, LatestTickers};
use crate::clock::Clock;
use crate::model::{ExchangeId, Source, Symbol};

/// A map for each exchange and a slot for each market. The maps are locked for writing only when a market is new, a
/// slot only while its value is moved in or cloned, so readers of one market do not wait for writers of another.
/// There are at most as many slots as listed markets.
pub struct Tickers {
    clock: Clock,
    markets: [RwLock<HashMap<Symbol, Mutex<KeptTicker>>>; ExchangeId::ALL.len()],
}

impl Tickers {
    pub fn new(clock: Clock) -> Self {
        Self { clock, markets: Default::default() }
    }

    fn of(&self, exchange: ExchangeId) -> &RwLock<HashMap<Symbol, Mutex<KeptTicker>>> {
        &self.markets[exchange as usize]
    }

    /// Whether `new` takes the place of `kept`.
    fn replaces(&self, new: &KeptTicker, kept: &KeptTicker, stream_holds: Duration) -> bool {
        match (new.ticker.source, kept.ticker.source) {
            (Source::Stream, Source::Stream) => new.position > kept.position,
            (Source::Stream, Source::Rest) => new.position >= kept.position,
            (Source::Rest, Source::Stream) => self.clock.now().since(kept.ticker.received_at) >= stream_holds,
            // Those of one collector have the same position.
            (Source::Rest, Source::Rest) => {
                (new.position, new.ticker.received_at) >= (kept.position, kept.ticker.received_at)
            }
        }
    }
}

#[async_trait]
impl LatestTickers for Tickers {
    async fn put(&self, ticker: KeptTicker, stream_holds: Duration) -> Result<bool, CacheError> {
        let markets = self.of(ticker.ticker.exchange);
        if let Some(slot) = markets.read().get(&ticker.ticker.symbol) {
            return Ok(self.put_into(slot, ticker, stream_holds));
        }
        let mut markets = markets.write();
        // Another may have come first.
        if let Some(slot) = markets.get(&ticker.ticker.symbol) {
            return Ok(self.put_into(slot, ticker, stream_holds));
        }
        markets.insert(ticker.ticker.symbol.clone(), Mutex::new(ticker));
        Ok(true)
    }

    async fn get(&self, exchange: ExchangeId, symbol: &Symbol) -> Result<Option<KeptTicker>, CacheError> {
        Ok(self.of(exchange).read().get(symbol).map(|slot| slot.lock().clone()))
    }

    async fn clear(&self, exchange: ExchangeId) -> Result<(), CacheError> {
        self.of(exchange).write().clear();
        Ok(())
    }
}

impl Tickers {
    /// All tickers of an exchange.
    pub fn all(&self, exchange: ExchangeId) -> Vec<KeptTicker> {
        self.of(exchange).read().values().map(|slot| slot.lock().clone()).collect()
    }

    fn put_into(&self, slot: &Mutex<KeptTicker>, ticker: KeptTicker, stream_holds: Duration) -> bool {
        let mut kept = slot.lock();
        let newer = self.replaces(&ticker, &kept, stream_holds);
        if newer {
            *kept = ticker;
        }
        newer
    }
}
