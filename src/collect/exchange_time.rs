//! Keeps measuring what time it is at an exchange, with as few calls as it takes.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::upstream::{Backoff, RestClient};

/// Any answer measures the clock; the exchange is asked for its time after so long without one.
const EVERY: Duration = Duration::from_mins(10);

/// The longest pause while the time there is not known.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How often it is asked at the start: one answer is enough where it agrees with the machine's clock, two where they agree
/// with each other.
const AT_START: u32 = 4;

/// Asks until the time there is known, a few times at most.
pub async fn settle(rest: &RestClient, clock: &Clock) {
    for _ in 0..AT_START {
        if rest.exchange_clock().is_known() || clock.timeout(LONGEST_PAUSE, rest.measure_clock()).await.is_err() {
            return;
        }
    }
}

/// Measures again and again, for ever. What fails is tried again: until then nothing closes by the clock.
pub async fn keep(rest: Arc<RestClient>, clock: Clock) {
    let mut backoff = Backoff::new(Duration::from_secs(5), LONGEST_PAUSE);
    loop {
        let known = rest.exchange_clock().is_known();
        if known {
            backoff.reset();
        }
        // The clock may be set or the machine may sleep meanwhile.
        clock.sleep(if known { Duration::from_secs(5) } else { backoff.next(&clock) }).await;
        if rest.exchange_clock().is_due(EVERY)
            && let Err(error) = rest.measure_clock().await
        {
            tracing::debug!(%error, "the exchange does not say what time it is");
        }
    }
}
