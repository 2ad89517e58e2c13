//! What nobody asks for: holes in what was collected are found and closed, and what streams and derivation gave is compared
//! with what the exchange itself says.
//!
//! All of it goes behind live data ([`Urgency::Background`](crate::upstream::Urgency)), page by page, so that nobody waits
//! for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::derive::{Purpose, derive};
use super::fill::{FillError, Filler};
use crate::model::{Candle, Coverage, CoveredRange, Instrument, Interval, Knowledge, Series, TimeRange, Timestamp};
use crate::store::Take;
use crate::telemetry::collect::{FillFailed, HolesFound};

/// How often it is looked.
const EVERY: Duration = Duration::from_mins(10);

/// The first look after a start, when what the start itself asks for is there.
const FIRST: Duration = Duration::from_mins(1);

/// What is younger is still on its way: the stream closes it, the repair fetches it.
const SETTLES: Duration = Duration::from_mins(10);

/// Minutes of the stream are compared with the exchange's own once so much has gathered.
const MINUTES_GATHER: Duration = Duration::from_hours(1);

/// Longer candles likewise.
const LONGER_GATHER: Duration = Duration::from_hours(24);

/// After a start the minutes of so long are compared, however they came to be known.
const FRESH: Duration = Duration::from_hours(2);

/// So much of what was derived is derived again at the first look, where an end of the process, or the store, came between
/// a minute's change and what follows from it; at later looks less.
const DERIVED_AGAIN: (Duration, Duration) = (Duration::from_hours(24), Duration::from_hours(3));

/// How many markets are looked at at a time.
const AT_A_TIME: usize = 4;

const DAY: Duration = Duration::from_hours(24);

/// How far back is looked.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Holes of the last days are closed.
    pub repair_days: u32,
    /// The last days of configured markets are made known even where nothing of them was.
    pub backfill_days: u32,
}

/// A market that is collected.
#[derive(Clone)]
pub struct Followed {
    pub instrument: Arc<Instrument>,
    /// Not only because someone asked.
    pub configured: bool,
}

/// Looks after the markets that are collected.
pub struct Sweeper {
    /// In the background.
    pub filler: Filler,
    pub collected: watch::Receiver<Vec<Followed>>,
    pub reach: Reach,
    pub doubts: Arc<Doubts>,
    /// Up to when each series was compared since the start: what the exchange has no row for is not asked again.
    pub compared: Mutex<HashMap<Series, Timestamp>>,
    /// What was verified since the start.
    pub verified: Mutex<HashMap<Series, Coverage>>,
}

/// Candles whose parts have changed since they were fetched: the exchange is asked for them again.
#[derive(Default)]
pub struct Doubts(Mutex<HashMap<Series, Coverage>>);

impl Doubts {
    /// Doubts the candles of `range`.
    pub fn add(&self, series: &Series, range: TimeRange) {
        let part = CoveredRange { range, state: Knowledge::Unavailable };
        self.0.lock().entry(series.clone()).or_default().add(part);
    }

    fn take(&self, series: &Series) -> Coverage {
        self.0.lock().remove(series).unwrap_or_default()
    }
}

impl Sweeper {
    /// Looks again and again, for ever.
    pub async fn run(self) {
        let (mut pause, (mut again, later)) = (FIRST, DERIVED_AGAIN);
        loop {
            self.filler.clock.sleep(pause).await;
            pause = EVERY;
            let markets = self.collected.borrow().clone();
            let followed = |series: &Series| markets.iter().any(|market| market.instrument.symbol == series.symbol);
            self.compared.lock().retain(|series, _| followed(series));
            self.verified.lock().retain(|series, _| followed(series));
            stream::iter(&markets).for_each_concurrent(AT_A_TIME, |market| self.look_after(market, again)).await;
            again = later;
        }
    }

    async fn look_after(&self, Followed { instrument: market, configured }: &Followed, again: Duration) {
        let of = |interval| Series { exchange: market.exchange, symbol: market.symbol.clone(), interval };
        let mut result = self.close_holes(&of(Interval::M1), market, *configured).await;
        if result.is_ok() {
            result = self.derive_again(market, again).await;
        }
        for interval in self.filler.exchange.profile().intervals {
            if result.is_ok() {
                result = self.compare(&of(*interval), market).await;
            }
            if result.is_ok() {
                result = self.verify(&of(*interval), market).await;
            }
        }
        // The rest is done at the next look.
        if let Err(error) = result {
            let (series, exchange) = (of(Interval::M1), market.exchange);
            FillFailed { series: &series, exchange, error: &error, pause: EVERY }.emit();
        }
    }

