//! Estimates the offset of an exchange's clock from the times that the exchange reports. Pure.
//!
//! All numbers are *bases*: the exchange's time minus the monotonic time of this process, in milliseconds. A base does
//! not change when the machine's clock is set. Each response bounds the base from both sides: the exchange wrote its
//! time between request and response. The estimate is the interval that most of the last responses agree on, as NTP
//! selects its sources (<https://www.rfc-editor.org/rfc/rfc5905#section-11.2.1>), so that outliers do not count.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Timestamp;

/// Number of responses in the estimate. A minority of them may be wrong.
const MAX_RESPONSES: usize = 9;

/// A response with a longer round trip is ignored.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(30);

/// Number of seconds of event times in the lower bound, and the minimum for one.
const MAX_EVENT_SECONDS: usize = 9;
const MIN_EVENT_SECONDS: usize = 3;

/// How far two clocks may drift apart: 100 parts per million, as 1 ms per this many milliseconds.
const DRIFT: i64 = 10_000;

/// What is known of an exchange's clock.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    responses: VecDeque<Bounds>,
    /// By second of the process: the greatest base that an event time proves.
    events: VecDeque<(u64, i64)>,
}

/// Lower and upper bound of the base, measured `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    low: i64,
    high: i64,
    at: Duration,
}

/// The interval that most responses agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Estimate {
    /// The base is at least this.
    pub low: i64,
    /// The base is at most this.
    pub high: i64,
    /// Number of responses that agree, and number of all responses.
    pub agreeing: usize,
    pub responses: usize,
}

impl Estimate {
    /// Whether more than one response, and more than half of them, agree.
    pub const fn is_confirmed(&self) -> bool {
        self.agreeing > 1 && self.has_majority()
    }

    /// Whether more than half of the responses agree.
    pub const fn has_majority(&self) -> bool {
        2 * self.agreeing > self.responses
    }
}

impl Offsets {
    /// Records a response: the exchange's time was in `[reported, reported + resolution)` at some moment between `sent`
    /// and `received`.
    pub fn record_response(&mut self, sent: Duration, received: Duration, reported: Timestamp, resolution: Duration) {
        if received < sent || received.saturating_sub(sent) > MAX_ROUND_TRIP {
            return;
        }
        let low = reported.millis().saturating_sub(millis(received));
        let high = reported.millis().saturating_add(millis(resolution)).saturating_sub(millis(sent));
        if self.responses.len() == MAX_RESPONSES {
            self.responses.pop_front();
        }
        self.responses.push_back(Bounds { low, high: high.max(low), at: received });
    }

    /// Records an event with the exchange's timestamp `event`: the exchange's clock shows at least that.
    pub fn record_event(&mut self, event: Timestamp, received: Duration) {
        let base = event.millis().saturating_sub(millis(received));
        match self.events.back_mut() {
            Some((second, max)) if *second == received.as_secs() => *max = base.max(*max),
            _ => {
                if self.events.len() == MAX_EVENT_SECONDS {
                    self.events.pop_front();
                }
                self.events.push_back((received.as_secs(), base));
            }
        }
    }

    /// The lower bound of the base that event times alone prove: the median of the last seconds, so that a few outliers
    /// do not count.
    pub fn event_lower_bound(&self) -> Option<i64> {
        let mut bases: Vec<i64> = self.events.iter().map(|(_, base)| *base).collect();
        bases.sort_unstable();
        // Of an even number, the lower one of the two in the middle.
        bases.get(bases.len().saturating_sub(1) / 2).copied().filter(|_| bases.len() >= MIN_EVENT_SECONDS)
    }

    /// The interval that most of the last responses agree on at `now`. Of two groups of the same size the narrower
    /// interval wins, then the newer one.
    pub fn estimate(&self, now: Duration) -> Option<Estimate> {
        let widened: Vec<(i64, i64)> = self.responses.iter().map(|bounds| bounds.widened(now)).collect();
        let mut best: Option<Estimate> = None;
        // The greatest lower bound of an agreeing group lies in the intervals of all its members.
        for &(low, _) in &widened {
            let agree = || widened.iter().filter(|(from, to)| (*from..=*to).contains(&low));
            let Some(high) = agree().map(|(_, to)| *to).min() else { continue };
            let agreeing = agree().count();
            if best.is_none_or(|best| (agreeing, -(high - low)) >= (best.agreeing, -(best.high - best.low))) {
                best = Some(Estimate { low, high, agreeing, responses: widened.len() });
            }
        }
        best
    }

