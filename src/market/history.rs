//! Pages of candles: the store overlaid with what is live, what is unknown asked for, and what the page knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};

use super::fill::{Filled, Wanted, fill};
use super::service::ASK_BUDGET;
use super::{
    CandleQuery, ClientId, Direction, Fill, HISTORY_LIMIT_MAX, HistoryGap, HistoryPage, HoleReason, Listed, Market,
    MarketError,
};
use crate::cache::{Question, RequestError};
use crate::model::{
    CLOSING_GRACE, Candle, Coverage, CoveredRange, Interval, Knowledge, Series, TimeRange, Timestamp, aggregate,
};
use crate::store::{StoredPage, Take};

/// How often one answer asks a collector; each time for more than it knew before.
const MAX_ASKS: usize = 8;

pub(super) fn series(listed: &Listed, interval: Interval) -> Series {
    Series { exchange: listed.exchange, symbol: listed.instrument.symbol.clone(), interval }
}

/// What is known for a page right now.
struct View {
    /// Ascending, at most `limit`, inside `page`.
    candles: Vec<Candle>,
    /// The open times of those that nobody traded.
    filled: BTreeSet<Timestamp>,
    /// The time that the page speaks of.
    page: TimeRange,
    /// What the ledger says of the page.
    coverage: Coverage,
    /// The closed part of the page.
    closed: TimeRange,
    /// Whether there is anything outside of the page.
    more: bool,
}

impl Market {
    /// One page of candles. What is unknown is asked for within a time budget.
    ///
    /// # Errors
    /// `UnsupportedInterval`, `TooMany`, `StoreUnavailable`.
    pub async fn history(
        &self,
        listed: &Listed,
        query: &CandleQuery,
        client: &ClientId,
    ) -> Result<HistoryPage, MarketError> {
        self.check_interval(listed, query.interval).await?;
        let series = series(listed, query.interval);
        let deadline = self.clock.now() + ASK_BUDGET;
        let mut asked: Vec<TimeRange> = Vec::new();
        let mut unknown = HoleReason::Pending;
        let view = loop {
            let view = self.view(listed, &series, query).await?;
            let Some(wish) = view.wish(query, self.exchange_now(listed.exchange).await) else { break view };
            let left = deadline.since(self.clock.now());
            if left.is_zero() || unknown != HoleReason::Pending || asked.len() == MAX_ASKS || asked.contains(&wish) {
                break view;
            }
            let question = Question::Candles { series: series.clone(), range: wish };
            match self.charge(client, &question, &view.coverage.unknown(wish)).await {
                Ok(()) => {}
                // What is known is an answer.
                Err(_) if !asked.is_empty() || !view.candles.is_empty() => {
                    unknown = HoleReason::Offline;
                    break view;
                }
                Err(refused) => return Err(refused),
            }
            asked.push(wish);
            match self.cache.requests.ask(question, left).await {
                Ok(_) => {}
                Err(RequestError::Pending) => break self.view(listed, &series, query).await?,
                // Nobody will ever give it.
                Err(RequestError::UnknownSymbol) => unknown = HoleReason::Unavailable,
                Err(_) => unknown = HoleReason::Offline,
            }
        };
        Ok(view.into_page(listed, query, unknown))
    }

