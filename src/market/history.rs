//! Pages of candles: stored candles merged with live ones. Unknown ranges are requested from the collector.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};

use super::fill::{FillRequest, Filled, fill};
use super::service::REQUEST_BUDGET;
use super::{
    CandleQuery, ClientId, Direction, Fill, HISTORY_LIMIT_MAX, HistoryGap, HistoryGapReason, HistoryPage, ListedMarket,
    MarketError, MarketService,
};
use crate::cache::{CollectorRequest, RequestError};
use crate::model::{
    CANDLE_GRACE_PERIOD, Candle, Coverage, CoverageState, CoveredRange, Interval, Series, TimeRange, Timestamp,
    aggregate,
};
use crate::store::{StoredPage, Take};

/// Maximum number of collector requests per page. Each one requests another range.
const MAX_REQUESTS: usize = 8;

/// The data that are available for a page at one moment.
struct PageDraft {
    /// Ascending, at most `limit`, inside `page`.
    candles: Vec<Candle>,
    /// Open times of the candles without trades.
    filled: BTreeSet<Timestamp>,
    /// The time that the page covers.
    page: TimeRange,
    coverage: Coverage,
    /// The closed part of `page`.
    closed: TimeRange,
    /// Whether the requested range has candles outside `page`.
    has_more: bool,
}

impl MarketService {
    /// Returns one page of candles. Requests unknown ranges from the collector within a time budget.
    ///
    /// # Errors
    /// `UnsupportedInterval`, `TooManyRequests`, `StoreUnavailable`.
    pub async fn history(
        &self,
        listed: &ListedMarket,
        query: &CandleQuery,
        client: &ClientId,
    ) -> Result<HistoryPage, MarketError> {
        self.check_interval(listed, query.interval).await?;
        let series = listed.series(query.interval);
        let deadline = self.clock.now() + REQUEST_BUDGET;
        let mut requested: Vec<TimeRange> = Vec::new();
        let mut unknown_reason = HistoryGapReason::Pending;
        let draft = loop {
            let draft = self.draft(listed, &series, query).await?;
            let now = self.exchange_now(listed.exchange);
            let Some(missing_range) = draft.missing_range(query, now) else { break draft };
            let remaining = deadline.since(self.clock.now());
            if remaining.is_zero()
                || unknown_reason != HistoryGapReason::Pending
                || requested.len() == MAX_REQUESTS
                || requested.contains(&missing_range)
            {
                break draft;
            }
            let request = CollectorRequest::Candles { series: series.clone(), range: missing_range };
            match self.charge(client, &request, &draft.coverage.unknown_ranges(missing_range)).await {
                Ok(()) => {}
                // The quota is used up: return the data that are available.
                Err(_) if !requested.is_empty() || !draft.candles.is_empty() => {
                    unknown_reason = HistoryGapReason::Offline;
                    break draft;
                }
                Err(rejected) => return Err(rejected),
            }
            requested.push(missing_range);
            match self.cache.requests.request(request, remaining).await {
                Ok(_) => {}
                Err(RequestError::Pending) => break self.draft(listed, &series, query).await?,
                // The exchange does not know the symbol: a retry cannot help.
                Err(RequestError::UnknownSymbol) => unknown_reason = HistoryGapReason::Unavailable,
                Err(_) => unknown_reason = HistoryGapReason::Offline,
            }
        };
        Ok(draft.into_page(listed, query, unknown_reason))
    }

