//! Measures the exchange's clock repeatedly, with as few requests as possible.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::upstream::{Backoff, RestClient};

/// Every response measures the clock. After this time without a response, the server time is requested.
const MEASURE_EVERY: Duration = Duration::from_mins(10);

/// Maximum pause between attempts while the exchange's time is unknown.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Maximum number of measurements at start. One is enough if it agrees with the machine's clock, two if they agree with
/// each other.
const START_ATTEMPTS: u32 = 4;

/// Measures until the exchange's time is known, up to `START_ATTEMPTS` times.
pub async fn measure_at_start(rest: &RestClient, clock: &Clock) {
    for _ in 0..START_ATTEMPTS {
        if rest.exchange_clock().is_known() || clock.timeout(MAX_PAUSE, rest.measure_clock()).await.is_err() {
            return;
        }
    }
}

/// Runs forever. Retries failed measurements; until one succeeds, no candle is closed by the clock.
pub async fn keep_measuring(rest: Arc<RestClient>, clock: Clock) {
    let mut backoff = Backoff::new(Duration::from_secs(5), MAX_PAUSE);
    loop {
        let known = rest.exchange_clock().is_known();
        if known {
            backoff.reset();
        }
        // Short sleeps: the clock may be set or the machine may be suspended meanwhile.
        clock.sleep(if known { Duration::from_secs(5) } else { backoff.next(&clock) }).await;
        if rest.exchange_clock().is_due(MEASURE_EVERY)
            && let Err(error) = rest.measure_clock().await
        {
            tracing::debug!(%error, "the exchange's clock could not be measured");
        }
    }
}
