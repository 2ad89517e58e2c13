//! What a collector tells of itself: the state of its exchange, for whoever asks.

use std::sync::Arc;
use std::time::Duration;

use super::source::Shared;
use crate::exchanges::Exchange;
use crate::model::{
    BudgetState, Channel, ClockOffset, ConnectionState, EndedSymbol, ExchangeId, ExchangeState, FeedState, Interval,
    Symbol, Timestamp,
};
use crate::telemetry::collect::{StateForgotten, StateTold};

/// A feed that could not be brought back for so long is down.
const DOWN_AFTER: Duration = Duration::from_mins(1);

/// Tells that an exchange's collector ended and is started again: nothing flows until then.
pub async fn interrupted(exchange: ExchangeId, why: &str, shared: &Shared) {
    let states = &shared.cache.states;
    if let Ok(Some(last)) = states.get(exchange).await {
        let (since, detail) = (shared.clock.now(), Some(why.to_owned()));
        let state = FeedState::Reconnecting;
        let interrupted = ExchangeState { state, since, detail, connections: Vec::new(), ..Arc::unwrap_or_clone(last) };
        // The next collector tells of itself.
        let _ = states.put(interrupted).await;
    }
}

/// Tells the state of an exchange.
pub struct Teller {
    shared: Shared,
    told: ExchangeState,
}

impl Teller {
    /// Goes on from what the collector before it told, if its data came from the same place.
    pub fn new(
        exchange: &'static dyn Exchange,
        simulated: bool,
        before: Option<Arc<ExchangeState>>,
        shared: Shared,
    ) -> Self {
        let before = before.filter(|before| before.simulated == simulated);
        let before =
            before.map_or_else(|| ExchangeState::unheard(exchange.id(), shared.clock.now()), Arc::unwrap_or_clone);
        let told = ExchangeState {
            simulated,
            // Candles that no stream gives are built.
            channels: Channel::ALL.to_vec(),
            intervals: Interval::ALL.into_iter().filter(|one| exchange.profile().offers(*one)).collect(),
            connections: Vec::new(),
            ..before
        };
        Self { shared, told }
    }

    /// How far the exchange's clock is from ours.
    pub const fn clock(&mut self, offset: ClockOffset) {
        self.told.clock = Some(offset);
    }

    /// The listing was read, and is in the store since `stored_at`; these are missing in it that should be collected.
    pub fn listed(&mut self, stored_at: Option<Timestamp>, missing: Vec<(Symbol, &str)>) {
        self.told.listed_at = stored_at.or(self.told.listed_at);
        let now = self.shared.clock.now();
        let ended = |(symbol, why): (Symbol, &str)| {
            let known = self.told.ended.iter().find(|ended| ended.symbol == symbol && ended.detail == why);
            let since = known.map_or(now, |known| known.since);
            EndedSymbol { symbol, since, detail: why.to_owned() }
        };
        self.told.ended = missing.into_iter().map(ended).collect();
    }

    /// Whether it was not told yet that this is why a market is not collected.
    pub fn is_news(&self, symbol: &Symbol, why: &str) -> bool {
        !self.told.ended.iter().any(|ended| ended.symbol == *symbol && ended.detail == why)
    }

    /// Tells that a collector begins; what was live is being connected again.
    pub async fn begin(&mut self, budgets: Vec<BudgetState>) {
        let state = match self.told.state {
            FeedState::Connecting | FeedState::Down => self.told.state,
            _ => FeedState::Reconnecting,
        };
        self.put(state, budgets).await;
    }

    /// Tells that the exchange cannot be used, and why.
    pub async fn trouble(&mut self, why: String, budgets: Vec<BudgetState>) {
        self.told.detail = Some(why);
        self.put(FeedState::Down, budgets).await;
    }

    /// Tells how the connections are.
    pub async fn tell(
        &mut self,
        symbols: Vec<Symbol>,
        room: usize,
        connections: Vec<ConnectionState>,
        budgets: Vec<BudgetState>,
    ) {
        self.told.symbols = symbols;
        self.told.room = room;
        self.told.connections = connections;
        let state = judge(&self.told, self.shared.clock.now());
        if state == FeedState::Live {
            self.told.detail = None;
        }
        self.put(state, budgets).await;
    }

    async fn put(&mut self, state: FeedState, budgets: Vec<BudgetState>) {
        if self.told.state != state {
            self.told.state = state;
            self.told.since = self.shared.clock.now();
        }
        self.told.budgets = budgets;
        StateTold { state: &self.told, now: self.shared.clock.now() }.emit();
        // Told again at the next tick.
        let _ = self.shared.cache.states.put(self.told.clone()).await;
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        StateForgotten { state: &self.told }.emit();
    }
}

/// The state of an exchange by those of its connections. What was live once is never `connecting` again.
fn judge(told: &ExchangeState, now: Timestamp) -> FeedState {
    let all = |state| told.connections.iter().all(|connection| connection.state == state);
    let any = |state| told.connections.iter().any(|connection| connection.state == state);
    if told.simulated {
        return FeedState::Simulated;
    }
    if told.listed_at.is_some() && all(FeedState::Live) {
        return FeedState::Live;
    }
    let broken_since = (told.state != FeedState::Live).then_some(told.since);
    match told.state {
        FeedState::Connecting if !any(FeedState::Down) && now.since(told.since) < DOWN_AFTER => FeedState::Connecting,
        _ if any(FeedState::Stale) => FeedState::Stale,
        _ if broken_since.is_some_and(|since| now.since(since) >= DOWN_AFTER) => FeedState::Down,
        FeedState::Down => FeedState::Down,
        _ => FeedState::Reconnecting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ExchangeId;

    fn told(state: FeedState, connections: &[FeedState]) -> ExchangeState {
        let connection = |state: &FeedState| ConnectionState {
            id: "binance.1".to_owned(),
            state: *state,
            topics: 1,
            last_message: None,
            reconnects: 0,
        };
        ExchangeState {
            state,
            connections: connections.iter().map(connection).collect(),
            listed_at: Some(Timestamp::EPOCH),
            ..ExchangeState::unheard(ExchangeId::Binance, Timestamp::EPOCH)
        }
    }

    #[test]
    fn one_broken_connection_breaks_the_exchange() {
        use FeedState::{Connecting, Down, Live, Reconnecting, Simulated, Stale};
        for (before, connections, secs, after) in [
            (Connecting, &[Connecting][..], 0, Connecting),
            (Connecting, &[Connecting], 60, Down),
            (Connecting, &[Live, Live], 0, Live),
            (Live, &[Live, Reconnecting], 0, Reconnecting),
            (Reconnecting, &[Live, Reconnecting], 59, Reconnecting),
            (Reconnecting, &[Live, Reconnecting], 60, Down),
            (Live, &[Stale], 0, Stale),
            (Down, &[Reconnecting], 600, Down),
            (Down, &[Live], 600, Live),
        ] {
            assert_eq!(
                judge(&told(before, connections), Timestamp::from_secs(secs)),
                after,
                "{before:?} {connections:?}"
            );
        }
        let simulated = ExchangeState { simulated: true, ..told(Connecting, &[Reconnecting]) };
        assert_eq!(judge(&simulated, Timestamp::EPOCH), Simulated);
    }
}