    /// Streams all pages of a range in order, each with at most [`HISTORY_LIMIT_MAX`] candles.
    pub fn history_pages(
        self: Arc<Self>,
        listed: ListedMarket,
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

    async fn draft(
        &self,
        listed: &ListedMarket,
        series: &Series,
        query: &CandleQuery,
    ) -> Result<PageDraft, MarketError> {
        let interval = series.interval;
        let now = self.exchange_now(listed.exchange);
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
        let has_more = candles.len() > limit;
        let page = match query.direction {
            Direction::Forward => {
                candles.truncate(limit);
                let end = candles.last().filter(|_| has_more).map_or(range.end(), |last| interval.next(last.timestamp));
                TimeRange::new(range.start(), end)
            }
            Direction::Backward => {
                candles.drain(..candles.len().saturating_sub(limit));
                let start = candles.first().filter(|_| has_more).map_or(range.start(), |first| first.timestamp);
                TimeRange::new(start, range.end())
            }
        };
        let closed = TimeRange::new(page.start(), page.end().min(interval.floor(now)));
        Ok(PageDraft { candles, filled, page, coverage, closed, has_more })
    }

    /// Stored candles of a range, completed with live ones. A stored candle takes precedence.
    async fn rows(
        &self,
        listed: &ListedMarket,
        series: &Series,
        range: TimeRange,
        take: Take,
        now: Timestamp,
    ) -> Result<(BTreeMap<Timestamp, Candle>, Coverage), MarketError> {
        let store = self.stores.select(listed.simulated);
        let StoredPage { candles, mut coverage } = store.page(series, range, take).await?;
        let mut rows: BTreeMap<Timestamp, Candle> = candles.into_iter().map(|row| (row.timestamp, row)).collect();
        for live in self.live(listed, series, range, now).await? {
            if live.closed {
                let range = series.interval.span(live.timestamp);
                coverage.add(CoveredRange { range, state: CoverageState::Observed });
            }
            rows.entry(live.timestamp).or_insert(live);
        }
        Ok((rows, coverage))
    }

    /// Candles including flat ones, up to one more than the page limit.
    async fn filled(
        &self,
        listed: &ListedMarket,
        series: &Series,
        query: &CandleQuery,
        range: TimeRange,
        (mut rows, coverage): (BTreeMap<Timestamp, Candle>, &Coverage),
    ) -> Result<Filled, MarketError> {
        let (interval, now) = (series.interval, self.exchange_now(listed.exchange));
        let first = coverage.ranges().first().filter(|first| first.range.contains(range.start()));
        let starts_empty = first.is_some_and(|first| first.state == CoverageState::Empty);
        let mut coverage = coverage.clone();
        if starts_empty && range.start() > Timestamp::EPOCH && !rows.contains_key(&range.start()) {
            // The range starts without trades: its price is the close of the last candle before it.
            let earlier = TimeRange::new(Timestamp::EPOCH, range.start());
            let (mut before, known) = self.rows(listed, series, earlier, Take::Last(1), now).await?;
            if let Some((at, last)) = before.pop_last() {
                rows.insert(at, last);
                known.ranges().iter().for_each(|known| coverage.add(*known));
            }
        }
        let fill_request = FillRequest {
            interval,
            range,
            closed_until: interval.floor(now),
            direction: query.direction,
            limit: query.limit as usize + 1,
        };
        let candles: Vec<Candle> = rows.into_values().collect();
        Ok(fill(&fill_request, &candles, &coverage))
    }

    /// Candles that may not be stored yet: recently closed ones and the open one.
    async fn live(
        &self,
        listed: &ListedMarket,
        series: &Series,
        range: TimeRange,
        now: Timestamp,
    ) -> Result<Vec<Candle>, MarketError> {
        // If the cache is unavailable, only stored candles are used.
        let mut live = self.cache.candles.get(series, range).await.unwrap_or_default();
        let open = series.interval.floor(now);
        live.retain(|candle| candle.closed || candle.timestamp >= open);
        let derives = series.interval > Interval::M1 && series.interval <= Interval::D1;
        if derives && range.contains(open) && !live.iter().any(|candle| candle.timestamp == open) {
            live.extend(self.open_candle(listed, series, open, now).await?);
        }
        Ok(live)
    }

    /// The open candle of a longer interval, derived from its minutes if all of them are known.
    async fn open_candle(
        &self,
        listed: &ListedMarket,
        series: &Series,
        open: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Candle>, MarketError> {
        let minutes = Series { interval: Interval::M1, ..series.clone() };
        let span = series.interval.span(open);
        let recent = self.cache.candles.get(&minutes, span).await.unwrap_or_default();
        // A market without trades in the current minute has no open minute candle.
        let current = recent.last().filter(|last| !last.closed).map(|current| current.timestamp);
        let earlier =
            TimeRange::new(open, current.map_or_else(|| Interval::M1.floor(now), |at| Interval::M1.floor(now).min(at)));
        let store = self.stores.select(listed.simulated);
        // The limit is larger than the number of minutes of a day.
        let StoredPage { candles, mut coverage } = store.page(&minutes, earlier, Take::Last(HISTORY_LIMIT_MAX)).await?;
        let mut rows: BTreeMap<Timestamp, Candle> = candles.into_iter().map(|row| (row.timestamp, row)).collect();
        for candle in recent {
            if candle.closed {
                coverage
                    .add(CoveredRange { range: Interval::M1.span(candle.timestamp), state: CoverageState::Observed });
            }
            rows.entry(candle.timestamp).or_insert(candle);
        }
        let parts: Vec<Candle> = rows.into_values().collect();
        let candle = if coverage.is_complete(earlier) { aggregate(open, &parts) } else { None };
        Ok(candle.map(|candle| Candle { closed: false, ..candle }))
    }
}

impl PageDraft {
    /// The range to request for a complete page: starts at the first unknown range in page direction and is limited to
    /// the page size. `None` if nothing is unknown or can be fetched yet.
    fn missing_range(&self, query: &CandleQuery, now: Timestamp) -> Option<TimeRange> {
        let interval = query.interval;
        let fetchable =
            TimeRange::new(self.closed.start(), self.closed.end().min(interval.floor(now - CANDLE_GRACE_PERIOD)));
        let unknown_ranges = self.coverage.unknown_ranges(fetchable);
        let (first, last) = (unknown_ranges.first()?, unknown_ranges.last()?);
        Some(match query.direction {
            Direction::Forward => {
                TimeRange::new(first.start(), last.end().min(interval.forward(first.start(), query.limit)))
            }
            Direction::Backward => {
                TimeRange::new(first.start().max(interval.back(last.end(), query.limit)), last.end())
            }
        })
    }

    fn into_page(
        mut self,
        listed: &ListedMarket,
        query: &CandleQuery,
        unknown_reason: HistoryGapReason,
    ) -> HistoryPage {
        let interval = query.interval;
        let unknown_ranges = self.coverage.unknown_ranges(self.closed);
        let requested = self.page;
        // A page that is not full and has unknown ranges is cut where `limit` candles could have ended.
        if let (Some(first), Some(last), false) = (unknown_ranges.first(), unknown_ranges.last(), self.has_more) {
            self.page = match query.direction {
                Direction::Forward => {
                    TimeRange::new(requested.start(), requested.end().min(interval.forward(first.start(), query.limit)))
                }
                Direction::Backward => {
                    TimeRange::new(requested.start().max(interval.back(last.end(), query.limit)), requested.end())
                }
            };
            self.candles.retain(|candle| self.page.contains(candle.timestamp));
            self.closed = self.closed.intersection(self.page);
        }
        self.filled.retain(|open| self.page.contains(*open));
        let mut gaps: Vec<HistoryGap> = self
            .coverage
            .unknown_ranges(self.closed)
            .into_iter()
            .map(|range| HistoryGap { range, reason: unknown_reason })
            .chain(self.coverage.within(self.closed).ranges().iter().filter_map(|known| {
                HistoryGapReason::from_state(known.state).map(|reason| HistoryGap { range: known.range, reason })
            }))
            .collect();
        gaps.sort_by_key(|gap| gap.range.start());
        let next_cursor = match query.direction {
            Direction::Forward if self.has_more || self.page.end() < requested.end() => {
                Some(query.cursor(self.page.end()))
            }
            Direction::Backward if self.has_more || self.page.start() > requested.start() => {
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
