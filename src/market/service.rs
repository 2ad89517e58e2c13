//! The market itself: finds what is asked for, and answers all but history, which has a file of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::directory::{Directory, Listing};
use super::hints::Hints;
use super::share::Shares;
use super::{
    ClientId, CoverageAnswer, Health, InstrumentPage, InstrumentQuery, InvalidParameter, LedgerQuery, Listed,
    MarketError, TickerAnswer, UpstreamCost,
};
use crate::cache::{Answer, Cache, KeptTicker, Question, RequestError};
use crate::clock::Clock;
use crate::model::{ExchangeId, ExchangeState, FeedState, Interval, Source, Symbol, TimeRange, Timestamp};
use crate::store::{CandleStore, StoreError};

/// How long an answer may wait for a collector.
pub(super) const ASK_BUDGET: Duration = Duration::from_secs(2);

/// How long a ticker that was asked for is good.
const TICKER_KEPT: Duration = Duration::from_secs(2);

/// The store is in trouble when it does not say a word within so long.
const PING_PATIENCE: Duration = Duration::from_secs(1);

/// How many entries of a listing are looked at before others have their turn.
const AT_ONCE: usize = 512;

/// How long to wait before asking again when nobody knows better.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The stores: the real one, and the one of simulated exchanges, which never meet.
#[derive(Clone)]
pub struct Stores {
    pub kept: Arc<dyn CandleStore>,
    pub simulated: Option<Arc<dyn CandleStore>>,
}

impl Stores {
    /// The store of an exchange's candles.
    #[must_use]
    pub fn of(&self, simulated: bool) -> &Arc<dyn CandleStore> {
        self.simulated.as_ref().filter(|_| simulated).unwrap_or(&self.kept)
    }
}

/// Answers the questions of every door.
pub struct Market {
    pub(super) stores: Stores,
    pub(super) cache: Cache,
    pub(super) clock: Clock,
    directory: Directory,
    hints: Hints,
    /// The enabled exchanges in registry order.
    exchanges: Vec<ExchangeId>,
    started: Duration,
    shares: Shares,
}

impl Market {
    /// A market of the enabled exchanges.
    #[must_use]
    pub fn new(mut exchanges: Vec<ExchangeId>, stores: Stores, cache: Cache, clock: Clock) -> Self {
        exchanges.sort_unstable();
        let started = clock.elapsed();
        let shares = Shares::new(clock.clone(), Arc::clone(&cache.limits));
        let directory = Directory::default();
        Self { stores, cache, clock, directory, hints: Hints::new(), exchanges, started, shares }
    }

    /// The same; each client is charged for what it causes at the exchanges, and holds at most a share of their limits.
    #[must_use]
    pub fn with_costs(mut self, costs: HashMap<ExchangeId, UpstreamCost>) -> Self {
        self.shares.set_costs(costs);
        self
    }

    /// Charges a client for a question that the exchange is asked because of it.
    pub(super) async fn charge(
        &self,
        client: &ClientId,
        question: &Question,
        unknown: &[TimeRange],
    ) -> Result<(), MarketError> {
        let exchange = question.exchange();
        let Some(cost) = self.shares.cost(exchange) else { return Ok(()) };
        let weight = match question {
            Question::Ticker { .. } => cost.page_weight,
            Question::Candles { series, .. } => cost.of_candles(series.interval, unknown),
        };
        self.shares.charge(client, question, weight).await.map_err(|retry_after| {
            let detail = format!(
                "you have used your share of what {exchange} allows: {} of request weight in a minute; what is known here \
                 already is answered all the same",
                cost.share()
            );
            MarketError::TooMany { detail, retry_after }
        })
    }

