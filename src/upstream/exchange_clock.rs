//! Bounds of an exchange's current time. They decide whether a candle is closed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::offset::{Offsets, millis};
use crate::clock::{CLOCK_JUMP, Clock};
use crate::model::{CANDLE_GRACE_PERIOD, ClockOffset, Timestamp};

/// Assumed error of the machine's clock while the exchange's time is not confirmed.
const UNCONFIRMED_ERROR: Duration = Duration::from_hours(1);

/// Measures an exchange's time. Clones share the measurements.
#[derive(Clone, Debug)]
pub struct ExchangeClock {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    offsets: Offsets,
    /// [`Clock::drift`] at the last check.
    drift: i64,
}

/// Lower and upper bound of an exchange's current time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    low: Timestamp,
    high: Timestamp,
    /// Whether measurements confirm them.
    known: bool,
}

impl ExchangeClock {
    /// A clock without measurements.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let state = State { offsets: Offsets::default(), drift: clock.drift() };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    /// The earliest time that the exchange's clock can show now. A period that ends before it is over at the exchange.
    /// While the exchange's time is not known, this is at least an hour in the past unless event times prove more, so
    /// that the machine's clock alone closes no candle.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.bounds().low
    }

    /// The latest time that the exchange's clock can show now. A timestamp far beyond it is invalid.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        self.bounds().high
    }

    /// Whether the exchange's time is known: several responses agree, or one agrees with the machine's clock.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.bounds().known
    }

    /// How far the exchange's clock is ahead of the machine's; 0 while it is not known.
    #[must_use]
    pub fn offset(&self) -> ClockOffset {
        let (now, bounds) = (self.clock.now(), self.bounds());
        let (low, high) = (bounds.low.millis(), bounds.high.millis());
        let middle = low.saturating_add(high.saturating_sub(low) / 2);
        ClockOffset {
            known: bounds.known,
            offset_ms: if bounds.known { middle.saturating_sub(now.millis()) } else { 0 },
            // Rounded up, so that both bounds are inside.
            doubt_ms: high.saturating_sub(low).saturating_add(1) / 2,
        }
    }

    /// Whether a measurement is due: the time is not known, or the last response is `max_age` old.
    #[must_use]
    pub fn is_due(&self, max_age: Duration) -> bool {
        let elapsed = self.clock.elapsed();
        !self.is_known()
            || self.state.lock().offsets.last_response().is_none_or(|last| elapsed.saturating_sub(last) >= max_age)
    }

    /// Records a response: the exchange's time was in `[reported, reported + resolution)` at some moment between `sent`
    /// and `received`, which are times of [`Clock::elapsed`].
    pub fn record_response(&self, sent: Duration, received: Duration, reported: Timestamp, resolution: Duration) {
        if !(Timestamp::EPOCH..=Timestamp::MAX).contains(&reported) {
            return;
        }
        self.state.lock().offsets.record_response(sent, received, reported, resolution);
    }

    /// Records that an event with the exchange's timestamp `event` was received.
    pub fn record_event_time(&self, event: Timestamp) {
        if !(Timestamp::EPOCH..=Timestamp::MAX).contains(&event) {
            return;
        }
        self.state.lock().offsets.record_event(event, self.clock.elapsed());
    }

    fn bounds(&self) -> Bounds {
        let (elapsed, now, drift) = (self.clock.elapsed(), self.clock.now(), self.clock.drift());
        let mut state = self.state.lock();
        if drift.abs_diff(state.drift) >= CLOCK_JUMP.as_millis().try_into().unwrap_or(u64::MAX) {
            // After a suspend the monotonic time lags behind, so all measurements are void.
            state.offsets.clear();
        }
        state.drift = drift;
        let (since, estimate) = (millis(elapsed), state.offsets.estimate(elapsed));
        let at = |base: i64| Timestamp::from_millis(base.saturating_add(since));
        let machine = now.millis().saturating_sub(since);
        let grace = millis(CANDLE_GRACE_PERIOD);
        if let Some(estimate) = estimate {
            let agrees = estimate.low.saturating_sub(grace) <= machine
                && machine <= estimate.high.saturating_add(grace)
                && estimate.has_majority();
            if estimate.is_confirmed() || agrees {
                return Bounds { low: at(estimate.low), high: at(estimate.high), known: true };
            }
        }
        let measured = estimate.map(|estimate| (at(estimate.low), at(estimate.high)));
        let (low, high) = measured.map_or((now, now), |(low, high)| (low.min(now), high.max(now)));
        // A lower bound that event times prove needs no margin.
        let low = state.offsets.event_lower_bound().map_or(low - UNCONFIRMED_ERROR, at);
        Bounds { low, high: (high + UNCONFIRMED_ERROR).max(low), known: false }
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

        fn true_time(&self) -> Timestamp {
            Timestamp::from_millis(MACHINE.millis() + millis(self.clock.elapsed()) + self.ahead * 1_000)
        }

        /// Records a response with a round trip of 200 ms.
        async fn respond(&self) {
            let sent = self.clock.elapsed();
            self.clock.advance(Duration::from_millis(100)).await;
            let reported = Timestamp::from_secs(self.true_time().millis() / 1_000);
            self.clock.advance(Duration::from_millis(100)).await;
            self.exchange.record_response(sent, self.clock.elapsed(), reported, SECOND);
        }
    }

    #[tokio::test]
    async fn one_response_suffices_if_it_agrees_with_the_machine_else_two() {
        for ahead in [0, 1, -1, 90, -90, 300, -30_000] {
            let setup = Setup::new(ahead);
            assert!(setup.exchange.now() <= setup.clock.now() - UNCONFIRMED_ERROR && !setup.exchange.is_known());
            setup.respond().await;
            assert_eq!(setup.exchange.is_known(), ahead.abs() < 2, "{ahead}");
            assert!(setup.exchange.now() <= setup.true_time());
            setup.respond().await;
            assert!(setup.exchange.is_known());
            let (low, high) = (setup.exchange.now(), setup.exchange.latest());
            assert!(
                low <= setup.true_time()
                    && setup.true_time() <= high
                    && high.since(low) <= Duration::from_millis(1_200)
            );
            let ClockOffset { known, offset_ms, doubt_ms } = setup.exchange.offset();
            assert!(
                known && doubt_ms <= 600 && (offset_ms - ahead * 1_000).abs() <= doubt_ms,
                "{offset_ms} {doubt_ms}"
            );
        }
    }

    #[tokio::test]
    async fn single_outlier_is_ignored() {
        let setup = Setup::new(90);
        for _ in 0..3 {
            setup.respond().await;
        }
        let elapsed = setup.clock.elapsed();
        setup.exchange.record_response(elapsed, elapsed, Timestamp::MAX, SECOND);
        assert!(setup.exchange.is_known() && setup.exchange.now() <= setup.true_time());
        assert!(setup.true_time() <= setup.exchange.latest());
    }

    #[tokio::test]
    async fn clock_jump_discards_measurements() {
        let setup = Setup::new(0);
        setup.respond().await;
        setup.respond().await;
        setup.clock.step(1_000);
        assert!(setup.exchange.is_known(), "a small correction is not a jump");
        assert!(setup.exchange.now() <= setup.true_time());
        setup.clock.step(60_000);
        assert!(!setup.exchange.is_known());
        setup.respond().await;
        setup.respond().await;
        assert!(setup.exchange.is_known() && setup.true_time() <= setup.exchange.latest());
    }

    #[tokio::test]
    async fn event_times_give_a_lower_bound_without_responses() {
        let setup = Setup::new(-180);
        for _ in 0..5 {
            setup.exchange.record_event_time(setup.true_time() - Duration::from_millis(300));
            setup.clock.advance(SECOND).await;
        }
        assert!(!setup.exchange.is_known());
        let now = setup.exchange.now();
        assert!(now <= setup.true_time() && setup.true_time().since(now) < 2 * SECOND);
    }
}
