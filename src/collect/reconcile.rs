//! Repairs stored history in the background: fills gaps, derives longer candles again, compares observed and derived
//! candles with the exchange's own, and rechecks doubtful coverage claims.
//!
//! Requests have [`Priority::Background`](crate::upstream::Priority) and go page by page, so that they do not delay
//! others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::derive::{DeriveMode, derive_candles};
use super::fill::{FillError, Filler};
use crate::model::{Candle, Coverage, CoverageState, CoveredRange, Instrument, Interval, Series, TimeRange, Timestamp};
use crate::store::Take;
use crate::telemetry::collect::{FetchFailed, GapsFound};

/// Pause between two runs.
const RUN_EVERY: Duration = Duration::from_mins(10);

/// Time from the start to the first run. By then the requests made at start have usually completed.
const FIRST_RUN_AFTER: Duration = Duration::from_mins(1);

/// Candles younger than this are left to the stream and to the repair queue.
const MIN_AGE: Duration = Duration::from_mins(10);

/// 1m candles are compared with the exchange's when the oldest one to compare has this age.
const COMPARE_MINUTES_AFTER: Duration = Duration::from_hours(1);

/// The same for longer candles.
const COMPARE_LONGER_AFTER: Duration = Duration::from_hours(24);

/// The first comparison after a start includes all 1m candles of this time, whatever their coverage state.
const FIRST_COMPARE_WINDOW: Duration = Duration::from_hours(2);

/// The first run derives the candles of this time again, because a crash or a store error may have prevented the
/// derivation after a change of a minute.
const FIRST_REDERIVE_WINDOW: Duration = Duration::from_hours(24);

/// The same for later runs.
const REDERIVE_WINDOW: Duration = Duration::from_hours(3);

/// Maximum number of markets in progress.
const MAX_CONCURRENT_MARKETS: usize = 4;

const DAY: Duration = Duration::from_hours(24);

/// How far back history is repaired and fetched.
#[derive(Clone, Copy, Debug)]
pub struct HistoryWindow {
    /// Gaps of collected history within these days are filled.
    pub repair_days: u32,
    /// These days of configured markets are fetched, even if nothing of them was collected.
    pub backfill_days: u32,
}

/// A market that is collected.
#[derive(Clone)]
pub struct CollectedMarket {
    pub instrument: Arc<Instrument>,
    /// Collected by configuration, not on demand.
    pub configured: bool,
}

/// Reconciles the stored candles of collected markets.
pub struct Reconciler {
    /// With background priority.
    pub filler: Filler,
    pub markets: watch::Receiver<Vec<CollectedMarket>>,
    pub window: HistoryWindow,
    pub recheck_queue: Arc<RecheckQueue>,
    /// Each series has been compared before this time since the start. Prevents repeated requests for candles that the
    /// exchange does not have.
    pub compared_until: Mutex<HashMap<Series, Timestamp>>,
    /// Ranges that were rechecked since the start.
    pub rechecked: Mutex<HashMap<Series, Coverage>>,
}

/// Fetched candles to fetch again, because a shorter candle within them was revised.
#[derive(Default)]
pub struct RecheckQueue(Mutex<HashMap<Series, Coverage>>);

impl RecheckQueue {
    /// Adds the candles of `range`.
    pub fn add(&self, series: &Series, range: TimeRange) {
        let part = CoveredRange { range, state: CoverageState::Unavailable };
        self.0.lock().entry(series.clone()).or_default().add(part);
    }

    fn take(&self, series: &Series) -> Coverage {
        self.0.lock().remove(series).unwrap_or_default()
    }
}

