//! How far an exchange's clock is from ours, by what the exchange says of its time. Pure.
//!
//! All numbers are *bases*: the exchange's time minus the monotonic time of this process, in milliseconds. A base does
//! not change when the machine's clock is set. Each answer bounds the base from both sides: the exchange wrote its time
//! between question and answer. The estimate is what most of the last answers agree on, as NTP selects its sources
//! (<https://www.rfc-editor.org/rfc/rfc5905#section-11.2.1>), so that one absurd answer does not count.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Timestamp;

/// How many answers are remembered. A minority of them may be wrong.
const REMEMBERED: usize = 9;

/// An answer that took longer says too little.
const LONGEST_TRIP: Duration = Duration::from_secs(30);

/// How many seconds of event times are remembered, and how many are needed.
const HEARD: usize = 9;
const HEARD_ENOUGH: usize = 3;

/// How far two clocks may run apart: 100 parts per million, in milliseconds a millisecond.
const DRIFT: i64 = 10_000;

/// What is known of an exchange's clock.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    answers: VecDeque<Bounds>,
    /// By second of the process: the greatest base that an event time proves.
    heard: VecDeque<(u64, i64)>,
}

/// Between which values the base lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    low: i64,
    high: i64,
    at: Duration,
}

/// What most answers agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Estimate {
    /// The base is at least this.
    pub low: i64,
    /// The base is at most this.
    pub high: i64,
    /// How many answers agree, and how many there are.
    pub agreeing: usize,
    pub answers: usize,
}

impl Estimate {
    /// Whether more than one answer, and more than half of them, agree.
    pub const fn is_confirmed(&self) -> bool {
        self.agreeing > 1 && self.has_majority()
    }

    /// Whether more than half of the answers agree.
    pub const fn has_majority(&self) -> bool {
        2 * self.agreeing > self.answers
    }
}

impl Offsets {
    /// The exchange wrote that its time was in `[there, there + resolution)`, somewhere between `asked` and `received`.
    pub fn answered(&mut self, asked: Duration, received: Duration, there: Timestamp, resolution: Duration) {
        if received < asked || received.saturating_sub(asked) > LONGEST_TRIP {
            return;
        }
        let low = there.millis().saturating_sub(millis(received));
        let high = there.millis().saturating_add(millis(resolution)).saturating_sub(millis(asked));
        if self.answers.len() == REMEMBERED {
            self.answers.pop_front();
        }
        self.answers.push_back(Bounds { low, high: high.max(low), at: received });
    }

    /// An event of the exchange's time `event` came: its clock shows at least that.
    pub fn heard(&mut self, event: Timestamp, received: Duration) {
        let base = event.millis().saturating_sub(millis(received));
        match self.heard.back_mut() {
            Some((second, most)) if *second == received.as_secs() => *most = base.max(*most),
            _ => {
                if self.heard.len() == HEARD {
                    self.heard.pop_front();
                }
                self.heard.push_back((received.as_secs(), base));
            }
        }
    }

    /// The least base that event times alone prove: the middle one of the last seconds, so that a few absurd ones do not
    /// count.
    pub fn least_heard(&self) -> Option<i64> {
        let mut bases: Vec<i64> = self.heard.iter().map(|(_, base)| *base).collect();
        bases.sort_unstable();
        // The lower one of two in the middle.
        bases.get(bases.len().saturating_sub(1) / 2).copied().filter(|_| bases.len() >= HEARD_ENOUGH)
    }

    /// What most of the last answers agree on at `now`; of two groups of the same size the more exact one, then the newer.
    pub fn estimate(&self, now: Duration) -> Option<Estimate> {
        let widened: Vec<(i64, i64)> = self.answers.iter().map(|one| one.widened(now)).collect();
        let mut best: Option<Estimate> = None;
        // The greatest low end of a group that agrees is in all of its answers.
        for &(low, _) in &widened {
            let agree = || widened.iter().filter(|(from, to)| (*from..=*to).contains(&low));
            let Some(high) = agree().map(|(_, to)| *to).min() else { continue };
            let agreeing = agree().count();
            if best.is_none_or(|best| (agreeing, -(high - low)) >= (best.agreeing, -(best.high - best.low))) {
                best = Some(Estimate { low, high, agreeing, answers: widened.len() });
            }
        }
        best
    }

    /// When the last answer came.
    pub fn last_answer(&self) -> Option<Duration> {
        self.answers.back().map(|one| one.at)
    }

