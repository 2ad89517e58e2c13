//! How much each client may use: a bucket each that fills by the minute (GCRA, of the library `governor`).
//!
//! A request is judged in this process, with no question asked. What clients used is told to the other replicas four times a
//! second, and what those know raises the level here: so a client that spreads its requests gets, after at most that time,
//! no more than from one.

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

use super::Identity;
use crate::cache::ClientLimits;
use crate::clock::{Clock, GovernorClock};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// What a limit is for.
const WINDOW: Duration = Duration::from_mins(1);

/// The most clients that are remembered. Past it, those that are new share one bucket for each shelf.
const MOST_CLIENTS: usize = 65_536;

/// Clients stand on so many shelves, each with a lock of its own.
const SHELVES: usize = 16;

/// How often other replicas are told.
const SHARE: Duration = Duration::from_millis(250);

/// How many clients other replicas are told of at a time.
const AT_A_TIME: usize = 64;

/// The limits of all clients.
pub struct Limits {
    clock: Clock,
    hasher: RandomState,
    shelves: [Mutex<HashMap<Identity, Arc<Bucket>>>; SHELVES],
    /// Who used something since the others were told.
    news: Mutex<Vec<(Identity, Arc<Bucket>)>>,
    shared: Arc<dyn ClientLimits>,
}

/// How much of its limit a client has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// What it may use in a minute.
    pub quota: u32,
    /// What it may use at once now.
    pub left: u32,
    /// Until all of it is free again.
    pub free_in: Duration,
    /// For a request that was refused: until it would not be.
    pub refused_for: Option<Duration>,
}

struct Bucket {
    limiter: RateLimiter<NotKeyed, Level, GovernorClock, NoOpMiddleware<Duration>>,
    quota: NonZeroU32,
    level: Level,
    /// By the clock: what the level counts from.
    began: Duration,
    /// What was used since the others were told.
    untold: AtomicU32,
}

/// When the bucket is empty again, in nanoseconds since it was made: what GCRA calls the theoretical arrival time.
#[derive(Clone, Default)]
struct Level(Arc<AtomicU64>);

impl Limits {
    pub fn new(clock: Clock, shared: Arc<dyn ClientLimits>) -> Arc<Self> {
        let (shelves, hasher) = (std::array::from_fn(|_| Mutex::default()), RandomState::new());
        Arc::new(Self { clock, hasher, shelves, news: Mutex::default(), shared })
    }

    /// Takes `cost` from a client's limit, unless that is too much for it now. `None` where there is no limit.
    pub fn charge(&self, identity: &Identity, per_minute: u32, cost: u32) -> Option<Used> {
        let quota = NonZeroU32::new(per_minute)?;
        let bucket = self.bucket(identity, quota);
        // What is dearer than all that a client has takes all of it.
        let cost = NonZeroU32::new(cost)?.min(quota);
        let judged = bucket.limiter.check_n(cost);
        let now = self.clock.elapsed();
        let refused_for = match judged {
            Ok(Ok(())) => None,
            Ok(Err(refused)) => Some(refused.wait_time_from(now)),
            Err(_) => Some(WINDOW),
        };
        if refused_for.is_none()
            && self.shared.is_shared()
            && bucket.untold.fetch_add(cost.get(), Ordering::AcqRel) == 0
        {
            self.news.lock().push((identity.clone(), Arc::clone(&bucket)));
        }
        let free_in = bucket.free_in(now);
        let left = quota.get().saturating_sub(units(free_in, quota));
        Some(Used { quota: per_minute, left, free_in, refused_for })
    }

    fn bucket(&self, identity: &Identity, quota: NonZeroU32) -> Arc<Bucket> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let shelf = self.hasher.hash_one(identity) as usize % SHELVES;
        let mut clients = self.shelves[shelf].lock();
        if let Some(known) = clients.get(identity)
            && known.quota == quota
        {
            return Arc::clone(known);
        }
        if clients.len() >= MOST_CLIENTS / SHELVES {
            // A bucket that is empty is like a new one.
            let now = self.clock.elapsed();
            clients.retain(|_, bucket| !bucket.free_in(now).is_zero());
        }
        let is_full = clients.len() >= MOST_CLIENTS / SHELVES;
        let own = if is_full { Identity::Key(String::new()) } else { identity.clone() };
        let make = || Arc::new(Bucket::new(quota, &self.clock));
        if is_full {
            return Arc::clone(clients.entry(own).or_insert_with(make));
        }
        let bucket = make();
        clients.insert(own, Arc::clone(&bucket));
        bucket
    }

    /// Tells the other replicas what was used, and learns from them, until it is stopped.
    pub async fn share(self: Arc<Self>, stopping: CancellationToken) {
        while self.shared.is_shared() && stopping.run_until_cancelled(self.clock.sleep(SHARE)).await.is_some() {
            let news = std::mem::take(&mut *self.news.lock());
            stream::iter(news).for_each_concurrent(AT_A_TIME, |(identity, bucket)| self.tell(identity, bucket)).await;
        }
    }

    async fn tell(&self, identity: Identity, bucket: Arc<Bucket>) {
        let used = time(bucket.untold.swap(0, Ordering::AcqRel), bucket.quota);
        // Without the others' word each replica counts for itself.
        if let Ok(level) = self.shared.used(&identity.name(), used, WINDOW).await {
            bucket.raise(self.clock.elapsed(), level);
        }
    }
}

impl Bucket {
    fn new(quota: NonZeroU32, clock: &Clock) -> Self {
        let (level, began) = (Level::default(), clock.elapsed());
        let limiter = RateLimiter::new(Quota::per_minute(quota), level.clone(), GovernorClock(clock.clone()));
        Self { limiter, quota, level, began, untold: AtomicU32::new(0) }
    }

    /// How long until all of it is free again.
    fn free_in(&self, now: Duration) -> Duration {
        Duration::from_nanos(self.level.0.load(Ordering::Acquire)).saturating_sub(now.saturating_sub(self.began))
    }

    /// Learns that it is so full.
    fn raise(&self, now: Duration, level: Duration) {
        let until = now.saturating_sub(self.began).saturating_add(level.min(WINDOW));
        self.level.0.fetch_max(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }
}

/// How long it takes until so much is free again.
fn time(units: u32, quota: NonZeroU32) -> Duration {
    WINDOW / quota.get() * units
}

/// How much is free again after so long.
fn units(time: Duration, quota: NonZeroU32) -> u32 {
    let each = (WINDOW / quota.get()).as_nanos().max(1);
    u32::try_from(time.as_nanos().div_ceil(each)).unwrap_or(u32::MAX)
}

impl StateStore for Level {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, judge: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut known = self.0.load(Ordering::Acquire);
        loop {
            let (judged, next) = judge((known > 0).then(|| Nanos::from(known)))?;
            match self.0.compare_exchange_weak(known, next.as_u64(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(judged),
                Err(other) => known = other,
            }
        }
    }
}

impl Used {
    /// Says it in an answer's headers (draft-ietf-httpapi-ratelimit-headers).
    pub fn write(&self, headers: &mut HeaderMap) {
        let seconds = self.free_in.as_millis().div_ceil(1_000);
        let policy = format!("\"default\";q={};w={}", self.quota, WINDOW.as_secs());
        let state = format!("\"default\";r={};t={seconds}", self.left);
        for (name, value) in [(POLICY, policy), (STATE, state)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}
