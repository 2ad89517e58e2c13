//! How long to wait before the next try.

use std::time::Duration;

use crate::clock::Clock;

/// Waits that grow and scatter: each is drawn evenly between nothing and a ceiling ("full jitter"), and the ceiling
/// doubles with every try up to a cap. So many clients that lost the same server do not come back in one wave.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    tries: u32,
}

impl Backoff {
    /// The first ceiling, and the one that is never passed.
    #[must_use]
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, tries: 0 }
    }

    /// The most that the next wait can be.
    #[must_use]
    pub fn ceiling(&self) -> Duration {
        self.first.saturating_mul(1 << self.tries.min(30)).min(self.cap)
    }

    /// Draws the next wait and doubles the ceiling.
    pub fn next(&mut self, clock: &Clock) -> Duration {
        let wait = clock.jitter(self.ceiling());
        self.tries = self.tries.saturating_add(1);
        wait
    }

    /// How many waits were drawn since it worked last.
    #[must_use]
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// It works again: the next wait is a short one.
    pub const fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Timestamp;

    proptest! {
        #[test]
        fn no_wait_passes_its_ceiling_and_no_ceiling_the_cap(first in 1_u64..5_000, cap in 1_u64..100_000, tries in 0_usize..80) {
            let clock = Clock::manual(Timestamp::EPOCH);
            let (first, cap) = (Duration::from_millis(first), Duration::from_millis(cap));
            let mut backoff = Backoff::new(first, cap);
            let mut before = Duration::ZERO;
            for _ in 0..tries {
                let ceiling = backoff.ceiling();
                prop_assert!(ceiling >= before && ceiling <= cap);
                prop_assert!(backoff.next(&clock) <= ceiling);
                before = ceiling;
            }
            backoff.reset();
            prop_assert_eq!(backoff.ceiling(), first.min(cap));
        }
    }

    #[test]
    fn waits_are_spread_over_all_of_the_range() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let second = Duration::from_secs(1);
        let waits: Vec<_> = (0..200).map(|_| Backoff::new(second, second).next(&clock)).collect();
        assert!(waits.iter().any(|wait| *wait < second / 10) && waits.iter().any(|wait| *wait > second * 9 / 10));
    }
}
