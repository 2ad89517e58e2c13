//! The lease to collect an exchange, and the demand for its markets. Both run outside the collector's loop, which must
//! not wait for a slow cache.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::context::CollectorContext;
use crate::cache::Lease;
use crate::model::{ExchangeId, Symbol};
use crate::telemetry::collect::LeaseTaken;

/// How long a lease stays valid without a renewal.
const LEASE_TTL: Duration = Duration::from_secs(5);

/// Time between two renewals, and between two attempts to acquire a lease that another collector holds.
const RENEW_EVERY: Duration = Duration::from_millis(500);

/// Time between two reads of demand. A subscriber to a new market waits up to this long.
const DEMAND_POLL_EVERY: Duration = Duration::from_millis(200);

/// Waits until no other collector holds the lease of the exchange, then acquires it. Retries while the cache is
/// unreachable. `None` if `stop` comes first.
pub async fn acquire(exchange: ExchangeId, context: &CollectorContext, stop: &CancellationToken) -> Option<Lease> {
    let name = format!("collect:{exchange}");
    loop {
        if let Ok(Some(lease)) = context.cache.leases.acquire(&name, LEASE_TTL).await {
            LeaseTaken { exchange, token: lease.token }.emit();
            return Some(lease);
        }
        tokio::select! {
            () = context.clock.sleep(RENEW_EVERY) => {}
            () = stop.cancelled() => return None,
        }
    }
}

/// Renews a lease. While the cache is unreachable, collection continues. If the cache has lost the lease, acquires it
/// again. If another collector was faster, sets the lease to `None` and returns.
pub async fn keep_renewed(context: CollectorContext, lease: watch::Sender<Option<Lease>>) {
    let CollectorContext { cache, clock, .. } = context;
    loop {
        clock.sleep(RENEW_EVERY).await;
        let Some(held) = lease.borrow().clone() else { return };
        if let Ok(false) = cache.leases.renew(&held, LEASE_TTL).await {
            match cache.leases.acquire(&held.name, LEASE_TTL).await {
                Ok(Some(new)) => drop(lease.send_replace(Some(new))),
                Ok(None) => {
                    lease.send_replace(None);
                    return;
                }
                Err(_) => {}
            }
        }
    }
}

/// Reads the demand for markets of an exchange, forever. While the cache is unreachable, the last known demand applies.
pub async fn watch_demand(exchange: ExchangeId, context: CollectorContext, demand: watch::Sender<Option<Vec<Symbol>>>) {
    let CollectorContext { cache, clock, .. } = context;
    loop {
        if let Ok(current) = cache.demand.symbols(exchange).await {
            demand.send_if_modified(|demand| {
                let is_new = demand.as_ref() != Some(&current);
                *demand = Some(current);
                is_new
            });
        }
        clock.sleep(DEMAND_POLL_EVERY).await;
    }
}
