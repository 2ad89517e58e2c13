//! Rate limits of clients: one GCRA bucket per client, with a window of one minute (crate `governor`).
//!
//! Each request is decided in this process, without a network round trip. Replicas exchange usage four times a second,
//! and usage at other replicas raises the level here. So a client that spreads its requests over replicas gets, after
//! at most 250 ms, no more than at one replica.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use tokio_util::sync::CancellationToken;

use super::client::Identity;
use crate::cache::ClientLimits;
use crate::clock::{Clock, GovernorClock};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// The time to which a client's limit applies.
const WINDOW: Duration = Duration::from_mins(1);

/// Maximum number of clients with a bucket of their own. Above it, new clients share one bucket per shard.
const MAX_CLIENTS: usize = 65_536;

/// Number of shards of the client map. Each has its own lock.
const SHARDS: usize = 16;

/// Interval of the exchange of usage between replicas.
const SYNC_INTERVAL: Duration = Duration::from_millis(250);

/// Maximum number of clients whose usage is exchanged concurrently.
const MAX_CONCURRENT_SYNCS: usize = 64;

/// The rate limits of all clients.
pub struct ClientRateLimits {
    clock: Clock,
    hasher: RandomState,
    shards: [Mutex<HashMap<Identity, Arc<Bucket>>>; SHARDS],
    /// Clients with usage that other replicas do not know yet.
    unsynced: Mutex<Vec<(Identity, Arc<Bucket>)>>,
    shared: Arc<dyn ClientLimits>,
}

/// State of a client's rate limit after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// Units per minute.
    pub quota: u32,
    /// Units that can be used now.
    pub remaining: u32,
    /// Time until the whole quota is available again.
    pub reset_in: Duration,
    /// For a rejected request: time until it would be accepted.
    pub retry_after: Option<Duration>,
}

struct Bucket {
    limiter: RateLimiter<NotKeyed, ArrivalTime, GovernorClock, NoOpMiddleware<Duration>>,
    quota: NonZeroU32,
    arrival_time: ArrivalTime,
    /// Clock time to which `arrival_time` is relative.
    created_at: Duration,
    /// Units used since the last exchange with other replicas.
    unsynced_units: AtomicU32,
}

/// GCRA's theoretical arrival time: when the bucket is empty again, in nanoseconds since it was created.
#[derive(Clone, Default)]
struct ArrivalTime(Arc<AtomicU64>);

impl ClientRateLimits {
    pub fn new(clock: Clock, shared: Arc<dyn ClientLimits>) -> Arc<Self> {
        let (shards, hasher) = (std::array::from_fn(|_| Mutex::default()), RandomState::new());
        Arc::new(Self { clock, hasher, shards, unsynced: Mutex::default(), shared })
    }

    /// Charges `cost` units to a client. If too few units are left, charges nothing and sets `retry_after`. `None` if
    /// there is no limit or no cost.
    pub fn charge(&self, identity: &Identity, per_minute: u32, cost: u32) -> Option<RateLimitStatus> {
        let quota = NonZeroU32::new(per_minute)?;
        let bucket = self.bucket(identity, quota);
        // A request that costs more than the quota uses all of it, so that it can succeed at all.
        let cost = NonZeroU32::new(cost)?.min(quota);
        let decision = bucket.limiter.check_n(cost);
        let now = self.clock.elapsed();
        let retry_after = match decision {
            Ok(Ok(())) => None,
            Ok(Err(refused)) => Some(refused.wait_time_from(now)),
            Err(_) => Some(WINDOW),
        };
        if retry_after.is_none()
            && self.shared.is_shared()
            && bucket.unsynced_units.fetch_add(cost.get(), Ordering::AcqRel) == 0
        {
            self.unsynced.lock().push((identity.clone(), Arc::clone(&bucket)));
        }
        let reset_in = bucket.reset_in(now);
        let remaining = quota.get().saturating_sub(units_in(reset_in, quota));
        Some(RateLimitStatus { quota: per_minute, remaining, reset_in, retry_after })
    }