    /// All pages of a range, in order, each of at most [`HISTORY_LIMIT_MAX`] candles.
    pub fn history_pages(
        self: Arc<Self>,
        listed: Listed,
        query: CandleQuery,
        client: ClientId,
    ) -> BoxStream<'static, Result<HistoryPage, MarketError>> {
        let query = CandleQuery { limit: HISTORY_LIMIT_MAX, direction: Direction::Forward, ..query };
        stream::try_unfold(Some(query), move |query| {
            let (market, listed, client) = (Arc::clone(&self), listed.clone(), client.clone());
            async move {
                let Some(query) = query else { return Ok(None) };
                let page = market.history(&listed, &query, &client).await?;
                let next = page.next_cursor.as_deref().and_then(|cursor| query.after(cursor));
                Ok(Some((page, next)))
            }
        })
        .boxed()
    }

    async fn view(&self, listed: &Listed, series: &Series, query: &CandleQuery) -> Result<View, MarketError> {
        let interval = series.interval;
        let now = self.exchange_now(listed.exchange).await;
        let range = TimeRange::new(interval.ceil(query.range.start()), interval.ceil(query.range.end()));
        let limit = query.limit as usize;
        let take = match query.direction {
            Direction::Forward => Take::First(query.limit + 1),
            Direction::Backward => Take::Last(query.limit + 1),
        };
        let (rows, coverage) = self.rows(listed, series, range, take, now).await?;
        let Filled { mut candles, flat: filled } = match query.fill {
            Fill::None => Filled { candles: rows.into_values().collect(), ..Filled::default() },
            Fill::Flat => self.filled(listed, series, query, range, (rows, &coverage)).await?,
        };
        let full = candles.len() > limit;
        let page = match query.direction {
            Direction::Forward => {
                candles.truncate(limit);
                let end = candles.last().filter(|_| full).map_or(range.end(), |last| interval.next(last.timestamp));
                TimeRange::new(range.start(), end)
            }
            Direction::Backward => {
                candles.drain(..candles.len().saturating_sub(limit));
                let start = candles.first().filter(|_| full).map_or(range.start(), |first| first.timestamp);
                TimeRange::new(start, range.end())
            }
        };
        let closed = TimeRange::new(page.start(), page.end().min(interval.floor(now)));
        Ok(View { candles, filled, page, coverage, closed, more: full })
    }

    /// What is stored of a range, and over it what is live.
    async fn rows(
        &self,
        listed: &Listed,
        series: &Series,
        range: TimeRange,
        take: Take,
        now: Timestamp,
    ) -> Result<(BTreeMap<Timestamp, Candle>, Coverage), MarketError> {
        let store = self.stores.of(listed.simulated);
        let StoredPage { candles, mut coverage } = store.page(series, range, take).await?;
        let mut rows: BTreeMap<Timestamp, Candle> = candles.into_iter().map(|row| (row.timestamp, row)).collect();
        for live in self.live(listed, series, range, now).await? {
            if live.closed {
                let range = series.interval.span(live.timestamp);
                coverage.add(CoveredRange { range, state: Knowledge::Observed });
            }
            rows.entry(live.timestamp).or_insert(live);
        }
        Ok((rows, coverage))
    }

    /// One candle more than the page may have, with those that nobody traded among them.
    async fn filled(
        &self,
        listed: &Listed,
        series: &Series,
        query: &CandleQuery,
        range: TimeRange,
        (mut rows, coverage): (BTreeMap<Timestamp, Candle>, &Coverage),
    ) -> Result<Filled, MarketError> {
        let (interval, now) = (series.interval, self.exchange_now(listed.exchange).await);
        let first = coverage.ranges().first().filter(|first| first.range.contains(range.start()));
        let quiet = first.is_some_and(|first| first.state == Knowledge::Empty);
        let mut coverage = coverage.clone();
        if quiet && range.start() > Timestamp::EPOCH && !rows.contains_key(&range.start()) {
            // The page begins in silence: the price is that of the last candle before it.
            let past = TimeRange::new(Timestamp::EPOCH, range.start());
            let (mut before, known) = self.rows(listed, series, past, Take::Last(1), now).await?;
            if let Some((at, last)) = before.pop_last() {
                rows.insert(at, last);
                known.ranges().iter().for_each(|known| coverage.add(*known));
            }
        }
        let wanted = Wanted {
            interval,
            range,
            closed: interval.floor(now),
            direction: query.direction,
            most: query.limit as usize + 1,
        };
        let candles: Vec<Candle> = rows.into_values().collect();
        Ok(fill(&wanted, &candles, &coverage))
    }

    /// Candles that the store may not have yet: closed ones on their way, and the one that is open.
    async fn live(
        &self,
        listed: &Listed,
        series: &Series,
        range: TimeRange,
        now: Timestamp,
    ) -> Result<Vec<Candle>, MarketError> {
        // Without the cache the answer is the store's alone.
        let mut live = self.cache.candles.get(series, range).await.unwrap_or_default();
        let open = series.interval.floor(now);
        live.retain(|candle| candle.closed || candle.timestamp >= open);
        let derives = series.interval > Interval::M1 && series.interval <= Interval::D1;
        if derives && range.contains(open) && !live.iter().any(|candle| candle.timestamp == open) {
            live.extend(self.open_candle(listed, series, open, now).await?);
        }
        Ok(live)
    }

    /// The open candle of a longer interval, made of its minutes where all of them are known.
    async fn open_candle(
        &self,
        listed: &Listed,
        series: &Series,
        open: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Candle>, MarketError> {
        let minutes = Series { interval: Interval::M1, ..series.clone() };
        let span = series.interval.span(open);
        let fresh = self.cache.candles.get(&minutes, span).await.unwrap_or_default();
        // Between two trades of a quiet market there is no open minute; those before are all that there is.
        let current = fresh.last().filter(|last| !last.closed).map(|current| current.timestamp);
        let past =
            TimeRange::new(open, current.map_or_else(|| Interval::M1.floor(now), |at| Interval::M1.floor(now).min(at)));
        let store = self.stores.of(listed.simulated);
        // A day has fewer minutes than that.
        let StoredPage { candles, mut coverage } = store.page(&minutes, past, Take::Last(HISTORY_LIMIT_MAX)).await?;
        let mut rows: BTreeMap<Timestamp, Candle> = candles.into_iter().map(|row| (row.timestamp, row)).collect();
        for candle in fresh {
            if candle.closed {
                coverage.add(CoveredRange { range: Interval::M1.span(candle.timestamp), state: Knowledge::Observed });
            }
            rows.entry(candle.timestamp).or_insert(candle);
        }
        let parts: Vec<Candle> = rows.into_values().collect();
        let whole = if coverage.completes(past) { aggregate(open, &parts) } else { None };
        Ok(whole.map(|whole| Candle { closed: false, ..whole }))
    }
}

