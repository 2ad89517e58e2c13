//! Cache of encoded history pages. Equal requests within a moment share one page, and requests that arrive while a page
//! is being created wait for it (single flight).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::future::Cache;

use super::candles::write_page;
use super::payload::entity_tag;
use crate::clock::Clock;
use crate::market::{CandleQuery, ClientId, HistoryPage, ListedMarket, MarketError, MarketService};
use crate::model::{ExchangeId, Symbol, Timestamp};

/// Equal requests within one period of this length share a page, so no page is older.
const PERIOD: Duration = Duration::from_millis(100);

/// Maximum total size of the cached pages, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Time after which an unused page is freed. Its period ended long before.
const TIME_TO_LIVE: Duration = Duration::from_secs(1);

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
    async fn create(
        market: &MarketService,
        listed: &ListedMarket,
        query: &CandleQuery,
        client: &ClientId,
    ) -> Result<Arc<Self>, MarketError> {
        let page = market.history(listed, query, client).await?;
        Ok(Arc::new(Self::new(query, page, market.exchange_now(listed.exchange))))
    }

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
    /// Number of the [`PERIOD`] since the start of the process.
    period: u128,
}

/// The cached pages.
pub struct PageCache {
    clock: Clock,
    pages: Cache<Key, Arc<EncodedPage>>,
}

impl PageCache {
    pub fn new(clock: Clock) -> Self {
        let size = |_: &Key, page: &Arc<EncodedPage>| u32::try_from(page.body.len()).unwrap_or(u32::MAX);
        let pages = Cache::builder().max_capacity(MAX_BYTES).weigher(size).time_to_live(TIME_TO_LIVE).build();
        Self { clock, pages }
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
        let period = self.clock.elapsed().as_millis() / PERIOD.as_millis();
        let key = Key { exchange, symbol, simulated: listed.simulated, query: *query, period };
        let mut evaluated_here = false;
        let create = async {
            evaluated_here = true;
            EncodedPage::create(market, listed, query, client).await
        };
        let page = match self.pages.try_get_with_by_ref(&key, create).await {
            Ok(page) => page,
            // The client that created the page exhausted its own quota: this client has another one.
            Err(error) if !evaluated_here && error.concerns_client() => {
                return EncodedPage::create(market, listed, query, client).await;
            }
            Err(error) => return Err(Arc::unwrap_or_clone(error)),
        };
        if !page.complete {
            self.pages.invalidate(&key).await;
        }
        Ok(page)
    }
}