    /// When the last response was received.
    pub fn last_response(&self) -> Option<Duration> {
        self.responses.back().map(|bounds| bounds.at)
    }

    /// Discards all measurements.
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
    fn response_bounds_the_base_from_both_sides() {
        let mut offsets = Offsets::default();
        assert_eq!((offsets.estimate(SECOND), offsets.event_lower_bound()), (None, None));
        offsets.record_response(ms(1_000), ms(1_200), Timestamp::from_millis(60_000), SECOND);
        let one = offsets.estimate(ms(1_200)).unwrap();
        assert_eq!((one.low, one.high, one.is_confirmed()), (58_800, 60_000, false));
        offsets.record_response(ms(2_500), ms(2_600), Timestamp::from_millis(62_000), SECOND);
        let two = offsets.estimate(ms(2_600)).unwrap();
        assert_eq!((two.low, two.high, two.is_confirmed()), (59_400, 60_000, true));
        // Clocks drift apart.
        let later = offsets.estimate(Duration::from_secs(1_000)).unwrap();
        assert!(later.low < two.low && later.high > two.high, "{later:?}");
    }

    #[test]
    fn slow_or_time_reversed_responses_are_ignored() {
        let mut offsets = Offsets::default();
        offsets.record_response(ms(0), ms(30_001), Timestamp::EPOCH, SECOND);
        offsets.record_response(ms(5), ms(4), Timestamp::EPOCH, SECOND);
        assert_eq!(offsets.estimate(ms(5)), None);
        // Extreme numbers saturate.
        offsets.record_response(ms(0), ms(1), Timestamp::from_millis(i64::MAX), SECOND);
        offsets.record_response(ms(0), ms(1), Timestamp::from_millis(i64::MIN), SECOND);
        offsets.record_event(Timestamp::from_millis(i64::MIN), ms(1));
        assert!(!offsets.estimate(ms(5)).unwrap().has_majority());
    }

    #[test]
    fn clock_change_is_followed_once_most_responses_agree() {
        let mut offsets = Offsets::default();
        let mut respond = |second: u64, base: i64| {
            let at = Duration::from_secs(second);
            offsets.record_response(at, at, Timestamp::from_millis(base + millis(at)), ms(1));
            offsets.estimate(at).unwrap()
        };
        (0..9).for_each(|second| assert_eq!(respond(second, 7_000).low, 7_000));
        (9..13).for_each(|second| assert_eq!(respond(second, 90_000).low, 7_000));
        assert_eq!(respond(13, 90_000).low, 90_000);
    }

    #[test]
    fn event_times_alone_prove_a_lower_bound() {
        let mut offsets = Offsets::default();
        for (second, event) in [(1, 61_000), (2, 62_000), (2, 61_900), (3, 58_000_000_000_000), (4, 63_900)] {
            assert_eq!(offsets.event_lower_bound().is_some(), second > 3);
            offsets.record_event(Timestamp::from_millis(event), Duration::from_secs(second));
        }
        assert_eq!(offsets.event_lower_bound(), Some(60_000), "the timestamp in microseconds does not count");
    }

    proptest! {
        #[test]
        fn minority_of_outliers_does_not_count(
            base in -10_000_000..10_000_000_i64,
            trips in proptest::collection::vec((0..400_u64, 0..400_u64), 9),
            outliers in proptest::collection::btree_map(0..9_usize, any::<i64>(), 0..=4),
        ) {
            let mut offsets = Offsets::default();
            for (index, (outbound, inbound)) in trips.iter().enumerate() {
                let sent = Duration::from_secs(index as u64);
                let (written, received) = (sent + ms(*outbound), sent + ms(*outbound + *inbound));
                // As a `Date` header: in whole seconds.
                let correct = (base + millis(written)).div_euclid(1_000) * 1_000;
                let reported = outliers.get(&index).copied().unwrap_or(correct);
                offsets.record_response(sent, received, Timestamp::from_millis(reported), SECOND);
            }
            let estimate = offsets.estimate(Duration::from_secs(9)).unwrap();
            prop_assert!(estimate.is_confirmed(), "{estimate:?}");
            // Outliers near the true value cannot widen the interval; they can only narrow it.
            prop_assert!(estimate.low <= base + 1_800 && estimate.high >= base - 1_800, "{estimate:?} of {base}");
        }
    }
}
