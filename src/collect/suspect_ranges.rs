//! Remembers responses that prove nothing alone: responses without rows, and invalid rows.
//!
//! An exchange in maintenance may also return an empty list. So a response without rows only makes its range suspect.
//! The range is requested again with growing pauses. It gets a coverage claim when a second response, at least
//! [`CONFIRM_AFTER`] later, has the same result and nothing contradicts it. Suspect ranges are held in memory only:
//! after a restart, two new responses are needed.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::{Coverage, CoverageState, CoveredRange, Interval, Series, TimeRange, Timestamp};

/// Minimum time between two responses that confirm each other.
pub const CONFIRM_AFTER: Duration = Duration::from_mins(10);

/// Pauses before the first two retries for candles that the exchange may not have yet; then [`CONFIRM_AFTER`].
const FIRST_RETRY: Duration = Duration::from_secs(5);
const SECOND_RETRY: Duration = Duration::from_mins(3);

/// A candle that closed longer ago than this is not expected to appear with the next retry.
const JUST_CLOSED: Duration = Duration::from_secs(10);

/// Maximum pause between two requests for a suspect range.
const MAX_RETRY_PAUSE: Duration = Duration::from_hours(6);

/// Bounds of the memory used. A dropped range needs two new responses.
const MAX_SERIES: usize = 10_000;
const MAX_RANGES_PER_SERIES: usize = 256;
const MAX_TRADED_MINUTES: usize = 256;

/// The suspect ranges of all series of one exchange.
#[derive(Default)]
pub struct SuspectRanges(Mutex<HashMap<Series, SeriesState>>);

#[derive(Default)]
struct SeriesState {
    ranges: Vec<SuspectRange>,
    /// Minutes for which the stream delivered trades but no proven candle.
    traded_minutes: BTreeSet<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct SuspectRange {
    range: TimeRange,
    /// The coverage state after confirmation; `None` if the range is too recent to get one.
    state: Option<CoverageState>,
    first_at: Timestamp,
    last_at: Timestamp,
    responses: u32,
    /// Open time of the first known candle after the range, as of the last response.
    next_candle: Option<Timestamp>,
}

impl SuspectRange {
    /// Merges `later` if it is adjacent and otherwise equal. Returns whether it did.
    fn join(&mut self, later: &Self) -> bool {
        let joined = TimeRange::new(self.range.start(), later.range.end().max(self.range.end()));
        let follows = self.range.end() == later.range.start()
            && Self { range: joined, ..*self } == Self { range: joined, ..*later };
        if follows {
            self.range = joined;
        }
        follows
    }

    fn retry_at(&self) -> Timestamp {
        let pause = match (self.state, self.responses) {
            (None, 0 | 1) => FIRST_RETRY,
            (None, 2) => SECOND_RETRY,
            (None, _) => CONFIRM_AFTER,
            // Responses too early to confirm the first one do not postpone the retry.
            (Some(_), 0 | 1) => return self.first_at + CONFIRM_AFTER,
            (Some(_), responses) => {
                (CONFIRM_AFTER * 2_u32.pow(responses.saturating_sub(1).min(10))).min(MAX_RETRY_PAUSE)
            }
        };
        self.last_at + pause
    }
}

impl SuspectRanges {
    /// When to request `gap` again, if that is later than `now`. A newly known candle after the gap makes the retry due
    /// at once, because it can prove that the gap is empty.
    pub fn retry_at(
        &self,
        series: &Series,
        gap: TimeRange,
        next_candle: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let all = self.0.lock();
        let (mut from, mut retry_at) = (gap.start(), None);
        while from < gap.end() {
            let suspect = all.get(series)?.ranges.iter().find(|suspect| suspect.range.contains(from))?;
            if suspect.retry_at() <= now || suspect.next_candle != next_candle {
                return None;
            }
            retry_at = retry_at.max(Some(suspect.retry_at()));
            from = suspect.range.end();
        }
        retry_at
    }

    /// A response at `now` had no data for `range`; the exchange may not have its candles yet.
    pub fn record_no_data(&self, series: &Series, range: TimeRange, next_candle: Option<Timestamp>, now: Timestamp) {
        self.record(series, range, None, next_candle, now);
    }