impl Reconciler {
    /// Reconciles all collected markets at intervals, forever.
    pub async fn run(self) {
        let (mut pause, mut rederive_window) = (FIRST_RUN_AFTER, FIRST_REDERIVE_WINDOW);
        loop {
            self.filler.clock.sleep(pause).await;
            pause = RUN_EVERY;
            let markets = self.markets.borrow().clone();
            let is_collected = |series: &Series| markets.iter().any(|market| market.instrument.symbol == series.symbol);
            self.compared_until.lock().retain(|series, _| is_collected(series));
            self.rechecked.lock().retain(|series, _| is_collected(series));
            stream::iter(&markets)
                .for_each_concurrent(MAX_CONCURRENT_MARKETS, |market| self.reconcile_market(market, rederive_window))
                .await;
            rederive_window = REDERIVE_WINDOW;
        }
    }

    async fn reconcile_market(
        &self,
        CollectedMarket { instrument: market, configured }: &CollectedMarket,
        rederive_window: Duration,
    ) {
        let series_of = |interval| Series { exchange: market.exchange, symbol: market.symbol.clone(), interval };
        let mut result = self.repair_gaps(&series_of(Interval::M1), market, *configured).await;
        if result.is_ok() {
            result = self.rederive(market, rederive_window).await;
        }
        for interval in self.filler.exchange.profile().intervals {
            if result.is_ok() {
                result = self.compare_with_exchange(&series_of(*interval), market).await;
            }
            if result.is_ok() {
                result = self.recheck_doubtful_claims(&series_of(*interval), market).await;
            }
        }
        // The next run does the rest.
        if let Err(error) = result {
            let (series, exchange) = (series_of(Interval::M1), market.exchange);
            FetchFailed { series: &series, exchange, error: &error, pause: RUN_EVERY }.emit();
        }
    }

    /// Fills gaps since the first known candle, and the days to backfill.
    async fn repair_gaps(&self, series: &Series, market: &Arc<Instrument>, configured: bool) -> Result<(), FillError> {
        let now = self.filler.clock.now();
        let since = |days: u32| Interval::M1.ceil(now - DAY * days);
        let HistoryWindow { repair_days, backfill_days } = self.window;
        let backfill_days = if configured { backfill_days } else { 0 };
        let backfill_from = since(backfill_days);
        let range = TimeRange::new(since(repair_days.max(backfill_days)), Interval::M1.floor(now - MIN_AGE));
        let known = self.filler.store.coverage(series, range).await?;
        let is_obtainable = |known: &&CoveredRange| !known.state.is_unobtainable();
        let first_known = known.ranges().iter().find(is_obtainable).map_or(range.end(), |first| first.range.start());
        let gaps = known.unknown_ranges(TimeRange::new(first_known.max(since(repair_days)), range.end()));
        if !gaps.is_empty() {
            GapsFound { series, exchange: series.exchange, gaps: &gaps }.emit();
        }
        let from = first_known.max(since(repair_days)).min(backfill_from);
        self.filler.run_pass(series, market, TimeRange::new(from, range.end().max(from)), |_| {}).await.map(drop)
    }

    /// Rechecks claims that may result from a bug of an older version or a failure of the exchange: implausibly long
    /// empty ranges once per start, and ranges with defective rows at each run.
    async fn recheck_doubtful_claims(&self, series: &Series, market: &Arc<Instrument>) -> Result<(), FillError> {
        let now = self.filler.clock.now();
        let window = TimeRange::new(series.interval.ceil(now - DAY * self.window.repair_days), now - MIN_AGE);
        let known = self.filler.store.coverage(series, window).await?;
        let done = self.rechecked.lock().get(series).cloned().unwrap_or_default();
        for doubtful in doubtful_ranges(series.interval, &known) {
            for range in done.unknown_ranges(doubtful) {
                if self.filler.recheck(series, market, range, CoverageState::has_candle).await?.is_some() {
                    // Not decided yet: the next run tries again.
                    continue;
                }
                // Ranges with defective rows are rechecked at each run: the exchange may correct them.
                for empty in known.within(range).ranges().iter().filter(|known| known.state == CoverageState::Empty) {
                    let rechecked = CoveredRange { range: empty.range, state: CoverageState::Fetched };
                    self.rechecked.lock().entry(series.clone()).or_default().add(rechecked);
                }
            }
        }
        Ok(())
    }

