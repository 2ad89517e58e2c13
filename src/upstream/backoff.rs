//! Delay before the next attempt.

use std::time::Duration;

use crate::clock::Clock;

/// Exponential backoff with full jitter: each delay is uniform between zero and a ceiling that doubles with every
/// attempt up to a cap. Clients that lose the same server at the same time do not reconnect at the same time.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    /// A backoff with this initial ceiling and this maximum.
    #[must_use]
    pub const fn new(initial: Duration, cap: Duration) -> Self {
        Self { initial, cap, attempts: 0 }
    }

    /// Upper bound of the next delay.
    #[must_use]
    pub fn ceiling(&self) -> Duration {
        self.initial.saturating_mul(1 << self.attempts.min(30)).min(self.cap)
    }

    /// Draws the next delay and doubles the ceiling.
    pub fn next(&mut self, clock: &Clock) -> Duration {
        let wait = clock.jitter(self.ceiling());
        self.attempts = self.attempts.saturating_add(1);
        wait
    }

    /// Number of delays drawn since the last [`Backoff::reset`].
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Restarts from the initial ceiling. Call it after a success.
    pub const fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Timestamp;

    proptest! {
        #[test]
        fn delay_stays_below_ceiling_and_ceiling_below_cap(
            initial in 1_u64..5_000,
            cap in 1_u64..100_000,
            attempts in 0_usize..80,
        ) {
            let clock = Clock::manual(Timestamp::EPOCH);
            let (initial, cap) = (Duration::from_millis(initial), Duration::from_millis(cap));
            let mut backoff = Backoff::new(initial, cap);
            let mut previous = Duration::ZERO;
            for _ in 0..attempts {
                let ceiling = backoff.ceiling();
                prop_assert!(ceiling >= previous && ceiling <= cap);
                prop_assert!(backoff.next(&clock) <= ceiling);
                previous = ceiling;
            }
            backoff.reset();
            prop_assert_eq!(backoff.ceiling(), initial.min(cap));
        }
    }

    #[test]
    fn delays_cover_the_whole_range() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let second = Duration::from_secs(1);
        let waits: Vec<_> = (0..200).map(|_| Backoff::new(second, second).next(&clock)).collect();
        assert!(waits.iter().any(|wait| *wait < second / 10) && waits.iter().any(|wait| *wait > second * 9 / 10));
    }
}