    /// Makes known what is unknown since the first time that is known, and of the days that are wanted anyway.
    async fn close_holes(&self, series: &Series, market: &Arc<Instrument>, configured: bool) -> Result<(), FillError> {
        let now = self.filler.clock.now();
        let since = |days: u32| Interval::M1.ceil(now - DAY * days);
        let Reach { repair_days, backfill_days } = self.reach;
        let backfill_days = if configured { backfill_days } else { 0 };
        let wanted = since(backfill_days);
        let range = TimeRange::new(since(repair_days.max(backfill_days)), Interval::M1.floor(now - SETTLES));
        let known = self.filler.store.coverage(series, range).await?;
        let given = |known: &&CoveredRange| !known.state.is_lost();
        let collected = known.ranges().iter().find(given).map_or(range.end(), |first| first.range.start());
        let holes = known.unknown(TimeRange::new(collected.max(since(repair_days)), range.end()));
        if !holes.is_empty() {
            HolesFound { series, exchange: series.exchange, holes: &holes }.emit();
        }
        let from = collected.max(since(repair_days)).min(wanted);
        self.filler.pass(series, market, TimeRange::new(from, range.end().max(from)), |_| {}).await.map(drop)
    }

    /// Asks again for what an older version, or an exchange in trouble, may have made the ledger claim without proof:
    /// silence that is longer than the market's rhythm explains, once since the start, and rows that could not be right.
    async fn verify(&self, series: &Series, market: &Arc<Instrument>) -> Result<(), FillError> {
        let now = self.filler.clock.now();
        let reach = TimeRange::new(series.interval.ceil(now - DAY * self.reach.repair_days), now - SETTLES);
        let known = self.filler.store.coverage(series, reach).await?;
        let done = self.verified.lock().get(series).cloned().unwrap_or_default();
        for doubtful in doubtful(series.interval, &known) {
            for range in done.unknown(doubtful) {
                if self.filler.verify(series, market, range, Knowledge::has_candle).await?.is_some() {
                    // Not decided yet.
                    continue;
                }
                // What is lost is asked for again at each look: the exchange may mend it.
                for silent in known.within(range).ranges().iter().filter(|known| known.state == Knowledge::Empty) {
                    let verified = CoveredRange { range: silent.range, state: Knowledge::Fetched };
                    self.verified.lock().entry(series.clone()).or_default().add(verified);
                }
            }
        }
        Ok(())
    }

    /// Derives the candles of up to a day again that closed in the last `time`, and writes those that differ.
    async fn derive_again(&self, market: &Arc<Instrument>, time: Duration) -> Result<(), FillError> {
        let now = self.filler.clock.now();
        let store = &*self.filler.store;
        for interval in Interval::ALL.into_iter().filter(|one| (Interval::M3..=Interval::D1).contains(one)) {
            let series = Series { exchange: market.exchange, symbol: market.symbol.clone(), interval };
            let range = TimeRange::new(interval.floor(now - time), interval.floor(now));
            for mut write in derive(store, &series, Interval::M1, range, Purpose::Again).await? {
                let kept = store.candles(&series, range, Take::First(u32::MAX)).await?;
                let same = |candle: &Candle| {
                    let kept = kept.binary_search_by_key(&candle.timestamp, |kept| kept.timestamp).map(|at| kept[at]);
                    kept.is_ok_and(|kept| kept.same_values(candle))
                };
                write.candles.retain(|candle| !same(candle));
                write.claims.retain(|claim| write.candles.iter().any(|candle| claim.range.contains(candle.timestamp)));
                if !write.candles.is_empty() {
                    self.filler.writer.write(write).await?;
                }
            }
        }
        Ok(())
    }