    /// Refuses a range that is to be sent as a whole if fetching what is unknown of it would cost more than a client's share.
    ///
    /// # Errors
    /// `RangeTooLarge`, `UnsupportedInterval`, `StoreUnavailable`.
    pub async fn check_range(&self, listed: &Listed, interval: Interval, range: TimeRange) -> Result<(), MarketError> {
        self.check_interval(listed, interval).await?;
        let Some(cost) = self.shares.cost(listed.exchange) else { return Ok(()) };
        let closed = TimeRange::new(range.start(), range.end().min(interval.floor(self.clock.now())));
        let series = super::history::series(listed, interval);
        let unknown = self.stores.of(listed.simulated).coverage(&series, closed).await?.unknown(closed);
        let weight = cost.of_candles(interval, &unknown);
        if weight <= cost.share() {
            return Ok(());
        }
        let (from, to) = (unknown.first().map(|one| one.start()), unknown.last().map(|one| one.end()));
        let (from, to) = (from.unwrap_or(closed.start()), to.unwrap_or(closed.end()));
        Err(MarketError::RangeTooLarge(format!(
            "{interval} candles of {} on {} are not known here in all of {from} to {to}, and fetching them would cost {weight} of \
             request weight, more than the {} that one client may cause in a minute: fetch them with `POST /v1/backfills` or \
             `candlewick backfill`, or ask for a shorter range",
            listed.instrument.symbol,
            listed.exchange,
            cost.share()
        )))
    }

    /// Finds a market by any spelling of its symbol, or by the exchange's own id. Without an exchange, the first
    /// enabled one that trades it, in registry order, else the first that lists it, else the first that listed it. Where
    /// none does, the error names symbols that may have been meant.
    ///
    /// # Errors
    /// `InvalidParameters`, `UnknownExchange`, `UnknownSymbol`, `NotReady`.
    pub async fn find(&self, exchange: Option<&str>, symbol: &str) -> Result<Listed, MarketError> {
        let listings = match self.search(exchange, symbol).await? {
            Searched::Found(listed) => return Ok(listed),
            Searched::Unlisted(listings) => listings,
        };
        Err(unlisted(exchange, symbol, &self.hints.near(listings, symbol).await))
    }

    /// The same without a hint, for lists of symbols.
    ///
    /// # Errors
    /// As [`Market::find`].
    pub async fn find_one_of_many(&self, exchange: Option<&str>, symbol: &str) -> Result<Listed, MarketError> {
        match self.search(exchange, symbol).await? {
            Searched::Found(listed) => Ok(listed),
            Searched::Unlisted(_) => Err(unlisted(exchange, symbol, &[])),
        }
    }

