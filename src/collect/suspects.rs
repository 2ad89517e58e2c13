//! Answers that prove nothing by themselves: empty ones, and rows that cannot be right.
//!
//! An exchange in maintenance answers an empty list, too. So an empty answer makes its time suspect: it is asked for
//! again after growing pauses, and it counts only when a second answer agrees that came at least [`CONFIRMED_AFTER`]
//! later, and nothing contradicts it. What is suspect is kept in memory: after a restart it begins anew.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::{Coverage, CoveredRange, Interval, Knowledge, Series, TimeRange, Timestamp};

/// Two answers that agree must be so far apart.
pub const CONFIRMED_AFTER: Duration = Duration::from_mins(10);

/// What the exchange may not show yet is asked for again after so long, then after [`SHOWN_LATER`], then as what is suspect.
const SHOWN_LATE: Duration = Duration::from_secs(5);
const SHOWN_LATER: Duration = Duration::from_mins(3);

/// A candle that ended longer ago is not on its way any more.
const JUST_CLOSED: Duration = Duration::from_secs(10);

/// The longest pause between two questions about a suspect time.
const LONGEST_PAUSE: Duration = Duration::from_hours(6);

/// The most suspect times that are kept of one series, and the most series. What is dropped begins anew.
const MOST: (usize, usize) = (256, 10_000);

/// The most minutes with trades that are kept of one series.
const MOST_TRADED: usize = 256;

/// The suspect times of all series of one exchange.
#[derive(Default)]
pub struct Suspects(Mutex<HashMap<Series, Case>>);

#[derive(Default)]
struct Case {
    suspicions: Vec<Suspicion>,
    /// Minutes in which the stream told trades, whatever came of their candles.
    traded: BTreeSet<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Suspicion {
    range: TimeRange,
    /// What it becomes if it is confirmed; `None` where it is too young for that.
    state: Option<Knowledge>,
    first: Timestamp,
    last: Timestamp,
    answers: u32,
    /// Open time of the first candle after it that was known at the last answer.
    after: Option<Timestamp>,
}

impl Suspicion {
    /// Takes in `later` if it follows at once and is alike.
    fn join(&mut self, later: &Self) -> bool {
        let joined = TimeRange::new(self.range.start(), later.range.end().max(self.range.end()));
        let follows = self.range.end() == later.range.start()
            && Self { range: joined, ..*self } == Self { range: joined, ..*later };
        if follows {
            self.range = joined;
        }
        follows
    }

    fn due(&self) -> Timestamp {
        let pause = match (self.state, self.answers) {
            (None, 0 | 1) => SHOWN_LATE,
            (None, 2) => SHOWN_LATER,
            (None, _) => CONFIRMED_AFTER,
            // Answers that come too soon to confirm the first put nothing off.
            (Some(_), 0 | 1) => return self.first + CONFIRMED_AFTER,
            (Some(_), answers) => (CONFIRMED_AFTER * 2_u32.pow(answers.saturating_sub(1).min(10))).min(LONGEST_PAUSE),
        };
        self.last + pause
    }
}

impl Suspects {
    /// When `gap` is worth asking for again, where that is later than `now`. A candle after the gap that was not known at
    /// the last answer makes it so at once: silence before it can be proven.
    pub fn deferred(
        &self,
        series: &Series,
        gap: TimeRange,
        after: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let cases = self.0.lock();
        let (mut from, mut due) = (gap.start(), None);
        while from < gap.end() {
            let suspicion = cases.get(series)?.suspicions.iter().find(|one| one.range.contains(from))?;
            if suspicion.due() <= now || suspicion.after != after {
                return None;
            }
            due = due.max(Some(suspicion.due()));
            from = suspicion.range.end();
        }
        due
    }

    /// An answer at `now` said nothing about `range`, of which the exchange may not show the candles yet.
    pub fn defer(&self, series: &Series, range: TimeRange, after: Option<Timestamp>, now: Timestamp) {
        self.record(series, range, None, after, now);
    }