    /// A response at `now` supports `claim`. Returns the parts that an earlier response confirms. They stay suspect
    /// until [`clear_known`](Self::clear_known).
    pub fn record_claim(
        &self,
        series: &Series,
        claim: CoveredRange,
        next_candle: Option<Timestamp>,
        now: Timestamp,
    ) -> Coverage {
        let confirmed = self.record(series, claim.range, Some(claim.state), next_candle, now);
        confirmed.into_iter().map(|range| CoveredRange { range, ..claim }).collect()
    }

    fn record(
        &self,
        series: &Series,
        range: TimeRange,
        state: Option<CoverageState>,
        next_candle: Option<Timestamp>,
        now: Timestamp,
    ) -> Vec<TimeRange> {
        let mut all = self.0.lock();
        if !all.contains_key(series) && all.len() >= MAX_SERIES {
            all.retain(|_, entry| entry.ranges.iter().any(|suspect| suspect.last_at + MAX_RETRY_PAUSE * 2 > now));
        }
        let entry = all.entry(series.clone()).or_default();
        let (mut confirmed, mut recorded, mut updated) = (Vec::new(), Coverage::default(), Vec::new());
        for earlier in std::mem::take(&mut entry.ranges) {
            let both = earlier.range.intersection(range);
            if both.is_empty() {
                updated.push(earlier);
                continue;
            }
            // The parts outside of this response stay unchanged.
            updated.extend(subtract(earlier.range, both).map(|range| SuspectRange { range, ..earlier }));
            if earlier.state != state {
                continue;
            }
            let confirms = earlier.first_at + CONFIRM_AFTER <= now;
            if confirms {
                confirmed.push(both);
            }
            let responses = earlier.responses + u32::from(confirms || state.is_none());
            updated.push(SuspectRange { range: both, last_at: now, responses, next_candle, ..earlier });
            recorded.add(CoveredRange { range: both, state: CoverageState::Empty });
        }
        for range in recorded.unknown_ranges(range) {
            // A candle that has just closed may appear soon; an older one skips the first retry.
            let responses = if range.end() + JUST_CLOSED > now { 1 } else { 2 };
            let responses = if state.is_some() { 1 } else { responses };
            updated.push(SuspectRange { range, state, first_at: now, last_at: now, responses, next_candle });
        }
        updated.sort_by_key(|suspect| suspect.range.start());
        updated.dedup_by(|later, earlier| earlier.join(later));
        if updated.len() > MAX_RANGES_PER_SERIES {
            updated.sort_by_key(|suspect| suspect.last_at);
            updated.drain(..updated.len() - MAX_RANGES_PER_SERIES);
        }
        entry.ranges = updated;
        confirmed
    }

    /// Removes ranges that are now known, and traded minutes that now have a candle.
    pub fn clear_known(&self, series: &Series, known: &Coverage) {
        let mut all = self.0.lock();
        let Some(entry) = all.get_mut(series) else { return };
        let mut remaining = Vec::new();
        for earlier in std::mem::take(&mut entry.ranges) {
            for range in known.unknown_ranges(earlier.range) {
                remaining.push(SuspectRange { range, ..earlier });
            }
        }
        entry.ranges = remaining;
        let has_candle = |minute: &Timestamp| {
            known.within(Interval::M1.span(*minute)).ranges().iter().any(|known| known.state.has_candle())
        };
        entry.traded_minutes.retain(|minute| !has_candle(minute));
        if entry.ranges.is_empty() && entry.traded_minutes.is_empty() {
            all.remove(series);
        }
    }

    /// The stream delivered a trade of a minute whose candle it did not prove.
    pub fn record_trade(&self, series: &Series, minute: Timestamp) {
        let mut all = self.0.lock();
        if !all.contains_key(series) && all.len() >= MAX_SERIES {
            return;
        }
        let traded_minutes = &mut all.entry(series.clone()).or_default().traded_minutes;
        traded_minutes.insert(minute);
        if traded_minutes.len() > MAX_TRADED_MINUTES {
            traded_minutes.pop_first();
        }
    }