    /// Derives candles of up to one day that closed within `window` again, and writes those that differ.
    async fn rederive(&self, market: &Arc<Instrument>, window: Duration) -> Result<(), FillError> {
        let now = self.filler.clock.now();
        let store = &*self.filler.store;
        for interval in Interval::ALL.into_iter().filter(|one| (Interval::M3..=Interval::D1).contains(one)) {
            let series = Series { exchange: market.exchange, symbol: market.symbol.clone(), interval };
            let range = TimeRange::new(interval.floor(now - window), interval.floor(now));
            for mut write in derive_candles(store, &series, Interval::M1, range, DeriveMode::Rederive).await? {
                let stored = store.candles(&series, range, Take::First(u32::MAX)).await?;
                let is_stored = |candle: &Candle| {
                    let stored =
                        stored.binary_search_by_key(&candle.timestamp, |stored| stored.timestamp).map(|at| stored[at]);
                    stored.is_ok_and(|stored| stored.same_values(candle))
                };
                write.candles.retain(|candle| !is_stored(candle));
                write.claims.retain(|claim| write.candles.iter().any(|candle| claim.range.contains(candle.timestamp)));
                if !write.candles.is_empty() {
                    self.filler.writer.write(write).await?;
                }
            }
        }
        Ok(())
    }

    /// Fetches observed, derived and queued candles from the exchange. Where the exchange's candle differs, it replaces
    /// the stored one, and the store increments the revision.
    async fn compare_with_exchange(&self, series: &Series, market: &Arc<Instrument>) -> Result<(), FillError> {
        let interval = series.interval;
        let now = self.filler.clock.now();
        let end = interval.floor(now - MIN_AGE);
        let window_start = interval.ceil(now - DAY * self.window.repair_days);
        let earlier = self.compared_until.lock().get(series).copied();
        let start = earlier.unwrap_or(window_start).max(window_start);
        let range = TimeRange::new(start.min(end), end);
        let known = self.filler.store.coverage(series, range).await?;
        let mut ranges = ranges_to_compare(&known);
        let recent = TimeRange::new(earlier.unwrap_or(end - FIRST_COMPARE_WINDOW).max(start), end);
        if interval == Interval::M1 && !known.within(recent).ranges().is_empty() {
            // Candles fetched soon after their close may have been revised since.
            ranges.push(recent);
            ranges.sort_unstable_by_key(|range| range.start());
        }
        let compare_after = if interval == Interval::M1 { COMPARE_MINUTES_AFTER } else { COMPARE_LONGER_AFTER };
        if ranges.first().is_none_or(|first| first.start() + compare_after > now) {
            ranges.clear();
        } else {
            self.compared_until.lock().insert(series.clone(), end);
        }
        let queued = self.recheck_queue.take(series);
        ranges.extend(queued.ranges().iter().map(|queued| queued.range));
        ranges.sort_unstable_by_key(|range| range.start());
        let mut done = Timestamp::EPOCH;
        for range in ranges {
            let mut from = range.start().max(done);
            while from < range.end() {
                // A full page costs no more than a shorter one.
                let page = TimeRange::new(from, self.filler.page_end(interval, from).min(end.max(range.end())));
                if let Err(error) = self.filler.refetch(series, market, page).await {
                    self.compared_until.lock().insert(series.clone(), from);
                    queued.within(TimeRange::new(from, end.max(range.end()))).ranges().iter().for_each(|queued| {
                        self.recheck_queue.add(series, queued.range);
                    });
                    return Err(error);
                }
                from = page.end();
                done = from;
            }
        }
        Ok(())
    }
}

/// An empty range longer than this many times the average distance between two candles is doubtful.
const DOUBTFUL_EMPTY_FACTOR: u32 = 30;