    /// An answer at `now` said that a time is in a state. Gives the parts that an earlier answer agrees with. They stay
    /// suspect until they are [settled](Self::settle).
    pub fn answered(&self, series: &Series, claim: CoveredRange, after: Option<Timestamp>, now: Timestamp) -> Coverage {
        let agreed = self.record(series, claim.range, Some(claim.state), after, now);
        agreed.into_iter().map(|range| CoveredRange { range, ..claim }).collect()
    }

    fn record(
        &self,
        series: &Series,
        range: TimeRange,
        state: Option<Knowledge>,
        after: Option<Timestamp>,
        now: Timestamp,
    ) -> Vec<TimeRange> {
        let mut cases = self.0.lock();
        if !cases.contains_key(series) && cases.len() >= MOST.1 {
            cases.retain(|_, case| case.suspicions.iter().any(|one| one.last + LONGEST_PAUSE * 2 > now));
        }
        let case = cases.entry(series.clone()).or_default();
        let (mut agreed, mut seen, mut kept) = (Vec::new(), Coverage::default(), Vec::new());
        for old in std::mem::take(&mut case.suspicions) {
            let both = old.range.intersection(range);
            if both.is_empty() {
                kept.push(old);
                continue;
            }
            // What lies outside of this answer stays as it was.
            kept.extend(outside(old.range, both).map(|range| Suspicion { range, ..old }));
            if old.state != state {
                continue;
            }
            let confirms = old.first + CONFIRMED_AFTER <= now;
            if confirms {
                agreed.push(both);
            }
            let answers = old.answers + u32::from(confirms || state.is_none());
            kept.push(Suspicion { range: both, last: now, answers, after, ..old });
            seen.add(CoveredRange { range: both, state: Knowledge::Empty });
        }
        for range in seen.unknown(range) {
            // What closed just now is shown late; what is older is silent.
            let answers = if range.end() + JUST_CLOSED > now { 1 } else { 2 };
            let answers = if state.is_some() { 1 } else { answers };
            kept.push(Suspicion { range, state, first: now, last: now, answers, after });
        }
        kept.sort_by_key(|suspicion| suspicion.range.start());
        kept.dedup_by(|later, earlier| earlier.join(later));
        if kept.len() > MOST.0 {
            kept.sort_by_key(|suspicion| suspicion.last);
            kept.drain(..kept.len() - MOST.0);
        }
        case.suspicions = kept;
        agreed
    }

    /// What is known is suspect no longer.
    pub fn settle(&self, series: &Series, known: &Coverage) {
        let mut cases = self.0.lock();
        let Some(case) = cases.get_mut(series) else { return };
        let mut kept = Vec::new();
        for old in std::mem::take(&mut case.suspicions) {
            for range in known.unknown(old.range) {
                kept.push(Suspicion { range, ..old });
            }
        }
        case.suspicions = kept;
        let has_candle = |minute: &Timestamp| {
            known.within(Interval::M1.span(*minute)).ranges().iter().any(|one| one.state.has_candle())
        };
        case.traded.retain(|minute| !has_candle(minute));
        if case.suspicions.is_empty() && case.traded.is_empty() {
            cases.remove(series);
        }
    }

    /// The stream told a trade of a minute whose candle it did not prove.
    pub fn traded(&self, series: &Series, minute: Timestamp) {
        let mut cases = self.0.lock();
        if !cases.contains_key(series) && cases.len() >= MOST.1 {
            return;
        }
        let traded = &mut cases.entry(series.clone()).or_default().traded;
        traded.insert(minute);
        if traded.len() > MOST_TRADED {
            traded.pop_first();
        }
    }