    fn bucket(&self, identity: &Identity, quota: NonZeroU32) -> Arc<Bucket> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let shard = self.hasher.hash_one(identity) as usize % SHARDS;
        let mut clients = self.shards[shard].lock();
        if let Some(current) = clients.get(identity)
            && current.quota == quota
        {
            return Arc::clone(current);
        }
        if clients.len() >= MAX_CLIENTS / SHARDS {
            // An empty bucket equals a new one, so it can be dropped.
            let now = self.clock.elapsed();
            clients.retain(|_, bucket| !bucket.reset_in(now).is_zero());
        }
        let is_full = clients.len() >= MAX_CLIENTS / SHARDS;
        let key = if is_full { Identity::Key(String::new()) } else { identity.clone() };
        let make = || Arc::new(Bucket::new(quota, &self.clock));
        if is_full {
            return Arc::clone(clients.entry(key).or_insert_with(make));
        }
        let bucket = make();
        clients.insert(key, Arc::clone(&bucket));
        bucket
    }

    /// Exchanges usage with other replicas until `stopping` is cancelled.
    pub async fn run_sync(self: Arc<Self>, stopping: CancellationToken) {
        while self.shared.is_shared() && stopping.run_until_cancelled(self.clock.sleep(SYNC_INTERVAL)).await.is_some() {
            let unsynced = std::mem::take(&mut *self.unsynced.lock());
            let sync = |(identity, bucket)| self.sync_client(identity, bucket);
            stream::iter(unsynced).for_each_concurrent(MAX_CONCURRENT_SYNCS, sync).await;
        }
    }

    async fn sync_client(&self, identity: Identity, bucket: Arc<Bucket>) {
        let usage = drain_time(bucket.unsynced_units.swap(0, Ordering::AcqRel), bucket.quota);
        // On an error this replica continues with its own counts.
        if let Ok(shared_reset_in) = self.shared.record_usage(&identity.shared_name(), usage, WINDOW).await {
            bucket.raise_reset_in(self.clock.elapsed(), shared_reset_in);
        }
    }
}

impl Bucket {
    fn new(quota: NonZeroU32, clock: &Clock) -> Self {
        let (arrival_time, created_at) = (ArrivalTime::default(), clock.elapsed());
        let limiter = RateLimiter::new(Quota::per_minute(quota), arrival_time.clone(), GovernorClock(clock.clone()));
        Self { limiter, quota, arrival_time, created_at, unsynced_units: AtomicU32::new(0) }
    }

    /// Time until the bucket is empty.
    fn reset_in(&self, now: Duration) -> Duration {
        let age = now.saturating_sub(self.created_at);
        Duration::from_nanos(self.arrival_time.0.load(Ordering::Acquire)).saturating_sub(age)
    }

    /// Raises the time until the bucket is empty to at least `reset_in`, as other replicas know it.
    fn raise_reset_in(&self, now: Duration, reset_in: Duration) {
        let until = now.saturating_sub(self.created_at).saturating_add(reset_in.min(WINDOW));
        self.arrival_time.0.fetch_max(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }
}

/// Time in which a bucket drains `units`.
fn drain_time(units: u32, quota: NonZeroU32) -> Duration {
    WINDOW / quota.get() * units
}

/// Units that a bucket drains in `time`, rounded up.
fn units_in(time: Duration, quota: NonZeroU32) -> u32 {
    let each = (WINDOW / quota.get()).as_nanos().max(1);
    u32::try_from(time.as_nanos().div_ceil(each)).unwrap_or(u32::MAX)
}

impl StateStore for ArrivalTime {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut current = self.0.load(Ordering::Acquire);
        loop {
            let (decision, next) = decide((current > 0).then(|| Nanos::from(current)))?;
            match self.0.compare_exchange_weak(current, next.as_u64(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(decision),
                Err(other) => current = other,
            }
        }
    }
}

impl RateLimitStatus {
    /// Writes the `RateLimit` headers of a response (draft-ietf-httpapi-ratelimit-headers).
    pub fn write(&self, headers: &mut HeaderMap) {
        let seconds = self.reset_in.as_millis().div_ceil(1_000);
        let policy = format!("\"default\";q={};w={}", self.quota, WINDOW.as_secs());
        let state = format!("\"default\";r={};t={seconds}", self.remaining);
        for (name, value) in [(POLICY, policy), (STATE, state)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}