    /// Asks the exchange for what it did not give itself, and for what is doubted. Where it says something else, its word
    /// is taken; the store counts the revision.
    async fn compare(&self, series: &Series, market: &Arc<Instrument>) -> Result<(), FillError> {
        let interval = series.interval;
        let now = self.filler.clock.now();
        let end = interval.floor(now - SETTLES);
        let reach = interval.ceil(now - DAY * self.reach.repair_days);
        let earlier = self.compared.lock().get(series).copied();
        let start = earlier.unwrap_or(reach).max(reach);
        let range = TimeRange::new(start.min(end), end);
        let known = self.filler.store.coverage(series, range).await?;
        let mut parts = second_hand(&known);
        let fresh = TimeRange::new(earlier.unwrap_or(end - FRESH).max(start), end);
        if interval == Interval::M1 && !known.within(fresh).ranges().is_empty() {
            // What was fetched soon after its close may have been corrected since.
            parts.push(fresh);
            parts.sort_unstable_by_key(|part| part.start());
        }
        let gathers = if interval == Interval::M1 { MINUTES_GATHER } else { LONGER_GATHER };
        if parts.first().is_none_or(|first| first.start() + gathers > now) {
            parts.clear();
        } else {
            self.compared.lock().insert(series.clone(), end);
        }
        let doubted = self.doubts.take(series);
        parts.extend(doubted.ranges().iter().map(|doubted| doubted.range));
        parts.sort_unstable_by_key(|part| part.start());
        let mut done = Timestamp::EPOCH;
        for part in parts {
            let mut from = part.start().max(done);
            while from < part.end() {
                // A whole page costs no more than a part of it.
                let page = TimeRange::new(from, self.filler.page_end(interval, from).min(end.max(part.end())));
                if let Err(error) = self.filler.fetch_again(series, market, page).await {
                    self.compared.lock().insert(series.clone(), from);
                    doubted.within(TimeRange::new(from, end.max(part.end()))).ranges().iter().for_each(|doubted| {
                        self.doubts.add(series, doubted.range);
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

/// Silence of so many times the usual pause between two candles is doubtful.
const DOUBTFUL_PAUSES: u32 = 30;

/// The parts of a ledger that may have been claimed without proof.
pub fn doubtful(interval: Interval, known: &Coverage) -> Vec<TimeRange> {
    let time = |is: fn(Knowledge) -> bool| {
        known.ranges().iter().filter(|known| is(known.state)).map(|known| known.range.duration()).sum::<Duration>()
    };
    let (traded, silent) = (time(Knowledge::has_candle), time(|state| state == Knowledge::Empty));
    let candles = traded.as_millis() / interval.max_duration().as_millis();
    let pause = (traded + silent).as_millis() / candles.max(1);
    let is_doubtful = |known: &&CoveredRange| match known.state {
        Knowledge::Empty => candles == 0 || known.range.duration().as_millis() > pause * u128::from(DOUBTFUL_PAUSES),
        Knowledge::Invalid | Knowledge::OffGrid => true,
        Knowledge::Unavailable | Knowledge::Derived | Knowledge::Observed | Knowledge::Fetched => false,
    };
    known.ranges().iter().filter(is_doubtful).map(|known| known.range).collect()
}

/// The times that the exchange did not give itself, with the silence before each: what was empty when it was asked may
/// have been corrected, too.
fn second_hand(known: &Coverage) -> Vec<TimeRange> {
    let mut parts = Vec::new();
    let mut silence: Option<TimeRange> = None;
    for known in known.ranges() {
        let before = silence.filter(|silence| silence.end() == known.range.start());
        match known.state {
            Knowledge::Empty => silence = Some(known.range),
            Knowledge::Observed | Knowledge::Derived => {
                let start = before.map_or(known.range.start(), TimeRange::start);
                parts.push(TimeRange::new(start, known.range.end()));
                silence = None;
            }
            Knowledge::Fetched | Knowledge::Unavailable | Knowledge::Invalid | Knowledge::OffGrid => silence = None,
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_secs(60 * start), Timestamp::from_secs(60 * end))
    }

    #[test]
    fn silence_is_doubtful_where_the_market_is_busy() {
        let of = |claims: &[(i64, i64, Knowledge)]| {
            let claim = |(start, end, state): &(i64, i64, Knowledge)| CoveredRange {
                range: minutes(*start, *end),
                state: *state,
            };
            doubtful(Interval::M1, &claims.iter().map(claim).collect())
        };
        let busy = [(0, 500, Knowledge::Fetched), (500, 560, Knowledge::Empty), (560, 1_000, Knowledge::Observed)];
        assert_eq!(of(&busy), [minutes(500, 560)]);
        let quiet = [(0, 1, Knowledge::Fetched), (1, 60, Knowledge::Empty), (60, 61, Knowledge::Fetched)];
        assert_eq!(of(&quiet), []);
        assert_eq!(of(&[(0, 99, Knowledge::Empty)]), [minutes(0, 99)], "there never was a candle");
        let lost = [(0, 9, Knowledge::Invalid), (9, 12, Knowledge::OffGrid), (12, 99, Knowledge::Unavailable)];
        assert_eq!(of(&lost), [minutes(0, 9), minutes(9, 12)]);
    }

    #[test]
    fn silence_is_compared_with_what_follows_it() {
        let known: Coverage = [
            (0, 5, Knowledge::Empty),
            (5, 8, Knowledge::Observed),
            (8, 9, Knowledge::Fetched),
            (9, 10, Knowledge::Derived),
            (10, 12, Knowledge::Empty),
            (13, 14, Knowledge::Observed),
            (14, 20, Knowledge::Empty),
        ]
        .into_iter()
        .map(|(start, end, state)| CoveredRange { range: minutes(start, end), state })
        .collect();
        assert_eq!(second_hand(&known), [minutes(0, 8), minutes(9, 10), minutes(13, 14)]);
    }
}
