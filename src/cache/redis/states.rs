//! What collectors tell about exchanges: read from Redis twice a second, and from memory by whoever asks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::interfaces::KeysInterface;
use futures_util::future::join_all;
use parking_lot::Mutex;

use super::Home;
use super::link::Link;
use super::outgoing::{LIFETIME, Op, Outgoing};
use crate::cache::memory::states::States;
use crate::cache::{CacheError, ExchangeStates};
use crate::clock::Clock;
use crate::model::{ExchangeId, ExchangeState, FeedState};

/// How often the states are read.
const READ: Duration = Duration::from_millis(500);

/// A collector that has told nothing for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// What is in memory is old when Redis has not answered for so long.
const OLD_AFTER: Duration = Duration::from_secs(3);

/// The states that this replica knows.
pub(super) struct RedisStates {
    memory: States,
    link: Arc<Link>,
    outgoing: Arc<Outgoing>,
    home: Arc<Home>,
    clock: Clock,
    machine: Clock,
    /// When Redis was read last, by the machine's clock.
    read_at: Mutex<Duration>,
}

impl RedisStates {
    pub fn start(link: &Arc<Link>, outgoing: &Arc<Outgoing>, home: &Arc<Home>, clock: Clock) -> Arc<Self> {
        let states = Arc::new(Self {
            memory: States::default(),
            link: Arc::clone(link),
            outgoing: Arc::clone(outgoing),
            home: Arc::clone(home),
            clock,
            machine: Clock::system(),
            read_at: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&states).follow());
        states
    }

    async fn follow(self: Arc<Self>) {
        loop {
            let elsewhere: Vec<ExchangeId> =
                ExchangeId::ALL.into_iter().filter(|exchange| !self.home.collects(*exchange)).collect();
            let read = join_all(elsewhere.iter().map(|exchange| self.read(*exchange))).await;
            if read.iter().all(Result::is_ok) {
                *self.read_at.lock() = self.machine.elapsed();
            }
            for (exchange, told) in elsewhere.into_iter().zip(read).filter_map(|(id, read)| Some((id, read.ok()?))) {
                // Meanwhile it may have come home.
                if self.home.collects(exchange) {
                    continue;
                }
                let told = match told {
                    Some(told) => Some(told),
                    // Redis has forgotten it, and nobody has told it again.
                    None => self.forgotten(exchange).await,
                };
                if let Some(state) = told {
                    let _ = self.memory.put(state).await;
                }
            }
            self.machine.sleep(READ).await;
        }
    }

    /// What an exchange's collector told last. Its age is the part of its lifetime that is over: no clock but Redis' own.
    async fn read(&self, exchange: ExchangeId) -> Result<Option<ExchangeState>, CacheError> {
        let key = self.link.of(exchange, "state");
        let (told, left) = futures_util::join!(
            self.link.run(self.link.client.get::<Option<Bytes>, _>(key.as_str())),
            self.link.run(self.link.client.pttl::<i64, _>(key.as_str())),
        );
        let (told, left) = (told?, Duration::from_millis(u64::try_from(left?).unwrap_or_default()));
        let Some(mut state) = told.and_then(|json| serde_json::from_slice::<ExchangeState>(&json).ok()) else {
            return Ok(None);
        };
        let silent = LIFETIME.saturating_sub(left);
        if silent > GONE_AFTER {
            state.state = FeedState::Down;
            state.detail = Some(format!("no collector has told anything for {} s", silent.as_secs()));
            state.since = self.clock.now() - self.clock.inside(silent);
            state.connections.clear();
        }
        Ok(Some(state))
    }

    /// The state of an exchange of which nobody has told anything.
    async fn forgotten(&self, exchange: ExchangeId) -> Option<ExchangeState> {
        let known = self.memory.get(exchange).await.ok()??;
        if known.state == FeedState::Down {
            return None;
        }
        let detail = Some("no collector has told anything of it".to_owned());
        let since = self.clock.now();
        let connections = Vec::new();
        Some(ExchangeState { state: FeedState::Down, since, detail, connections, ..Arc::unwrap_or_clone(known) })
    }

    fn is_old(&self) -> bool {
        self.machine.elapsed().saturating_sub(*self.read_at.lock()) > OLD_AFTER
    }

    /// A state that could not be read lately says so.
    fn aged(&self, state: Arc<ExchangeState>) -> Arc<ExchangeState> {
        let flows = matches!(state.state, FeedState::Live | FeedState::Simulated);
        if !flows || self.home.collects(state.exchange) || !self.is_old() {
            return state;
        }
        let detail = Some("Redis does not answer: what other replicas collect is not heard".to_owned());
        Arc::new(ExchangeState { state: FeedState::Stale, detail, ..Arc::unwrap_or_clone(state) })
    }
}

#[async_trait]
impl ExchangeStates for RedisStates {
    async fn put(&self, state: ExchangeState) -> Result<(), CacheError> {
        if let Ok(json) = serde_json::to_vec(&state) {
            let key = self.link.of(state.exchange, "state");
            self.outgoing.put(Op::Set { key, value: json.into() });
        }
        self.memory.put(state).await
    }

    async fn get(&self, exchange: ExchangeId) -> Result<Option<Arc<ExchangeState>>, CacheError> {
        Ok(self.memory.get(exchange).await?.map(|state| self.aged(state)))
    }

    async fn all(&self) -> Result<Vec<Arc<ExchangeState>>, CacheError> {
        if self.is_old() || !self.link.is_up() {
            return Err(CacheError("Redis does not answer".to_owned()));
        }
        self.memory.all().await
    }
}