    async fn search(&self, exchange: Option<&str>, symbol: &str) -> Result<Searched, MarketError> {
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
        let (mut searched, mut waiting, mut idle) = (Vec::new(), None, None);
        for exchange in candidates {
            match self.listing(exchange).await {
                Ok((listing, state)) => match listing.find(parsed.as_ref().ok(), symbol) {
                    Some(instrument) => {
                        let instrument = Arc::clone(instrument);
                        let listed = Listed { exchange, instrument, simulated: state.simulated };
                        if listed.instrument.is_trading() {
                            return Ok(Searched::Found(listed));
                        }
                        let better = |one: &Listed| one.instrument.is_delisted() && !listed.instrument.is_delisted();
                        if idle.as_ref().is_none_or(better) {
                            idle = Some(listed);
                        }
                    }
                    None => searched.push((exchange, listing)),
                },
                Err(error @ MarketError::NotReady(_)) => waiting = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let Some(idle) = idle {
            return Ok(Searched::Found(idle));
        }
        // As long as a listing is missing nobody can say that the symbol is unknown.
        if let Some(error) = waiting {
            return Err(error);
        }
        Ok(Searched::Unlisted(searched))
    }

    /// The enabled exchange of that name.
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

    async fn listing(&self, exchange: ExchangeId) -> Result<(Arc<Listing>, Arc<ExchangeState>), MarketError> {
        let not_ready = |why: &str| MarketError::NotReady(format!("the listing of {exchange} is not known yet: {why}"));
        let state = self.state(exchange).await.ok_or_else(|| not_ready("it is being connected"))?;
        let Some(read_at) = state.listed_at else {
            return Err(not_ready(state.detail.as_deref().unwrap_or("it is being read")));
        };
        let store = self.stores.of(state.simulated);
        let listing = self.directory.get(exchange, &**store, state.simulated, read_at).await?;
        Ok((listing, state))
    }

    /// What the collector of an exchange said last.
    pub(super) async fn state(&self, exchange: ExchangeId) -> Option<Arc<ExchangeState>> {
        self.cache.states.get(exchange).await.ok().flatten()
    }

    /// The latest ticker; from memory where it is live, else asked from the exchange.
    ///
    /// # Errors
    /// `TooMany`, `UpstreamUnavailable`, `UpstreamRateLimited`.
    pub async fn ticker(&self, listed: &Listed, client: &ClientId) -> Result<TickerAnswer, MarketError> {
        let (exchange, symbol) = (listed.exchange, &listed.instrument.symbol);
        let state = self.state(exchange).await;
        let flows = state.as_ref().is_some_and(|state| state.flows(self.clock.now()));
        let collected = state.as_ref().is_some_and(|state| state.symbols.binary_search(symbol).is_ok());
        let kept = self.cache.tickers.get(exchange, symbol).await.ok().flatten();
        if let Some(kept) = &kept {
            let streams = collected && kept.ticker.source == Source::Stream;
            if (streams && flows) || self.age(kept) <= TICKER_KEPT {
                return Ok(self.answer(kept.clone(), streams && !flows));
            }
        }
        let question = Question::Ticker { exchange, symbol: symbol.clone() };
        if let Err(refused) = self.charge(client, &question, &[]).await {
            return kept.map_or(Err(refused), |kept| Ok(self.answer(kept, true)));
        }
        match self.cache.requests.ask(question, ASK_BUDGET).await {
            Ok(Answer::Ticker(asked)) => Ok(self.answer(asked, false)),
            Err(error @ RequestError::UnknownSymbol) => Err(self.refused(&error, listed)),
            // An old value that says its age is better than none.
            Ok(Answer::Stored) | Err(_) if kept.is_some() => {
                Ok(self.answer(kept.ok_or_else(|| unavailable("no ticker"))?, true))
            }
            Ok(Answer::Stored) => Err(unavailable("the collector gave no ticker")),
            Err(error) => Err(self.refused(&error, listed)),
        }
    }

    fn age(&self, kept: &KeptTicker) -> Duration {
        self.clock.now().since(kept.ticker.received_at)
    }

    fn answer(&self, kept: KeptTicker, stale: bool) -> TickerAnswer {
        TickerAnswer { age: self.age(&kept), kept, stale }
    }

    fn refused(&self, error: &RequestError, listed: &Listed) -> MarketError {
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
    /// `InvalidParameters` for a cursor that is none.
    pub async fn instruments(&self, query: &InstrumentQuery) -> Result<InstrumentPage, MarketError> {
        let after = match query.cursor.as_deref().map(parse_instrument_cursor) {
            None => None,
            Some(Some(after)) => Some(after),
            Some(None) => {
                let detail = "take `next_cursor` from the previous page".to_owned();
                return Err(MarketError::InvalidParameters(vec![InvalidParameter { parameter: "cursor", detail }]));
            }
        };
        let same =
            |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(is));
        let part = query.q.as_ref().map(|part| part.to_uppercase());
        let mut found = Vec::new();
        for exchange in self.exchanges.iter().copied().filter(|id| query.exchange.is_none_or(|wanted| wanted == *id)) {
            let listing = match self.listing(exchange).await {
                Ok((listing, _)) => listing,
                // Others can be listed while one is not known yet.
                Err(MarketError::NotReady(_)) if query.exchange.is_none() => continue,
                Err(error) => return Err(error),
            };
            // Where the page before ended.
            let skipped = after
                .as_ref()
                .map_or(0, |(id, last)| listing.all.partition_point(|one| (exchange, &one.symbol) <= (*id, last)));
            for (looked_at, instrument) in listing.all.iter().skip(skipped).enumerate() {
                if looked_at % AT_ONCE == AT_ONCE - 1 {
                    // Others are served meanwhile.
                    tokio::task::yield_now().await;
                }
                let symbol = &instrument.symbol;
                let named =
                    |part: &String| symbol.as_str().contains(part) || instrument.native.to_uppercase().contains(part);
                if same(&query.base, symbol.base())
                    && same(&query.quote, symbol.quote())
                    && part.as_ref().is_none_or(named)
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

    /// A page of the ledger of a series.
    ///
    /// # Errors
    /// `UnsupportedInterval`, `StoreUnavailable`.
    pub async fn coverage(&self, listed: &Listed, query: &LedgerQuery) -> Result<CoverageAnswer, MarketError> {
        let LedgerQuery { interval, range, limit, .. } = *query;
        self.check_interval(listed, interval).await?;
        let series = super::history::series(listed, interval);
        let known = self.stores.of(listed.simulated).ledger(&series, range, limit + 1).await?;
        let more = known.ranges().len() > limit as usize;
        let told = &known.ranges()[..known.ranges().len().min(limit as usize)];
        let first = told.first().filter(|_| !query.begins).map(|first| first.range.start());
        let last = told.last().filter(|_| more).map(|last| last.range.end());
        let page = TimeRange::new(first.unwrap_or(range.start()), last.unwrap_or(range.end()));
        let closed =
            TimeRange::new(page.start(), page.end().min(interval.floor(self.exchange_now(listed.exchange).await)));
        Ok(CoverageAnswer {
            listed: listed.clone(),
            interval,
            complete: known.completes(closed),
            next_cursor: last.map(|last| query.cursor(last)),
            coverage: known.within(page),
        })
    }

    /// Whether no closed time of a range is unknown or unavailable.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub async fn is_complete(
        &self,
        listed: &Listed,
        interval: Interval,
        range: TimeRange,
    ) -> Result<bool, MarketError> {
        let closed =
            TimeRange::new(range.start(), range.end().min(interval.floor(self.exchange_now(listed.exchange).await)));
        let series = super::history::series(listed, interval);
        Ok(self.stores.of(listed.simulated).coverage(&series, closed).await?.completes(closed))
    }

    /// Whether the exchange has candles of that interval.
    ///
    /// # Errors
    /// `UnsupportedInterval`.
    pub async fn check_interval(&self, listed: &Listed, interval: Interval) -> Result<(), MarketError> {
        let Some(state) = self.state(listed.exchange).await else { return Ok(()) };
        if state.intervals.contains(&interval) {
            return Ok(());
        }
        let has = state.intervals.iter().map(|interval| interval.as_str()).collect::<Vec<_>>().join(", ");
        Err(MarketError::UnsupportedInterval(format!("{} has no candles of {interval}; it has {has}", listed.exchange)))
    }

    /// The latest that it can be at an exchange, as its collector measured its clock: what may be closed and is not known is
    /// a gap.
    pub async fn exchange_now(&self, exchange: ExchangeId) -> Timestamp {
        let now = self.clock.now().millis();
        let clock = self.state(exchange).await.and_then(|state| state.clock);
        let ahead = clock.map_or(0, |clock| clock.doubt_ms + if clock.known { clock.offset_ms } else { 0 });
        Timestamp::from_millis(now.saturating_add(ahead))
    }

    /// The states of all enabled exchanges, in registry order.
    pub async fn exchanges(&self) -> Vec<Arc<ExchangeState>> {
        let mut states = Vec::with_capacity(self.exchanges.len());
        for exchange in &self.exchanges {
            states.push(match self.state(*exchange).await {
                Some(state) => state,
                None => Arc::new(ExchangeState::unheard(*exchange, self.clock.now())),
            });
        }
        states
    }

    /// How many more markets of an exchange can be collected because someone asks; `None` for one that is collected already.
    pub async fn room_for(&self, listed: &Listed) -> Option<usize> {
        let state = self.state(listed.exchange).await?;
        let collected = state.symbols.binary_search(&listed.instrument.symbol).is_ok();
        (!collected).then_some(state.room)
    }

    /// How the whole is doing.
    pub async fn health(&self) -> Health {
        let exchanges = self.exchanges().await;
        let mut degraded = Vec::new();
        // Whoever asks how we are does not wait long to hear that something does not answer.
        let answers = Clock::system().timeout(PING_PATIENCE, self.stores.kept.ping()).await;
        if !matches!(answers, Ok(Ok(()))) {
            degraded.push("store".to_owned());
        }
        if self.cache.states.all().await.is_err() {
            degraded.push("cache".to_owned());
        }
        let fails = |state: &&Arc<ExchangeState>| !matches!(state.state, FeedState::Live | FeedState::Simulated);
        degraded.extend(exchanges.iter().filter(fails).map(|state| state.exchange.to_string()));
        Health { uptime: self.clock.elapsed().saturating_sub(self.started), degraded, exchanges }
    }
}

/// What a search for a market gives.
enum Searched {
    Found(Listed),
    /// All listings that were searched.
    Unlisted(Vec<(ExchangeId, Arc<Listing>)>),
}

fn unlisted(exchange: Option<&str>, symbol: &str, near: &[String]) -> MarketError {
    let place = exchange.map_or_else(|| "no enabled exchange lists".to_owned(), |name| format!("{name} does not list"));
    let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
    MarketError::UnknownSymbol(format!("{place} `{symbol}`{hint}"))
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
