//! [`MarketService`]: finds markets and answers all queries except history, which is in `history.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::client_quota::ClientQuotas;
use super::hints::Hints;
use super::listing_cache::{ListingCache, ListingIndex};
use super::{
    ClientId, CoveragePage, CoverageQuery, Health, InstrumentPage, InstrumentQuery, InvalidParameter, LatestTicker,
    ListedMarket, MarketError, UpstreamCost,
};
use crate::cache::{Cache, CachedTicker, CollectorReply, CollectorRequest, RequestError};
use crate::clock::Clock;
use crate::model::{BadSymbol, ExchangeId, ExchangeState, FeedState, Interval, Source, Symbol, TimeRange, Timestamp};
use crate::store::{Store, StoreError};

/// How long a query may wait for a collector.
pub(super) const REQUEST_BUDGET: Duration = Duration::from_secs(2);

/// A fetched ticker is reused for this long.
const TICKER_MAX_AGE: Duration = Duration::from_secs(2);

/// The store counts as degraded if a ping takes longer.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Number of listing entries to scan before yielding to other tasks.
const YIELD_EVERY: usize = 512;

/// Retry delay if the upstream error names none.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The store of real data and the store of simulated exchanges, which are never mixed.
#[derive(Clone)]
pub struct Stores {
    pub real: Arc<dyn Store>,
    pub simulated: Option<Arc<dyn Store>>,
}

impl Stores {
    /// The store of simulated or of real exchanges.
    #[must_use]
    pub fn select(&self, simulated: bool) -> &Arc<dyn Store> {
        self.simulated.as_ref().filter(|_| simulated).unwrap_or(&self.real)
    }
}

/// Market data queries for all APIs.
pub struct MarketService {
    pub(super) stores: Stores,
    pub(super) cache: Cache,
    pub(super) clock: Clock,
    listings: ListingCache,
    hints: Hints,
    /// The enabled exchanges in registry order.
    exchanges: Vec<ExchangeId>,
    started: Duration,
    quotas: ClientQuotas,
}

impl MarketService {
    /// A service for the enabled exchanges, without client quotas.
    #[must_use]
    pub fn new(mut exchanges: Vec<ExchangeId>, stores: Stores, cache: Cache, clock: Clock) -> Self {
        exchanges.sort_unstable();
        let started = clock.elapsed();
        let quotas = ClientQuotas::new(clock.clone(), Arc::clone(&cache.limits));
        let listings = ListingCache::default();
        Self { stores, cache, clock, listings, hints: Hints::new(), exchanges, started, quotas }
    }

    /// Enables client quotas for the upstream requests that clients cause.
    #[must_use]
    pub fn with_upstream_costs(mut self, costs: HashMap<ExchangeId, UpstreamCost>) -> Self {
        self.quotas.set_costs(costs);
        self
    }

    /// Charges a client for an upstream request.
    pub(super) async fn charge(
        &self,
        client: &ClientId,
        request: &CollectorRequest,
        unknown: &[TimeRange],
    ) -> Result<(), MarketError> {
        let exchange = request.exchange();
        let Some(cost) = self.quotas.cost(exchange) else { return Ok(()) };
        let weight = match request {
            CollectorRequest::Ticker { .. } => cost.page_weight,
            CollectorRequest::Candles { series, .. } => cost.candle_weight(series.interval, unknown),
        };
        self.quotas.charge(client, request, weight).await.map_err(|retry_after| {
            let detail = format!(
                "your quota for {exchange} is used up: {} of request weight per minute; stored data are still served",
                cost.client_quota()
            );
            MarketError::TooManyRequests { detail, retry_after }
        })
    }

