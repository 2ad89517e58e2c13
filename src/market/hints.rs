//! "Did you mean" hints: similar symbols for a symbol that is not listed.
//!
//! A hint compares the text with every symbol of the listings. It is therefore computed once per request, after the
//! search in all listings has failed, on a blocking thread, one at a time, and with a limit per second. Above the limit
//! a response has no hint.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::listing_cache::ListingIndex;
use crate::clock::Clock;
use crate::model::ExchangeId;

/// Maximum number of hints per second.
const MAX_PER_SECOND: u32 = 50;

/// How long a request waits for the hints of other requests.
const TIMEOUT: Duration = Duration::from_millis(250);

/// Computes hints.
pub(super) struct Hints {
    clock: Clock,
    /// The current second and the number of attempts in it.
    window: Mutex<(u64, u32)>,
    semaphore: Arc<Semaphore>,
}

impl Hints {
    pub fn new() -> Self {
        // System time: the work takes real CPU time also when the simulated clock runs faster.
        Self { clock: Clock::system(), window: Mutex::default(), semaphore: Arc::new(Semaphore::new(1)) }
    }

    /// Similar symbols, as `SYMBOL on EXCHANGE`: up to five per listing.
    pub async fn similar_symbols(&self, listings: Vec<(ExchangeId, Arc<ListingIndex>)>, text: &str) -> Vec<String> {
        if !self.try_acquire() {
            return Vec::new();
        }
        let Ok(Ok(permit)) = self.clock.timeout(TIMEOUT, Arc::clone(&self.semaphore).acquire_owned()).await else {
            return Vec::new();
        };
        let text = text.to_owned();
        let compared = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let hints = |(exchange, listing): &(ExchangeId, Arc<ListingIndex>)| {
                listing.similar(&text).into_iter().map(|symbol| format!("{symbol} on {exchange}")).collect::<Vec<_>>()
            };
            listings.iter().flat_map(hints).collect()
        });
        compared.await.unwrap_or_default()
    }

    fn try_acquire(&self) -> bool {
        let second = self.clock.elapsed().as_secs();
        let mut window = self.window.lock();
        if window.0 != second {
            *window = (second, 0);
        }
        window.1 = window.1.saturating_add(1);
        window.1 <= MAX_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hints_per_second() {
        let hints = Hints::new();
        let allowed = (0..10 * MAX_PER_SECOND).filter(|_| hints.try_acquire()).count();
        // The second may change during the test.
        assert!((50..=100).contains(&allowed), "{allowed}");
    }
}