/// The ranges whose claims may be wrong.
pub fn doubtful_ranges(interval: Interval, known: &Coverage) -> Vec<TimeRange> {
    let time = |is: fn(CoverageState) -> bool| {
        known.ranges().iter().filter(|known| is(known.state)).map(|known| known.range.duration()).sum::<Duration>()
    };
    let (with_candles, empty) = (time(CoverageState::has_candle), time(|state| state == CoverageState::Empty));
    let candles = with_candles.as_millis() / interval.max_duration().as_millis();
    let average_distance = (with_candles + empty).as_millis() / candles.max(1);
    let is_doubtful = |known: &&CoveredRange| match known.state {
        CoverageState::Empty => {
            candles == 0 || known.range.duration().as_millis() > average_distance * u128::from(DOUBTFUL_EMPTY_FACTOR)
        }
        CoverageState::Invalid | CoverageState::OffGrid => true,
        CoverageState::Unavailable | CoverageState::Derived | CoverageState::Observed | CoverageState::Fetched => false,
    };
    known.ranges().iter().filter(is_doubtful).map(|known| known.range).collect()
}

/// The observed and derived ranges, each with an empty range directly before it: the exchange may since have candles
/// there, too.
fn ranges_to_compare(known: &Coverage) -> Vec<TimeRange> {
    let mut ranges = Vec::new();
    let mut empty: Option<TimeRange> = None;
    for known in known.ranges() {
        let before = empty.filter(|empty| empty.end() == known.range.start());
        match known.state {
            CoverageState::Empty => empty = Some(known.range),
            CoverageState::Observed | CoverageState::Derived => {
                let start = before.map_or(known.range.start(), TimeRange::start);
                ranges.push(TimeRange::new(start, known.range.end()));
                empty = None;
            }
            CoverageState::Fetched | CoverageState::Unavailable | CoverageState::Invalid | CoverageState::OffGrid => {
                empty = None;
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_secs(60 * start), Timestamp::from_secs(60 * end))
    }

    #[test]
    fn long_empty_range_is_doubtful_in_a_busy_market() {
        let doubtful = |claims: &[(i64, i64, CoverageState)]| {
            let claim = |(start, end, state): &(i64, i64, CoverageState)| CoveredRange {
                range: minutes(*start, *end),
                state: *state,
            };
            doubtful_ranges(Interval::M1, &claims.iter().map(claim).collect())
        };
        let busy =
            [(0, 500, CoverageState::Fetched), (500, 560, CoverageState::Empty), (560, 1_000, CoverageState::Observed)];
        assert_eq!(doubtful(&busy), [minutes(500, 560)]);
        let quiet = [(0, 1, CoverageState::Fetched), (1, 60, CoverageState::Empty), (60, 61, CoverageState::Fetched)];
        assert_eq!(doubtful(&quiet), []);
        assert_eq!(doubtful(&[(0, 99, CoverageState::Empty)]), [minutes(0, 99)], "no candle at all");
        let unobtainable =
            [(0, 9, CoverageState::Invalid), (9, 12, CoverageState::OffGrid), (12, 99, CoverageState::Unavailable)];
        assert_eq!(doubtful(&unobtainable), [minutes(0, 9), minutes(9, 12)]);
    }

    #[test]
    fn empty_range_is_compared_with_following_candles() {
        let known: Coverage = [
            (0, 5, CoverageState::Empty),
            (5, 8, CoverageState::Observed),
            (8, 9, CoverageState::Fetched),
            (9, 10, CoverageState::Derived),
            (10, 12, CoverageState::Empty),
            (13, 14, CoverageState::Observed),
            (14, 20, CoverageState::Empty),
        ]
        .into_iter()
        .map(|(start, end, state)| CoveredRange { range: minutes(start, end), state })
        .collect();
        assert_eq!(ranges_to_compare(&known), [minutes(0, 8), minutes(9, 10), minutes(13, 14)]);
    }
}