impl View {
    /// What should be asked for to make the page whole: the unknown part nearest to where the page begins to be read.
    fn wish(&self, query: &CandleQuery, now: Timestamp) -> Option<TimeRange> {
        let interval = query.interval;
        let ripe = TimeRange::new(self.closed.start(), self.closed.end().min(interval.floor(now - CLOSING_GRACE)));
        let holes = self.coverage.unknown(ripe);
        let (first, last) = (holes.first()?, holes.last()?);
        Some(match query.direction {
            Direction::Forward => {
                TimeRange::new(first.start(), last.end().min(interval.forward(first.start(), query.limit)))
            }
            Direction::Backward => {
                TimeRange::new(first.start().max(interval.back(last.end(), query.limit)), last.end())
            }
        })
    }

    fn into_page(mut self, listed: &Listed, query: &CandleQuery, unknown: HoleReason) -> HistoryPage {
        let interval = query.interval;
        let holes = self.coverage.unknown(self.closed);
        let asked = self.page;
        // A page that is not full and does not know its time ends where its limit could have reached.
        if let (Some(first), Some(last), false) = (holes.first(), holes.last(), self.more) {
            self.page = match query.direction {
                Direction::Forward => {
                    TimeRange::new(asked.start(), asked.end().min(interval.forward(first.start(), query.limit)))
                }
                Direction::Backward => {
                    TimeRange::new(asked.start().max(interval.back(last.end(), query.limit)), asked.end())
                }
            };
            self.candles.retain(|candle| self.page.contains(candle.timestamp));
            self.closed = self.closed.intersection(self.page);
        }
        self.filled.retain(|open| self.page.contains(*open));
        let mut gaps: Vec<HistoryGap> = self
            .coverage
            .unknown(self.closed)
            .into_iter()
            .map(|range| HistoryGap { range, reason: unknown })
            .chain(self.coverage.within(self.closed).ranges().iter().filter_map(|known| {
                HoleReason::of(known.state).map(|reason| HistoryGap { range: known.range, reason })
            }))
            .collect();
        gaps.sort_by_key(|gap| gap.range.start());
        let next_cursor = match query.direction {
            Direction::Forward if self.more || self.page.end() < asked.end() => Some(query.cursor(self.page.end())),
            Direction::Backward if self.more || self.page.start() > asked.start() => {
                Some(query.cursor(self.page.start()))
            }
            _ => None,
        };
        HistoryPage {
            exchange: listed.exchange,
            symbol: listed.instrument.symbol.clone(),
            interval,
            simulated: listed.simulated,
            complete: gaps.is_empty(),
            gaps,
            next_cursor,
            candles: self.candles,
            filled: self.filled,
        }
    }
}