    /// Rejects a range without a page limit if fetching its unknown parts would exceed the client quota.
    ///
    /// # Errors
    /// `RangeTooLarge`, `UnsupportedInterval`, `StoreUnavailable`.
    pub async fn check_fetch_cost(
        &self,
        listed: &ListedMarket,
        interval: Interval,
        range: TimeRange,
    ) -> Result<(), MarketError> {
        self.check_interval(listed, interval).await?;
        let Some(cost) = self.quotas.cost(listed.exchange) else { return Ok(()) };
        let closed = TimeRange::new(range.start(), range.end().min(interval.floor(self.clock.now())));
        let series = listed.series(interval);
        let unknown = self.stores.select(listed.simulated).coverage(&series, closed).await?.unknown_ranges(closed);
        let weight = cost.candle_weight(interval, &unknown);
        if weight <= cost.client_quota() {
            return Ok(());
        }
        let (from, to) = (unknown.first().map(|one| one.start()), unknown.last().map(|one| one.end()));
        let (from, to) = (from.unwrap_or(closed.start()), to.unwrap_or(closed.end()));
        Err(MarketError::RangeTooLarge(format!(
            "{interval} candles of {} on {} are not completely stored from {from} to {to}; fetching them would cost \
             {weight} of request weight, more than the client quota of {} per minute: fetch them with \
             `POST /v1/backfills` or `candlewick backfill`, or request a shorter range",
            listed.instrument.symbol,
            listed.exchange,
            cost.client_quota()
        )))
    }

    /// Finds a market by any spelling of its symbol or by the exchange's own id. Without an exchange it searches the
    /// enabled ones in registry order: the first one that trades the market, otherwise the first that lists it,
    /// otherwise the first where it is delisted. The error for an unknown symbol names similar symbols.
    ///
    /// # Errors
    /// `InvalidParameters`, `UnknownExchange`, `UnknownSymbol`, `NotReady`.
    pub async fn find(&self, exchange: Option<&str>, symbol: &str) -> Result<ListedMarket, MarketError> {
        let listings = match self.search(exchange, symbol).await? {
            SearchResult::Found(listed) => return Ok(listed),
            SearchResult::Unlisted(listings) => listings,
        };
        Err(unknown_symbol(exchange, symbol, &self.hints.similar_symbols(listings, symbol).await))
    }

    /// As [`MarketService::find`], without similar symbols in the error. For requests with many symbols.
    ///
    /// # Errors
    /// As [`MarketService::find`].
    pub async fn find_without_hint(&self, exchange: Option<&str>, symbol: &str) -> Result<ListedMarket, MarketError> {
        match self.search(exchange, symbol).await? {
            SearchResult::Found(listed) => Ok(listed),
            SearchResult::Unlisted(_) => Err(unknown_symbol(exchange, symbol, &[])),
        }
    }

