//! What clients use of their limits.

use std::time::Duration;

use candlewick::cache::{Cache, CacheError};

use super::{Backend, Replicas};

const WINDOW: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);

async fn uses(cache: &Cache, client: &str, used: Duration) -> Duration {
    cache.limits.used(client, used, WINDOW).await.unwrap_or_else(|error: CacheError| panic!("{error}"))
}

pub async fn what_is_used_is_told_and_bounded(backend: Backend) {
    let told = uses(&backend.cache, "198.51.100.1", 20 * SECOND).await;
    assert!(told <= 20 * SECOND && told > 18 * SECOND, "{told:?}");
    assert!(uses(&backend.cache, "key:0a", 90 * SECOND).await <= WINDOW);
}

pub async fn what_is_used_elsewhere_counts(two: Replicas) {
    assert!(two.server.limits.is_shared());
    uses(&two.collector, "198.51.100.1", 20 * SECOND).await;
    let both = uses(&two.server, "198.51.100.1", 30 * SECOND).await;
    assert!(both > 40 * SECOND && both <= 50 * SECOND, "{both:?}");
    assert!(uses(&two.server, "198.51.100.2", SECOND).await <= SECOND, "others have their own");
    assert!(uses(&two.server, "198.51.100.1", 30 * SECOND).await <= WINDOW);
    // It comes back with time.
    two.clock.sleep(30 * SECOND).await;
    let left = uses(&two.collector, "198.51.100.1", Duration::ZERO).await;
    assert!(left > Duration::ZERO && left <= 30 * SECOND, "{left:?}");
}
