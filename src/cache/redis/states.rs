//! Exchange states: polled from Redis twice a second, read from memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::interfaces::KeysInterface;
use futures_util::future::join_all;
use parking_lot::Mutex;

use super::link::RedisLink;
use super::ownership::LocalOwnership;
use super::send_queue::{Op, SendQueue, VALUE_TTL};
use crate::cache::memory::states::MemoryStates;
use crate::cache::{CacheError, ExchangeStates};
use crate::clock::Clock;
use crate::model::{ExchangeId, ExchangeState, FeedState, Timestamp};

/// Interval of the polls.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// After this time without a report, an exchange is down.
const DOWN_AFTER: Duration = Duration::from_secs(10);

/// After this time without a successful poll, the states in memory are stale.
const STALE_AFTER: Duration = Duration::from_secs(3);

/// The exchange states of all replicas.
pub(super) struct RedisStates {
    memory: MemoryStates,
    link: Arc<RedisLink>,
    outgoing: Arc<SendQueue>,
    ownership: Arc<LocalOwnership>,
    clock: Clock,
    system_clock: Clock,
    /// Time of the last successful poll, by `system_clock`.
    polled_at: Mutex<Duration>,
}

impl RedisStates {
    pub fn start(
        link: &Arc<RedisLink>,
        outgoing: &Arc<SendQueue>,
        ownership: &Arc<LocalOwnership>,
        clock: Clock,
    ) -> Arc<Self> {
        let states = Arc::new(Self {
            memory: MemoryStates::new(clock.clone()),
            link: Arc::clone(link),
            outgoing: Arc::clone(outgoing),
            ownership: Arc::clone(ownership),
            clock,
            system_clock: Clock::system(),
            polled_at: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&states).poll());
        states
    }

    async fn poll(self: Arc<Self>) {
        loop {
            let remote: Vec<ExchangeId> =
                ExchangeId::all().filter(|exchange| !self.ownership.is_local(*exchange)).collect();
            let read = join_all(remote.iter().map(|exchange| self.read(*exchange))).await;
            if read.iter().all(Result::is_ok) {
                *self.polled_at.lock() = self.system_clock.elapsed();
            }
            for (exchange, state) in remote.into_iter().zip(read).filter_map(|(id, read)| Some((id, read.ok()?))) {
                // It may have become local in the meantime.
                if self.ownership.is_local(exchange) {
                    continue;
                }
                match state {
                    Some((state, age)) => self.memory.put_with_age(state, self.clock.to_clock_time(age)),
                    // Redis has lost it, and no collector has reported it again.
                    None => {
                        if let Some(state) = self.down_state(exchange).await {
                            let _ = self.memory.put(state).await;
                        }
                    }
                }
            }
            self.system_clock.sleep(POLL_INTERVAL).await;
        }
    }

    /// The state that an exchange's collector reported last, and its age. The age follows from the remaining TTL, so
    /// that only Redis' clock counts.
    async fn read(&self, exchange: ExchangeId) -> Result<Option<(ExchangeState, Duration)>, CacheError> {
        let key = self.link.exchange_key(exchange, "state");
        let (json, ttl) = futures_util::join!(
            self.link.run(self.link.client.get::<Option<Bytes>, _>(key.as_str())),
            self.link.run(self.link.client.pttl::<i64, _>(key.as_str())),
        );
        let (json, ttl) = (json?, Duration::from_millis(u64::try_from(ttl?).unwrap_or_default()));
        let Some(mut state) = json.and_then(|json| serde_json::from_slice::<ExchangeState>(&json).ok()) else {
            return Ok(None);
        };
        let age = VALUE_TTL.saturating_sub(ttl);
        if age > DOWN_AFTER {
            state.state = FeedState::Down;
            state.detail = Some(format!("no report from a collector for {} s", age.as_secs()));
            state.since = self.clock.now() - self.clock.to_clock_time(age);
            state.connections.clear();
        }
        Ok(Some((state, age)))
    }

    /// The state to store for an exchange without a report. `None` if it is already down.
    async fn down_state(&self, exchange: ExchangeId) -> Option<ExchangeState> {
        let known = self.memory.get(exchange).await.ok()??;
        if known.state == FeedState::Down {
            return None;
        }
        let detail = Some("no report from a collector".to_owned());
        let since = self.clock.now();
        let connections = Vec::new();
        Some(ExchangeState { state: FeedState::Down, since, detail, connections, ..Arc::unwrap_or_clone(known) })
    }

    fn is_stale(&self) -> bool {
        self.system_clock.elapsed().saturating_sub(*self.polled_at.lock()) > STALE_AFTER
    }

    /// Marks a remote live state as stale if the last poll is too old.
    fn with_staleness(&self, state: Arc<ExchangeState>) -> Arc<ExchangeState> {
        let is_live = matches!(state.state, FeedState::Live | FeedState::Simulated);
        if !is_live || self.ownership.is_local(state.exchange) || !self.is_stale() {
            return state;
        }
        let detail = Some("Redis does not answer: data that other replicas collect is not received".to_owned());
        Arc::new(ExchangeState { state: FeedState::Stale, detail, ..Arc::unwrap_or_clone(state) })
    }
}

#[async_trait]
impl ExchangeStates for RedisStates {
    async fn put(&self, state: ExchangeState) -> Result<(), CacheError> {
        if let Ok(json) = serde_json::to_vec(&state) {
            let key = self.link.exchange_key(state.exchange, "state");
            self.outgoing.put(Op::Set { key, value: json.into() });
        }
        self.memory.put(state).await
    }

    async fn get(&self, exchange: ExchangeId) -> Result<Option<Arc<ExchangeState>>, CacheError> {
        Ok(self.memory.get(exchange).await?.map(|state| self.with_staleness(state)))
    }

    async fn all(&self) -> Result<Vec<Arc<ExchangeState>>, CacheError> {
        if self.is_stale() || !self.link.is_up() {
            return Err(CacheError("Redis does not answer".to_owned()));
        }
        self.memory.all().await
    }

    fn exchange_time(&self, exchange: ExchangeId) -> Option<Timestamp> {
        self.memory.exchange_time(exchange)
    }
}
