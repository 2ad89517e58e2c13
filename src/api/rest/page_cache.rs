//! Cache of encoded history pages. Equal requests within a moment share one page, and requests that arrive while a page
//! is being created wait for it (single flight).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::candles::write_page;
use super::payload::entity_tag;
use crate::clock::Clock;
use crate::market::{CandleQuery, ClientId, HistoryPage, ListedMarket, MarketError, MarketService};
use crate::model::{ExchangeId, Symbol, Timestamp};

/// Maximum age of a cached page.
const TTL: Duration = Duration::from_millis(100);

/// Number of cached pages above which expired pages are removed.
const CLEANUP_THRESHOLD: usize = 64;

/// Maximum number of cached pages. Above it, pages are created without caching.
const MAX_PAGES: usize = 512;

/// An encoded page.
pub struct EncodedPage {
    pub body: Bytes,
    pub tag: String,
    pub simulated: bool,
    pub complete: bool,
    /// Whether its range is closed and complete, so that clients may cache it.
    pub is_final: bool,
    pub next_cursor: Option<String>,
}

impl EncodedPage {
    pub fn new(query: &CandleQuery, page: HistoryPage, now: Timestamp) -> Self {
        let body = Bytes::from(write_page(query, &page));
        let is_final = page.complete && query.range.end() <= query.interval.floor(now);
        let HistoryPage { simulated, complete, next_cursor, .. } = page;
        Self { tag: entity_tag(&body), body, simulated, complete, is_final, next_cursor }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    exchange: ExchangeId,
    symbol: Symbol,
    simulated: bool,
    query: CandleQuery,
}

type Cell = Arc<OnceCell<Arc<EncodedPage>>>;

/// The cached pages.
pub struct PageCache {
    clock: Clock,
    pages: Mutex<HashMap<Key, (Duration, Cell)>>,
}

impl PageCache {
    pub fn new(clock: Clock) -> Self {
        Self { clock, pages: Mutex::default() }
    }

    /// Returns a page of candles. Incomplete pages are not cached: clients request them again until they are complete.
    ///
    /// # Errors
    /// Those of [`MarketService::history`].
    pub async fn page(
        &self,
        market: &MarketService,
        listed: &ListedMarket,
        query: &CandleQuery,
        client: &ClientId,
    ) -> Result<Arc<EncodedPage>, MarketError> {
        let (exchange, symbol) = (listed.exchange, listed.instrument.symbol.clone());
        let key = Key { exchange, symbol, simulated: listed.simulated, query: *query };
        let now = self.clock.elapsed();
        let cell = self.cell(&key, now);
        let create = async || {
            let page = market.history(listed, query, client).await?;
            Ok(Arc::new(EncodedPage::new(query, page, market.exchange_now(listed.exchange))))
        };
        let page = cell.get_or_try_init(create).await.cloned();
        if !page.as_ref().is_ok_and(|page| page.complete) {
            let mut pages = self.pages.lock();
            if pages.get(&key).is_some_and(|(_, cached)| Arc::ptr_eq(cached, &cell)) {
                pages.remove(&key);
            }
        }
        page
    }

    fn cell(&self, key: &Key, now: Duration) -> Cell {
        let mut pages = self.pages.lock();
        let is_fresh = |created_at: Duration| now.saturating_sub(created_at) < TTL;
        if let Some((created_at, cell)) = pages.get(key)
            && is_fresh(*created_at)
        {
            return Arc::clone(cell);
        }
        if pages.len() >= CLEANUP_THRESHOLD {
            pages.retain(|_, (created_at, _)| is_fresh(*created_at));
        }
        let cell = Cell::default();
        if pages.len() < MAX_PAGES {
            pages.insert(key.clone(), (now, Arc::clone(&cell)));
        }
        cell
    }
}