    /// Forgets all of it.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Bounds {
    fn widened(self, now: Duration) -> (i64, i64) {
        let by = millis(now.saturating_sub(self.at)) / DRIFT;
        (self.low.saturating_sub(by), self.high.saturating_add(by))
    }
}

/// As milliseconds; saturates.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn an_answer_bounds_the_base_from_both_sides() {
        let mut offsets = Offsets::default();
        assert_eq!((offsets.estimate(SECOND), offsets.least_heard()), (None, None));
        offsets.answered(ms(1_000), ms(1_200), Timestamp::from_millis(60_000), SECOND);
        let one = offsets.estimate(ms(1_200)).unwrap();
        assert_eq!((one.low, one.high, one.is_confirmed()), (58_800, 60_000, false));
        offsets.answered(ms(2_500), ms(2_600), Timestamp::from_millis(62_000), SECOND);
        let two = offsets.estimate(ms(2_600)).unwrap();
        assert_eq!((two.low, two.high, two.is_confirmed()), (59_400, 60_000, true));
        // Two clocks may run apart.
        let later = offsets.estimate(Duration::from_secs(1_000)).unwrap();
        assert!(later.low < two.low && later.high > two.high, "{later:?}");
    }

    #[test]
    fn what_takes_too_long_or_goes_back_says_nothing() {
        let mut offsets = Offsets::default();
        offsets.answered(ms(0), ms(30_001), Timestamp::EPOCH, SECOND);
        offsets.answered(ms(5), ms(4), Timestamp::EPOCH, SECOND);
        assert_eq!(offsets.estimate(ms(5)), None);
        // Absurd numbers saturate.
        offsets.answered(ms(0), ms(1), Timestamp::from_millis(i64::MAX), SECOND);
        offsets.answered(ms(0), ms(1), Timestamp::from_millis(i64::MIN), SECOND);
        offsets.heard(Timestamp::from_millis(i64::MIN), ms(1));
        assert!(!offsets.estimate(ms(5)).unwrap().has_majority());
    }

    #[test]
    fn a_clock_that_was_set_is_followed_when_most_answers_say_so() {
        let mut offsets = Offsets::default();
        let mut answer = |second: u64, base: i64| {
            let at = Duration::from_secs(second);
            offsets.answered(at, at, Timestamp::from_millis(base + millis(at)), ms(1));
            offsets.estimate(at).unwrap()
        };
        (0..9).for_each(|second| assert_eq!(answer(second, 7_000).low, 7_000));
        (9..13).for_each(|second| assert_eq!(answer(second, 90_000).low, 7_000));
        assert_eq!(answer(13, 90_000).low, 90_000);
    }

    #[test]
    fn event_times_alone_prove_a_least_time() {
        let mut offsets = Offsets::default();
        for (second, event) in [(1, 61_000), (2, 62_000), (2, 61_900), (3, 58_000_000_000_000), (4, 63_900)] {
            assert_eq!(offsets.least_heard().is_some(), second > 3);
            offsets.heard(Timestamp::from_millis(event), Duration::from_secs(second));
        }
        assert_eq!(offsets.least_heard(), Some(60_000), "the time in microseconds does not count");
    }

    proptest! {
        #[test]
        fn a_minority_of_absurd_answers_does_not_count(
            base in -10_000_000..10_000_000_i64,
            trips in proptest::collection::vec((0..400_u64, 0..400_u64), 9),
            absurd in proptest::collection::btree_map(0..9_usize, any::<i64>(), 0..=4),
        ) {
            let mut offsets = Offsets::default();
            for (index, (there, back)) in trips.iter().enumerate() {
                let asked = Duration::from_secs(index as u64);
                let (written, received) = (asked + ms(*there), asked + ms(*there + *back));
                // As a `Date` header: in whole seconds.
                let right = (base + millis(written)).div_euclid(1_000) * 1_000;
                let told = absurd.get(&index).copied().unwrap_or(right);
                offsets.answered(asked, received, Timestamp::from_millis(told), SECOND);
            }
            let estimate = offsets.estimate(Duration::from_secs(9)).unwrap();
            prop_assert!(estimate.is_confirmed(), "{estimate:?}");
            // Absurd answers that come near may widen nothing, but at most narrow what the right ones bound.
            prop_assert!(estimate.low <= base + 1_800 && estimate.high >= base - 1_800, "{estimate:?} of {base}");
        }
    }
}