    /// Whether a trade was recorded in `range`.
    pub fn has_trades(&self, series: &Series, range: TimeRange) -> bool {
        let minutes = Series { interval: Interval::M1, ..series.clone() };
        let all = self.0.lock();
        all.get(&minutes).is_some_and(|entry| entry.traded_minutes.range(range.start()..range.end()).next().is_some())
    }
}

/// The parts of `whole` outside of `part`, which lies within `whole`.
fn subtract(whole: TimeRange, part: TimeRange) -> impl Iterator<Item = TimeRange> {
    [TimeRange::new(whole.start(), part.start()), TimeRange::new(part.end(), whole.end())]
        .into_iter()
        .filter(|range| !range.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ExchangeId;

    fn series() -> Series {
        Series { exchange: ExchangeId::BINANCE, symbol: "BTC/USDT".parse().unwrap(), interval: Interval::M1 }
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_secs(60 * minute)
    }

    fn empty(start: i64, end: i64) -> CoveredRange {
        CoveredRange { range: TimeRange::new(at(start), at(end)), state: CoverageState::Empty }
    }

    fn record_claim(suspects: &SuspectRanges, claim: CoveredRange, now: i64) -> Vec<CoveredRange> {
        suspects.record_claim(&series(), claim, None, at(now)).ranges().to_vec()
    }

    #[test]
    fn two_equal_responses_ten_minutes_apart_confirm_a_range() {
        let suspects = SuspectRanges::default();
        assert_eq!(record_claim(&suspects, empty(0, 10), 100), []);
        assert_eq!(record_claim(&suspects, empty(0, 10), 109), [], "too soon");
        assert_eq!(record_claim(&suspects, empty(5, 20), 110), [empty(5, 10)]);
        assert_eq!(record_claim(&suspects, empty(5, 20), 121), [empty(5, 20)]);
        suspects.clear_known(&series(), &[empty(0, 20)].into_iter().collect());
        assert!(suspects.0.lock().is_empty());
    }

    #[test]
    fn different_state_restarts_confirmation() {
        let suspects = SuspectRanges::default();
        record_claim(&suspects, empty(0, 10), 100);
        assert_eq!(record_claim(&suspects, CoveredRange { state: CoverageState::Invalid, ..empty(0, 10) }, 120), []);
        assert_eq!(record_claim(&suspects, empty(0, 10), 140), []);
    }

    #[test]
    fn retries_after_growing_pauses_or_when_a_later_candle_is_known() {
        let suspects = SuspectRanges::default();
        let gap = TimeRange::new(at(0), at(10));
        let retry_at = |now, next_candle| suspects.retry_at(&series(), gap, next_candle, at(now));
        assert_eq!(retry_at(100, None), None);
        record_claim(&suspects, empty(0, 10), 100);
        assert_eq!(retry_at(101, None), Some(at(110)));
        assert_eq!(retry_at(110, None), None);
        assert_eq!(retry_at(101, Some(at(10))), None);
        record_claim(&suspects, empty(0, 10), 110);
        assert_eq!(retry_at(111, None), Some(at(130)));
    }

    #[test]
    fn range_without_data_is_retried_soon_and_confirms_nothing() {
        let suspects = SuspectRanges::default();
        let gap = TimeRange::new(at(0), at(1));
        suspects.record_no_data(&series(), gap, None, at(1));
        let retry_at = |gap, secs| suspects.retry_at(&series(), gap, None, at(1) + Duration::from_secs(secs));
        assert_eq!(retry_at(gap, 1), Some(at(1) + FIRST_RETRY));
        assert_eq!(retry_at(TimeRange::new(at(0), at(2)), 1), None, "wider than the recorded range");
        assert_eq!(retry_at(gap, 5), None);
        assert_eq!(record_claim(&suspects, empty(0, 1), 20), []);
        assert_eq!(record_claim(&suspects, empty(0, 1), 30), [empty(0, 1)]);
    }

    #[test]
    fn traded_minutes_are_remembered_until_their_candle_is_known() {
        let suspects = SuspectRanges::default();
        suspects.record_trade(&series(), at(5));
        assert!(suspects.has_trades(&series(), TimeRange::new(at(0), at(10))));
        assert!(!suspects.has_trades(&series(), TimeRange::new(at(6), at(10))));
        let known = CoveredRange { range: Interval::M1.span(at(5)), state: CoverageState::Fetched };
        suspects.clear_known(&series(), &[known].into_iter().collect());
        assert!(!suspects.has_trades(&series(), TimeRange::new(at(0), at(10))));
    }
}
