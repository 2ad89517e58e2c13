//! Latest tickers in memory.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};

use crate::cache::{CacheError, CachedTicker, LatestTickers};
use crate::clock::Clock;
use crate::model::{ExchangeId, PerExchange, Source, Symbol};

/// A map per exchange and a slot per market. A map is write-locked only to add a market, and a slot is locked only
/// while its value is moved or cloned, so that readers of one market do not wait for writers of another. There are at
/// most as many slots as listed markets.
pub struct MemoryTickers {
    clock: Clock,
    markets: PerExchange<RwLock<HashMap<Symbol, Mutex<CachedTicker>>>>,
}

impl MemoryTickers {
    pub fn new(clock: Clock) -> Self {
        Self { clock, markets: PerExchange::default() }
    }

    fn slots(&self, exchange: ExchangeId) -> &RwLock<HashMap<Symbol, Mutex<CachedTicker>>> {
        &self.markets[exchange]
    }

    /// Whether `new` replaces `stored`.
    fn replaces(&self, new: &CachedTicker, stored: &CachedTicker, stream_ttl: Duration) -> bool {
        match (new.ticker.source, stored.ticker.source) {
            (Source::Stream, Source::Stream) => new.version > stored.version,
            (Source::Stream, Source::Rest) => new.version >= stored.version,
            (Source::Rest, Source::Stream) => self.clock.now().since(stored.ticker.received_at) >= stream_ttl,
            // REST tickers of one collector may have the same version.
            (Source::Rest, Source::Rest) => {
                (new.version, new.ticker.received_at) >= (stored.version, stored.ticker.received_at)
            }
        }
    }
}

#[async_trait]
impl LatestTickers for MemoryTickers {
    async fn put(&self, ticker: CachedTicker, stream_ttl: Duration) -> Result<bool, CacheError> {
        let markets = self.slots(ticker.ticker.exchange);
        if let Some(slot) = markets.read().get(&ticker.ticker.symbol) {
            return Ok(self.put_slot(slot, ticker, stream_ttl));
        }
        let mut markets = markets.write();
        // Another writer may have added the market in the meantime.
        if let Some(slot) = markets.get(&ticker.ticker.symbol) {
            return Ok(self.put_slot(slot, ticker, stream_ttl));
        }
        markets.insert(ticker.ticker.symbol.clone(), Mutex::new(ticker));
        Ok(true)
    }

    async fn get(&self, exchange: ExchangeId, symbol: &Symbol) -> Result<Option<CachedTicker>, CacheError> {
        Ok(self.slots(exchange).read().get(symbol).map(|slot| slot.lock().clone()))
    }

    async fn clear(&self, exchange: ExchangeId) -> Result<(), CacheError> {
        self.slots(exchange).write().clear();
        Ok(())
    }
}

impl MemoryTickers {
    /// All tickers of an exchange.
    pub fn all(&self, exchange: ExchangeId) -> Vec<CachedTicker> {
        self.slots(exchange).read().values().map(|slot| slot.lock().clone()).collect()
    }

    fn put_slot(&self, slot: &Mutex<CachedTicker>, ticker: CachedTicker, stream_ttl: Duration) -> bool {
        let mut stored = slot.lock();
        let is_newer = self.replaces(&ticker, &stored, stream_ttl);
        if is_newer {
            *stored = ticker;
        }
        is_newer
    }
}
