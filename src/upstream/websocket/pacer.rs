//! Spaces outgoing messages.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::{Clock, GovernorClock};

/// Limiter with one message per interval, without bursts.
pub(super) struct SendPacer {
    limiter: RateLimiter<NotKeyed, InMemoryState, GovernorClock, NoOpMiddleware<Duration>>,
    clock: GovernorClock,
}

impl SendPacer {
    /// Allows one message per `interval`.
    pub fn new(interval: Duration, clock: &Clock) -> Self {
        let clock = GovernorClock(clock.clone());
        let interval = interval.max(Duration::from_millis(1));
        let quota = Quota::with_period(interval).unwrap_or(Quota::per_second(NonZeroU32::MIN));
        Self { limiter: RateLimiter::direct_with_clock(quota, clock.clone()), clock }
    }

    /// Takes the permit to send one message now.
    ///
    /// # Errors
    /// When to try again, by the clock's `elapsed`.
    pub fn take(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|early| {
            let now = self.clock.now();
            now + early.wait_time_from(now).max(Duration::from_millis(1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[tokio::test]
    async fn messages_are_spaced_evenly() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let pacer = SendPacer::new(Duration::from_millis(250), &clock);
        let mut sent = Vec::new();
        while sent.len() < 5 {
            match pacer.take() {
                Ok(()) => sent.push(clock.now().millis()),
                Err(at) => clock.advance(at.saturating_sub(clock.elapsed())).await,
            }
        }
        assert_eq!(sent, [0, 250, 500, 750, 1_000]);
    }
}
