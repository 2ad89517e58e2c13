//! Contract of client rate limits: recorded usage.

use std::time::Duration;

use candlewick::cache::{Cache, CacheError};

use super::{Backend, Replicas};

const WINDOW: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);

async fn record_usage(cache: &Cache, client: &str, used: Duration) -> Duration {
    cache.limits.record_usage(client, used, WINDOW).await.unwrap_or_else(|error: CacheError| panic!("{error}"))
}

pub async fn usage_is_returned_and_capped(backend: Backend) {
    let recorded = record_usage(&backend.cache, "198.51.100.1", 20 * SECOND).await;
    assert!(recorded <= 20 * SECOND && recorded > 18 * SECOND, "{recorded:?}");
    assert!(record_usage(&backend.cache, "key:0a", 90 * SECOND).await <= WINDOW);
}

pub async fn usage_on_other_replica_counts(replicas: Replicas) {
    assert!(replicas.api.limits.is_shared());
    record_usage(&replicas.collector, "198.51.100.1", 20 * SECOND).await;
    let total = record_usage(&replicas.api, "198.51.100.1", 30 * SECOND).await;
    assert!(total > 40 * SECOND && total <= 50 * SECOND, "{total:?}");
    assert!(record_usage(&replicas.api, "198.51.100.2", SECOND).await <= SECOND, "other clients have their own limit");
    assert!(record_usage(&replicas.api, "198.51.100.1", 30 * SECOND).await <= WINDOW);
    // Usage decays with time.
    replicas.clock.sleep(30 * SECOND).await;
    let remaining = record_usage(&replicas.collector, "198.51.100.1", Duration::ZERO).await;
    assert!(remaining > Duration::ZERO && remaining <= 30 * SECOND, "{remaining:?}");
}