    async fn search(&self, exchange: Option<&str>, symbol: &str) -> Result<SearchResult, MarketError> {
        let parsed: Result<Symbol, _> = symbol.parse();
        if let Err(error) = &parsed
            && (symbol.is_empty()
                || symbol.chars().count() > Symbol::MAX_LENGTH
                || !symbol.chars().all(|c| c.is_ascii_alphanumeric() || ".-_/:$".contains(c) || c > '\u{9f}'))
        {
            let detail = error.to_string();
            return Err(MarketError::InvalidParameters(vec![InvalidParameter { parameter: "symbol", detail }]));
        }
        let candidates = match exchange {
            Some(name) => vec![self.exchange_id(name)?],
            None => self.exchanges.clone(),
        };
        let (mut searched, mut not_ready, mut not_trading) = (Vec::new(), None, None);
        for exchange in candidates {
            match self.listing(exchange).await {
                Ok((listing, state)) => match listing.find(parsed.as_ref().ok(), symbol) {
                    Some(instrument) => {
                        let instrument = Arc::clone(instrument);
                        let listed = ListedMarket { exchange, instrument, simulated: state.simulated };
                        if listed.instrument.is_trading() {
                            return Ok(SearchResult::Found(listed));
                        }
                        let better =
                            |one: &ListedMarket| one.instrument.is_delisted() && !listed.instrument.is_delisted();
                        if not_trading.as_ref().is_none_or(better) {
                            not_trading = Some(listed);
                        }
                    }
                    None => searched.push((exchange, listing)),
                },
                Err(error @ MarketError::NotReady(_)) => not_ready = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let Some(not_trading) = not_trading {
            return Ok(SearchResult::Found(not_trading));
        }
        // The missing listing may contain the symbol.
        if let Some(error) = not_ready {
            return Err(error);
        }
        Ok(SearchResult::Unlisted(searched))
    }

    /// The enabled exchange with this name.
    ///
    /// # Errors
    /// `UnknownExchange`.
    pub fn exchange_id(&self, name: &str) -> Result<ExchangeId, MarketError> {
        let id: ExchangeId = name.parse().map_err(|error| MarketError::UnknownExchange(format!("{error}")))?;
        if self.exchanges.contains(&id) {
            return Ok(id);
        }
        let enabled = self.exchanges.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ");
        Err(MarketError::UnknownExchange(format!("`{id}` is not enabled here; enabled are {enabled}")))
    }

    async fn listing(&self, exchange: ExchangeId) -> Result<(Arc<ListingIndex>, Arc<ExchangeState>), MarketError> {
        let not_ready =
            |reason: &str| MarketError::NotReady(format!("the listing of {exchange} is not known yet: {reason}"));
        let state = self.state(exchange).await.ok_or_else(|| not_ready("the exchange is being connected"))?;
        let Some(read_at) = state.listed_at else {
            return Err(not_ready(state.detail.as_deref().unwrap_or("the listing is being read")));
        };
        let store = self.stores.select(state.simulated);
        let listing = self.listings.get(exchange, &**store, state.simulated, read_at).await?;
        Ok((listing, state))
    }

    /// The state that the collector of an exchange reported last.
    pub(super) async fn state(&self, exchange: ExchangeId) -> Option<Arc<ExchangeState>> {
        self.cache.states.get(exchange).await.ok().flatten()
    }

    /// The latest ticker: the cached one if it is live or recent, otherwise fetched from the exchange.
    ///
    /// # Errors
    /// `TooManyRequests`, `UpstreamUnavailable`, `UpstreamRateLimited`.
    pub async fn ticker(&self, listed: &ListedMarket, client: &ClientId) -> Result<LatestTicker, MarketError> {
        let (exchange, symbol) = (listed.exchange, &listed.instrument.symbol);
        let state = self.state(exchange).await;
        let is_live = state.as_ref().is_some_and(|state| state.is_receiving(self.clock.now()));
        let collected = state.as_ref().is_some_and(|state| state.symbols.binary_search(symbol).is_ok());
        let cached = self.cache.tickers.get(exchange, symbol).await.ok().flatten();
        if let Some(cached) = &cached {
            let streams = collected && cached.ticker.source == Source::Stream;
            if (streams && is_live) || self.age(cached) <= TICKER_MAX_AGE {
                return Ok(self.latest_ticker(cached.clone(), streams && !is_live));
            }
        }
        let request = CollectorRequest::Ticker { exchange, symbol: symbol.clone() };
        if let Err(rejected) = self.charge(client, &request, &[]).await {
            return cached.map_or(Err(rejected), |cached| Ok(self.latest_ticker(cached, true)));
        }
        match self.cache.requests.request(request, REQUEST_BUDGET).await {
            Ok(CollectorReply::Ticker(fetched)) => Ok(self.latest_ticker(fetched, false)),
            Err(error @ RequestError::UnknownSymbol) => Err(self.request_error(&error, listed)),
            // A stale ticker with its age is better than none.
            Ok(CollectorReply::Stored) | Err(_) if cached.is_some() => {
                Ok(self.latest_ticker(cached.ok_or_else(|| unavailable("no ticker"))?, true))
            }
            Ok(CollectorReply::Stored) => Err(unavailable("the collector returned no ticker")),
            Err(error) => Err(self.request_error(&error, listed)),
        }
    }

    fn age(&self, cached: &CachedTicker) -> Duration {
        self.clock.now().since(cached.ticker.received_at)
    }

    fn latest_ticker(&self, cached: CachedTicker, stale: bool) -> LatestTicker {
        LatestTicker { age: self.age(&cached), cached, stale }
    }

    fn request_error(&self, error: &RequestError, listed: &ListedMarket) -> MarketError {
        match error {
            RequestError::RateLimited(until) => {
                MarketError::UpstreamRateLimited { until: *until, retry_after: until.since(self.clock.now()) }
            }
            RequestError::UnknownSymbol => {
                MarketError::UnknownSymbol(format!("{} does not list {}", listed.exchange, listed.instrument.symbol))
            }
            RequestError::Offline | RequestError::Pending | RequestError::Failed(_) => unavailable(&error.to_string()),
        }
    }

    /// A page of instruments, ordered by exchange and symbol.
    ///
    /// # Errors
    /// `InvalidParameters` for an invalid cursor; `NotReady`, `StoreUnavailable`.
    pub async fn instruments(&self, query: &InstrumentQuery) -> Result<InstrumentPage, MarketError> {
        let after = match query.cursor.as_deref().map(parse_instrument_cursor) {
            None => None,
            Some(Some(after)) => Some(after),
            Some(None) => {
                let detail = "use `next_cursor` of the previous page".to_owned();
                return Err(MarketError::InvalidParameters(vec![InvalidParameter { parameter: "cursor", detail }]));
            }
        };
        let matches = |filter: &Option<String>, value: &str| {
            filter.as_deref().is_none_or(|filter| filter.eq_ignore_ascii_case(value))
        };
        let part = query.q.as_ref().map(|part| part.to_uppercase());
        let mut found = Vec::new();
        for exchange in self.exchanges.iter().copied().filter(|id| query.exchange.is_none_or(|filter| filter == *id)) {
            let listing = match self.listing(exchange).await {
                Ok((listing, _)) => listing,
                // A missing listing does not block the listings of other exchanges.
                Err(MarketError::NotReady(_)) if query.exchange.is_none() => continue,
                Err(error) => return Err(error),
            };
            let offset = after
                .as_ref()
                .map_or(0, |(id, last)| listing.all.partition_point(|one| (exchange, &one.symbol) <= (*id, last)));
            for (position, instrument) in listing.all.iter().skip(offset).enumerate() {
                if position % YIELD_EVERY == YIELD_EVERY - 1 {
                    tokio::task::yield_now().await;
                }
                let symbol = &instrument.symbol;
                let contains_text =
                    |part: &String| symbol.as_str().contains(part) || instrument.native.to_uppercase().contains(part);
                if query.kind.is_none_or(|kind| kind == instrument.kind())
                    && matches(&query.base, symbol.base())
                    && matches(&query.quote, symbol.quote())
                    && part.as_ref().is_none_or(contains_text)
                {
                    if found.len() == query.limit {
                        let next_cursor = found
                            .last()
                            .map(|last: &Arc<crate::model::Instrument>| format!("{}:{}", last.exchange, last.symbol));
                        return Ok(InstrumentPage { instruments: found, next_cursor });
                    }
                    found.push(Arc::clone(instrument));
                }
            }
        }
        Ok(InstrumentPage { instruments: found, next_cursor: None })
    }

    /// A page of the coverage of a series.
    ///
    /// # Errors
    /// `UnsupportedInterval`, `StoreUnavailable`.
    pub async fn coverage(&self, listed: &ListedMarket, query: &CoverageQuery) -> Result<CoveragePage, MarketError> {
        let CoverageQuery { interval, range, limit, .. } = *query;
        self.check_interval(listed, interval).await?;
        let series = listed.series(interval);
        let known = self.stores.select(listed.simulated).coverage_page(&series, range, limit + 1).await?;
        let more = known.ranges().len() > limit as usize;
        let page_ranges = &known.ranges()[..known.ranges().len().min(limit as usize)];
        let first = page_ranges.first().filter(|_| !query.has_start).map(|first| first.range.start());
        let last = page_ranges.last().filter(|_| more).map(|last| last.range.end());
        let page = TimeRange::new(first.unwrap_or(range.start()), last.unwrap_or(range.end()));
        let closed = TimeRange::new(page.start(), page.end().min(interval.floor(self.exchange_now(listed.exchange))));
        Ok(CoveragePage {
            listed: listed.clone(),
            interval,
            complete: known.is_complete(closed),
            next_cursor: last.map(|last| query.cursor(last)),
            coverage: known.within(page),
        })
    }

    /// Whether no closed part of a range is unknown or unavailable.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn is_complete(
        &self,
        listed: &ListedMarket,
        interval: Interval,
        range: TimeRange,
    ) -> Result<bool, MarketError> {
        let closed = TimeRange::new(range.start(), range.end().min(interval.floor(self.exchange_now(listed.exchange))));
        let series = listed.series(interval);
        Ok(self.stores.select(listed.simulated).coverage(&series, closed).await?.is_complete(closed))
    }

    /// Checks that the exchange has candles of this interval.
    ///
    /// # Errors
    /// `UnsupportedInterval`.
    pub async fn check_interval(&self, listed: &ListedMarket, interval: Interval) -> Result<(), MarketError> {
        let Some(state) = self.state(listed.exchange).await else { return Ok(()) };
        if state.intervals.contains(&interval) {
            return Ok(());
        }
        let has = state.intervals.iter().map(|interval| interval.as_str()).collect::<Vec<_>>().join(", ");
        Err(MarketError::UnsupportedInterval(format!("{} has no candles of {interval}; it has {has}", listed.exchange)))
    }

    /// Upper bound of the exchange's current time, as measured by its collector. An upper bound, because a candle that
    /// may be closed and is not known counts as a gap.
    #[must_use]
    pub fn exchange_now(&self, exchange: ExchangeId) -> Timestamp {
        self.cache.states.exchange_time(exchange).unwrap_or_else(|| self.clock.now())
    }

    /// The states of all enabled exchanges, in registry order.
    pub async fn exchanges(&self) -> Vec<Arc<ExchangeState>> {
        let mut states = Vec::with_capacity(self.exchanges.len());
        for exchange in &self.exchanges {
            states.push(match self.state(*exchange).await {
                Some(state) => state,
                None => Arc::new(ExchangeState::initial(*exchange, self.clock.now())),
            });
        }
        states
    }

    /// Number of further markets of the exchange that can be collected on demand; `None` if this market is already
    /// collected.
    pub async fn demand_capacity(&self, listed: &ListedMarket) -> Option<usize> {
        let state = self.state(listed.exchange).await?;
        let collected = state.symbols.binary_search(&listed.instrument.symbol).is_ok();
        (!collected).then_some(state.on_demand_capacity)
    }

    /// The health of the service.
    pub async fn health(&self) -> Health {
        let exchanges = self.exchanges().await;
        let mut degraded = Vec::new();
        // A health check must be fast even if the store hangs.
        let ping = Clock::system().timeout(PING_TIMEOUT, self.stores.real.ping()).await;
        if !matches!(ping, Ok(Ok(()))) {
            degraded.push("store".to_owned());
        }
        if self.cache.states.all().await.is_err() {
            degraded.push("cache".to_owned());
        }
        let is_degraded = |state: &&Arc<ExchangeState>| !matches!(state.state, FeedState::Live | FeedState::Simulated);
        degraded.extend(exchanges.iter().filter(is_degraded).map(|state| state.exchange.to_string()));
        Health { uptime: self.clock.elapsed().saturating_sub(self.started), degraded, exchanges }
    }
}

/// Result of a search for a market.
enum SearchResult {
    Found(ListedMarket),
    /// No listing contains the symbol; holds the searched listings.
    Unlisted(Vec<(ExchangeId, Arc<ListingIndex>)>),
}

fn unknown_symbol(exchange: Option<&str>, symbol: &str, similar: &[String]) -> MarketError {
    let subject =
        exchange.map_or_else(|| "no enabled exchange lists".to_owned(), |name| format!("{name} does not list"));
    let hint = match symbol.parse::<Symbol>() {
        Err(error) if error != BadSymbol::Format => format!(": {error}"),
        _ if similar.is_empty() => String::new(),
        _ => format!("; did you mean {}?", similar.join(", ")),
    };
    MarketError::UnknownSymbol(format!("{subject} `{symbol}`{hint}"))
}

fn parse_instrument_cursor(text: &str) -> Option<(ExchangeId, Symbol)> {
    let (exchange, symbol) = text.split_once(':')?;
    Some((exchange.parse().ok()?, symbol.parse().ok()?))
}

fn unavailable(detail: &str) -> MarketError {
    MarketError::UpstreamUnavailable { detail: detail.to_owned(), retry_after: RETRY_AFTER }
}

impl From<StoreError> for MarketError {
    fn from(error: StoreError) -> Self {
        Self::StoreUnavailable(error.to_string())
    }
}
