//! The right to collect an exchange, and what others want of it: kept beside the collector's loop, which must not wait for
//! a cache that is slow to answer.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::source::Shared;
use crate::cache::Lease;
use crate::model::{ExchangeId, Symbol};
use crate::telemetry::collect::LeaseTaken;

/// How long a lease is held without being renewed.
const LEASE: Duration = Duration::from_secs(5);

/// How often it is renewed, and tried for where another holds it.
const RENEW: Duration = Duration::from_millis(500);

/// How often demand is read: who listens waits for it.
const READ_DEMAND: Duration = Duration::from_millis(200);

/// Waits until nobody else collects the exchange. While the cache does not answer nobody can know. `None` if `stop` came
/// first.
pub async fn take(exchange: ExchangeId, shared: &Shared, stop: &CancellationToken) -> Option<Lease> {
    let name = format!("collect:{exchange}");
    loop {
        if let Ok(Some(lease)) = shared.cache.leases.acquire(&name, LEASE).await {
            LeaseTaken { exchange, token: lease.token }.emit();
            return Some(lease);
        }
        tokio::select! {
            () = shared.clock.sleep(RENEW) => {}
            () = stop.cancelled() => return None,
        }
    }
}

/// Holds a lease. While the cache does not answer the collection goes on; where it has forgotten the lease, it is taken
/// again, unless another was faster: then there is none any more, and this ends.
pub async fn hold(shared: Shared, lease: watch::Sender<Option<Lease>>) {
    let Shared { cache, clock, .. } = shared;
    loop {
        clock.sleep(RENEW).await;
        let Some(held) = lease.borrow().clone() else { return };
        if let Ok(false) = cache.leases.renew(&held, LEASE).await {
            match cache.leases.acquire(&held.name, LEASE).await {
                Ok(Some(again)) => drop(lease.send_replace(Some(again))),
                Ok(None) => {
                    lease.send_replace(None);
                    return;
                }
                Err(_) => {}
            }
        }
    }
}

/// Looks at what is wanted of an exchange, for ever. While the cache does not answer, what was wanted stays wanted.
pub async fn watch_demand(exchange: ExchangeId, shared: Shared, wanted: watch::Sender<Option<Vec<Symbol>>>) {
    let Shared { cache, clock, .. } = shared;
    loop {
        if let Ok(now) = cache.demand.wanted(exchange).await {
            wanted.send_if_modified(|wanted| {
                let is_new = wanted.as_ref() != Some(&now);
                *wanted = Some(now);
                is_new
            });
        }
        clock.sleep(READ_DEMAND).await;
    }
}
