//! An exchange's own time, as far as it is known: what decides whether a candle is closed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::offset::{Offsets, millis};
use crate::clock::Clock;
use crate::model::{CLOSING_GRACE, ClockOffset, Timestamp};

/// How far off the machine's clock may be where nothing or only one answer says what time it is at the exchange.
const UNKNOWN: Duration = Duration::from_hours(1);

/// Wall-clock and monotonic time that move apart by so much at once: the clock was set, or the machine slept.
pub const CLOCK_JUMP: Duration = Duration::from_secs(5);

/// Tells an exchange's own time. Clones share what is measured.
#[derive(Clone, Debug)]
pub struct ExchangeClock {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    offsets: Offsets,
    /// [`Clock::drift`] when it was looked at last.
    drift: i64,
}

/// Between which times an exchange's clock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    low: Timestamp,
    high: Timestamp,
    /// Whether it was measured, and may be relied on.
    known: bool,
}

impl ExchangeClock {
    /// Nothing is measured yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let state = State { offsets: Offsets::default(), drift: clock.drift() };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    /// The time that the exchange's clock has certainly reached. What is over by it is over. Where the exchange's time is
    /// not known well, this lies far back: then nothing closes by the clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.bounds().low
    }

    /// The time that the exchange's clock has certainly not passed. What lies much later is nonsense.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        self.bounds().high
    }

    /// Whether the exchange's time is known: several answers agree, or one agrees with the machine's clock.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.bounds().known
    }

    /// How far the exchange's clock is ahead of the machine's, as far as it is known.
    #[must_use]
    pub fn offset(&self) -> ClockOffset {
        let (now, bounds) = (self.clock.now(), self.bounds());
        let (low, high) = (bounds.low.millis(), bounds.high.millis());
        let middle = low.saturating_add(high.saturating_sub(low) / 2);
        ClockOffset {
            known: bounds.known,
            offset_ms: if bounds.known { middle.saturating_sub(now.millis()) } else { 0 },
            // Rounded up, so that both ends are inside.
            doubt_ms: high.saturating_sub(low).saturating_add(1) / 2,
        }
    }

    /// Whether it should be measured: it is not known, or was not measured for `longest`.
    #[must_use]
    pub fn is_due(&self, longest: Duration) -> bool {
        let elapsed = self.clock.elapsed();
        !self.is_known()
            || self.state.lock().offsets.last_answer().is_none_or(|last| elapsed.saturating_sub(last) >= longest)
    }

    /// The exchange wrote that its time was in `[there, there + resolution)`, somewhere between `asked` and `received`,
    /// which are times of [`Clock::elapsed`].
    pub fn answered(&self, asked: Duration, received: Duration, there: Timestamp, resolution: Duration) {
        if !(Timestamp::EPOCH..=Timestamp::MAX).contains(&there) {
            return;
        }
        self.state.lock().offsets.answered(asked, received, there, resolution);
    }

    /// An event with the exchange's time `event` came.
    pub fn heard(&self, event: Timestamp) {
        if !(Timestamp::EPOCH..=Timestamp::MAX).contains(&event) {
            return;
        }
        self.state.lock().offsets.heard(event, self.clock.elapsed());
    }

    fn bounds(&self) -> Bounds {
        let (elapsed, now, drift) = (self.clock.elapsed(), self.clock.now(), self.clock.drift());
        let mut state = self.state.lock();
        if drift.abs_diff(state.drift) >= CLOCK_JUMP.as_millis().try_into().unwrap_or(u64::MAX) {
            // After a sleep the monotonic time lags behind: nothing that was measured holds.
            state.offsets.clear();
        }
        state.drift = drift;
        let (since, estimate) = (millis(elapsed), state.offsets.estimate(elapsed));
        let at = |base: i64| Timestamp::from_millis(base.saturating_add(since));
        let machine = now.millis().saturating_sub(since);
        let grace = millis(CLOSING_GRACE);
        if let Some(estimate) = estimate {
            let agrees = estimate.low.saturating_sub(grace) <= machine
                && machine <= estimate.high.saturating_add(grace)
                && estimate.has_majority();
            if estimate.is_confirmed() || agrees {
                return Bounds { low: at(estimate.low), high: at(estimate.high), known: true };
            }
        }
        let told = estimate.map(|estimate| (at(estimate.low), at(estimate.high)));
        let (low, high) = told.map_or((now, now), |(low, high)| (low.min(now), high.max(now)));
        // What the streams prove is no guess.
        let low = state.offsets.least_heard().map_or(low - UNKNOWN, at);
        Bounds { low, high: (high + UNKNOWN).max(low), known: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Timestamp = Timestamp::from_secs(1_763_672_400);
    const SECOND: Duration = Duration::from_secs(1);

    struct Setup {
        clock: Clock,
        exchange: ExchangeClock,
        /// The exchange's clock minus the machine's, in seconds.
        ahead: i64,
    }

    impl Setup {
        fn new(ahead: i64) -> Self {
            let clock = Clock::manual(MACHINE);
            Self { exchange: ExchangeClock::new(clock.clone()), clock, ahead }
        }

        fn truth(&self) -> Timestamp {
            Timestamp::from_millis(MACHINE.millis() + millis(self.clock.elapsed()) + self.ahead * 1_000)
        }

        /// An answer that takes 200 ms.
        async fn answer(&self) {
            let asked = self.clock.elapsed();
            self.clock.advance(Duration::from_millis(100)).await;
            let there = Timestamp::from_secs(self.truth().millis() / 1_000);
            self.clock.advance(Duration::from_millis(100)).await;
            self.exchange.answered(asked, self.clock.elapsed(), there, SECOND);
        }
    }

    #[tokio::test]
    async fn what_agrees_with_the_machine_is_known_at_once_and_else_when_it_is_confirmed() {
        for ahead in [0, 1, -1, 90, -90, 300, -30_000] {
            let setup = Setup::new(ahead);
            assert!(setup.exchange.now() <= setup.clock.now() - UNKNOWN && !setup.exchange.is_known());
            setup.answer().await;
            assert_eq!(setup.exchange.is_known(), ahead.abs() < 2, "{ahead}");
            assert!(setup.exchange.now() <= setup.truth());
            setup.answer().await;
            assert!(setup.exchange.is_known());
            let (low, high) = (setup.exchange.now(), setup.exchange.latest());
            assert!(low <= setup.truth() && setup.truth() <= high && high.since(low) <= Duration::from_millis(1_200));
            let ClockOffset { known, offset_ms, doubt_ms } = setup.exchange.offset();
            assert!(
                known && doubt_ms <= 600 && (offset_ms - ahead * 1_000).abs() <= doubt_ms,
                "{offset_ms} {doubt_ms}"
            );
        }
    }

    #[tokio::test]
    async fn one_absurd_answer_among_good_ones_does_not_count() {
        let setup = Setup::new(90);
        for _ in 0..3 {
            setup.answer().await;
        }
        let elapsed = setup.clock.elapsed();
        setup.exchange.answered(elapsed, elapsed, Timestamp::MAX, SECOND);
        assert!(setup.exchange.is_known() && setup.exchange.now() <= setup.truth());
        assert!(setup.truth() <= setup.exchange.latest());
    }

    #[tokio::test]
    async fn setting_the_clock_or_a_sleep_begins_anew() {
        let setup = Setup::new(0);
        setup.answer().await;
        setup.answer().await;
        setup.clock.step(1_000);
        assert!(setup.exchange.is_known(), "a correction is none");
        assert!(setup.exchange.now() <= setup.truth());
        setup.clock.step(60_000);
        assert!(!setup.exchange.is_known());
        setup.answer().await;
        setup.answer().await;
        assert!(setup.exchange.is_known() && setup.truth() <= setup.exchange.latest());
    }

    #[tokio::test]
    async fn without_answers_the_streams_prove_a_least_time() {
        let setup = Setup::new(-180);
        for _ in 0..5 {
            setup.exchange.heard(setup.truth() - Duration::from_millis(300));
            setup.clock.advance(SECOND).await;
        }
        assert!(!setup.exchange.is_known());
        let now = setup.exchange.now();
        assert!(now <= setup.truth() && setup.truth().since(now) < 2 * SECOND);
    }
}
