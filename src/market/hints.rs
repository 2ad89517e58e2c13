//! Hints: which markets may have been meant by a symbol that is not listed.
//!
//! A hint compares the text with every symbol of the listings. So it is made once a question, after all listings were
//! searched in vain, apart from the threads that serve connections, one at a time and so many in a second. Past that an
//! answer has no hint.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::directory::Listing;
use crate::clock::Clock;
use crate::model::ExchangeId;

/// The most hints in a second.
const PER_SECOND: u32 = 50;

/// How long an answer waits for the hints of others.
const PATIENCE: Duration = Duration::from_millis(250);

/// Makes hints.
pub(super) struct Hints {
    clock: Clock,
    /// The second, and how many were asked for in it.
    asked: Mutex<(u64, u32)>,
    worker: Arc<Semaphore>,
}

impl Hints {
    pub fn new() -> Self {
        // The work takes the machine's time, also in a time-lapse.
        Self { clock: Clock::system(), asked: Mutex::default(), worker: Arc::new(Semaphore::new(1)) }
    }

    /// Symbols of the listings that may have been meant, each with its exchange: up to five of each.
    pub async fn near(&self, listings: Vec<(ExchangeId, Arc<Listing>)>, text: &str) -> Vec<String> {
        if !self.may_ask() {
            return Vec::new();
        }
        let Ok(Ok(turn)) = self.clock.timeout(PATIENCE, Arc::clone(&self.worker).acquire_owned()).await else {
            return Vec::new();
        };
        let text = text.to_owned();
        let compared = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let of = |(exchange, listing): &(ExchangeId, Arc<Listing>)| {
                listing.near(&text).into_iter().map(|near| format!("{near} on {exchange}")).collect::<Vec<_>>()
            };
            listings.iter().flat_map(of).collect()
        });
        compared.await.unwrap_or_default()
    }

    fn may_ask(&self) -> bool {
        let second = self.clock.elapsed().as_secs();
        let mut asked = self.asked.lock();
        if asked.0 != second {
            *asked = (second, 0);
        }
        asked.1 = asked.1.saturating_add(1);
        asked.1 <= PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_hints() {
        let hints = Hints::new();
        let told = (0..10 * PER_SECOND).filter(|_| hints.may_ask()).count();
        // The second may change meanwhile.
        assert!((50..=100).contains(&told), "{told}");
    }
}
