//! Pages that were just given: whoever asks the same within a moment gets the same bytes, and while a page is being made
//! all who ask for it wait for that one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::candles::write_page;
use super::payload::entity_tag;
use crate::clock::Clock;
use crate::market::{CandleQuery, ClientId, HistoryPage, Listed, Market, MarketError};
use crate::model::{ExchangeId, Symbol, Timestamp};

/// How old a page may be.
const FRESH: Duration = Duration::from_millis(100);

/// So many pages are kept before old ones are thrown away.
const TIDY: usize = 64;

/// The most pages that are kept; more are made for each who asks.
const MOST: usize = 512;

/// A page as it is sent.
pub struct Encoded {
    pub body: Bytes,
    pub tag: String,
    pub simulated: bool,
    pub complete: bool,
    /// Whether its range was closed and complete.
    pub lasting: bool,
    pub next_cursor: Option<String>,
}

impl Encoded {
    pub fn new(query: &CandleQuery, page: HistoryPage, now: Timestamp) -> Self {
        let body = Bytes::from(write_page(query, &page));
        let lasting = page.complete && query.range.end() <= query.interval.floor(now);
        let HistoryPage { simulated, complete, next_cursor, .. } = page;
        Self { tag: entity_tag(&body), body, simulated, complete, lasting, next_cursor }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    exchange: ExchangeId,
    symbol: Symbol,
    simulated: bool,
    query: CandleQuery,
}

type Cell = Arc<OnceCell<Arc<Encoded>>>;

/// The pages of the last moment.
pub struct HotPages {
    clock: Clock,
    pages: Mutex<HashMap<Key, (Duration, Cell)>>,
}

impl HotPages {
    pub fn new(clock: Clock) -> Self {
        Self { clock, pages: Mutex::default() }
    }

    /// A page of candles. One that is not complete is made anew each time: whoever waits for the rest asks again.
    ///
    /// # Errors
    /// Those of [`Market::history`].
    pub async fn page(
        &self,
        market: &Market,
        listed: &Listed,
        query: &CandleQuery,
        client: &ClientId,
    ) -> Result<Arc<Encoded>, MarketError> {
        let (exchange, symbol) = (listed.exchange, listed.instrument.symbol.clone());
        let key = Key { exchange, symbol, simulated: listed.simulated, query: *query };
        let now = self.clock.elapsed();
        let cell = self.cell(&key, now);
        let make = async || {
            let page = market.history(listed, query, client).await?;
            Ok(Arc::new(Encoded::new(query, page, market.exchange_now(listed.exchange).await)))
        };
        let page = cell.get_or_try_init(make).await.cloned();
        if !page.as_ref().is_ok_and(|page| page.complete) {
            let mut pages = self.pages.lock();
            if pages.get(&key).is_some_and(|(_, known)| Arc::ptr_eq(known, &cell)) {
                pages.remove(&key);
            }
        }
        page
    }

    fn cell(&self, key: &Key, now: Duration) -> Cell {
        let mut pages = self.pages.lock();
        let is_fresh = |made_at: Duration| now.saturating_sub(made_at) < FRESH;
        if let Some((made_at, cell)) = pages.get(key)
            && is_fresh(*made_at)
        {
            return Arc::clone(cell);
        }
        if pages.len() >= TIDY {
            pages.retain(|_, (made_at, _)| is_fresh(*made_at));
        }
        let cell = Cell::default();
        if pages.len() < MOST {
            pages.insert(key.clone(), (now, Arc::clone(&cell)));
        }
        cell
    }
}
