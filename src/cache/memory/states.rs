//! Exchange states in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;

use crate::cache::{CacheError, ExchangeStates};
use crate::clock::{CLOCK_JUMP, Clock};
use crate::model::{ExchangeId, ExchangeState, Timestamp};

/// One state per exchange, in registry order.
pub struct MemoryStates {
    clock: Clock,
    states: RwLock<BTreeMap<ExchangeId, Received>>,
}

/// A state, and when its `exchange_time` was received.
struct Received {
    state: Arc<ExchangeState>,
    /// [`Clock::elapsed`] at that time.
    elapsed: Duration,
    /// [`Clock::drift`] at that time.
    drift: i64,
}

impl MemoryStates {
    pub fn new(clock: Clock) -> Self {
        Self { clock, states: RwLock::default() }
    }

    /// Stores a state that was reported `age` ago.
    pub fn put_with_age(&self, state: ExchangeState, age: Duration) {
        let elapsed = self.clock.elapsed().saturating_sub(age);
        let mut received = Received { state: Arc::new(state), elapsed, drift: self.clock.drift() };
        let mut states = self.states.write();
        if let Some(last) = states.get(&received.state.exchange)
            && last.state.exchange_time == received.state.exchange_time
        {
            // Reported again, not measured again.
            (received.elapsed, received.drift) = (last.elapsed, last.drift);
        }
        states.insert(received.state.exchange, received);
    }
}

#[async_trait]
impl ExchangeStates for MemoryStates {
    async fn put(&self, state: ExchangeState) -> Result<(), CacheError> {
        self.put_with_age(state, Duration::ZERO);
        Ok(())
    }

    async fn get(&self, exchange: ExchangeId) -> Result<Option<Arc<ExchangeState>>, CacheError> {
        Ok(self.states.read().get(&exchange).map(|received| Arc::clone(&received.state)))
    }

    async fn all(&self) -> Result<Vec<Arc<ExchangeState>>, CacheError> {
        Ok(self.states.read().values().map(|received| Arc::clone(&received.state)).collect())
    }

    fn exchange_time(&self, exchange: ExchangeId) -> Option<Timestamp> {
        let states = self.states.read();
        let received = states.get(&exchange)?;
        let at = received.state.exchange_time? + self.clock.elapsed().saturating_sub(received.elapsed);
        // The monotonic clock does not count a sleep of the machine. A clock that was set back changes nothing.
        let drift = self.clock.drift().saturating_sub(received.drift);
        let jumped = u64::try_from(drift).map(Duration::from_millis).ok().filter(|drift| *drift >= CLOCK_JUMP);
        Some(at + jumped.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_763_672_400);

    async fn exchange_times(step_ms: i64) -> (Timestamp, Timestamp) {
        let clock = Clock::manual(NOW);
        let states = MemoryStates::new(clock.clone());
        let exchange = ExchangeId::KRAKEN;
        let initial = ExchangeState::initial(exchange, NOW);
        states.put(initial.clone()).await.unwrap();
        assert_eq!(states.exchange_time(exchange), None);
        states.put(ExchangeState { exchange_time: Some(NOW), ..initial.clone() }).await.unwrap();
        clock.advance(Duration::from_secs(10)).await;
        clock.step(step_ms);
        let before = states.exchange_time(exchange).unwrap();
        // Reported again without a new measurement.
        let detail = Some("interrupted".to_owned());
        states.put(ExchangeState { exchange_time: Some(NOW), detail, ..initial }).await.unwrap();
        clock.advance(Duration::from_secs(10)).await;
        (before, states.exchange_time(exchange).unwrap())
    }

    #[tokio::test]
    async fn clock_that_is_set_back_does_not_change_exchange_time() {
        let seconds = |seconds| NOW + Duration::from_secs(seconds);
        for step in [0, 1_000, -1_000, -180_000] {
            assert_eq!(exchange_times(step).await, (seconds(10), seconds(20)), "{step}");
        }
        // A sleep of the machine looks the same as a clock that is set forward.
        assert_eq!(exchange_times(180_000).await, (seconds(190), seconds(200)));
    }
}