    /// Whether the stream told a trade in `range`.
    pub fn saw_trades(&self, series: &Series, range: TimeRange) -> bool {
        let minutes = Series { interval: Interval::M1, ..series.clone() };
        let cases = self.0.lock();
        cases.get(&minutes).is_some_and(|case| case.traded.range(range.start()..range.end()).next().is_some())
    }
}

/// The parts of `whole` that are not in `part`, which lies in it.
fn outside(whole: TimeRange, part: TimeRange) -> impl Iterator<Item = TimeRange> {
    [TimeRange::new(whole.start(), part.start()), TimeRange::new(part.end(), whole.end())]
        .into_iter()
        .filter(|range| !range.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ExchangeId;

    fn series() -> Series {
        Series { exchange: ExchangeId::Binance, symbol: "BTC/USDT".parse().unwrap(), interval: Interval::M1 }
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_secs(60 * minute)
    }

    fn empty(start: i64, end: i64) -> CoveredRange {
        CoveredRange { range: TimeRange::new(at(start), at(end)), state: Knowledge::Empty }
    }

    fn answered(suspects: &Suspects, claim: CoveredRange, now: i64) -> Vec<CoveredRange> {
        suspects.answered(&series(), claim, None, at(now)).ranges().to_vec()
    }

    #[test]
    fn two_answers_ten_minutes_apart_agree() {
        let suspects = Suspects::default();
        assert_eq!(answered(&suspects, empty(0, 10), 100), []);
        assert_eq!(answered(&suspects, empty(0, 10), 109), [], "too soon");
        assert_eq!(answered(&suspects, empty(5, 20), 110), [empty(5, 10)]);
        assert_eq!(answered(&suspects, empty(5, 20), 121), [empty(5, 20)]);
        suspects.settle(&series(), &[empty(0, 20)].into_iter().collect());
        assert!(suspects.0.lock().is_empty());
    }

    #[test]
    fn another_word_begins_anew() {
        let suspects = Suspects::default();
        answered(&suspects, empty(0, 10), 100);
        assert_eq!(answered(&suspects, CoveredRange { state: Knowledge::Invalid, ..empty(0, 10) }, 120), []);
        assert_eq!(answered(&suspects, empty(0, 10), 140), []);
    }

    #[test]
    fn it_is_asked_again_after_growing_pauses_or_when_a_later_candle_comes() {
        let suspects = Suspects::default();
        let gap = TimeRange::new(at(0), at(10));
        let due = |now, after| suspects.deferred(&series(), gap, after, at(now));
        assert_eq!(due(100, None), None);
        answered(&suspects, empty(0, 10), 100);
        assert_eq!(due(101, None), Some(at(110)));
        assert_eq!(due(110, None), None);
        assert_eq!(due(101, Some(at(10))), None);
        answered(&suspects, empty(0, 10), 110);
        assert_eq!(due(111, None), Some(at(130)));
    }

    #[test]
    fn what_may_come_late_is_asked_for_again_soon_and_never_confirmed() {
        let suspects = Suspects::default();
        let gap = TimeRange::new(at(0), at(1));
        suspects.defer(&series(), gap, None, at(1));
        let due = |gap, secs| suspects.deferred(&series(), gap, None, at(1) + Duration::from_secs(secs));
        assert_eq!(due(gap, 1), Some(at(1) + SHOWN_LATE));
        assert_eq!(due(TimeRange::new(at(0), at(2)), 1), None, "more than was asked for");
        assert_eq!(due(gap, 5), None);
        assert_eq!(answered(&suspects, empty(0, 1), 20), []);
        assert_eq!(answered(&suspects, empty(0, 1), 30), [empty(0, 1)]);
    }

    #[test]
    fn trades_are_kept_until_their_minute_is_known() {
        let suspects = Suspects::default();
        suspects.traded(&series(), at(5));
        assert!(suspects.saw_trades(&series(), TimeRange::new(at(0), at(10))));
        assert!(!suspects.saw_trades(&series(), TimeRange::new(at(6), at(10))));
        let known = CoveredRange { range: Interval::M1.span(at(5)), state: Knowledge::Fetched };
        suspects.settle(&series(), &[known].into_iter().collect());
        assert!(!suspects.saw_trades(&series(), TimeRange::new(at(0), at(10))));
    }
}
