//! Reports the state of an exchange to the cache and to metrics.

use std::sync::Arc;
use std::time::Duration;

use super::context::CollectorContext;
use crate::exchanges::Exchange;
use crate::model::{
    BudgetState, Channel, ClockOffset, ConnectionState, EndedSymbol, ExchangeId, ExchangeState, FeedState, Interval,
    Symbol, Timestamp,
};
use crate::telemetry::collect::{StateCleared, StateReported};

/// A feed that is not live for this long is down.
const DOWN_AFTER: Duration = Duration::from_mins(1);

/// Reports that an exchange's collector ended and will be restarted. Until then no data is received.
pub async fn report_interrupted(exchange: ExchangeId, reason: &str, context: &CollectorContext) {
    let states = &context.cache.states;
    if let Ok(Some(last)) = states.get(exchange).await {
        let (since, detail) = (context.clock.now(), Some(reason.to_owned()));
        let state = FeedState::Reconnecting;
        let interrupted = ExchangeState { state, since, detail, connections: Vec::new(), ..Arc::unwrap_or_clone(last) };
        // An error can be ignored: the next collector reports its own state.
        let _ = states.put(interrupted).await;
    }
}

/// Reports the state of an exchange.
pub struct StatusReporter {
    context: CollectorContext,
    reported: ExchangeState,
}

impl StatusReporter {
    /// Continues from the state that the previous collector reported, if both are simulated or both are not.
    pub fn new(
        exchange: &'static dyn Exchange,
        simulated: bool,
        before: Option<Arc<ExchangeState>>,
        context: CollectorContext,
    ) -> Self {
        let before = before.filter(|before| before.simulated == simulated);
        let before =
            before.map_or_else(|| ExchangeState::initial(exchange.id(), context.clock.now()), Arc::unwrap_or_clone);
        let reported = ExchangeState {
            simulated,
            // Candles without a stream are built from trades.
            channels: Channel::ALL.to_vec(),
            intervals: Interval::ALL.into_iter().filter(|one| exchange.profile().supports_interval(*one)).collect(),
            connections: Vec::new(),
            ..before
        };
        Self { context, reported }
    }

    /// Sets the measured offset, and the upper bound of the exchange's time now.
    pub const fn set_clock_offset(&mut self, offset: ClockOffset, exchange_time: Timestamp) {
        self.reported.clock = Some(offset);
        self.reported.exchange_time = Some(exchange_time);
    }

    /// A listing was read; `stored_at` is set if it is stored. `missing`: symbols to collect that it does not list, and
    /// why.
    pub fn set_listing(&mut self, stored_at: Option<Timestamp>, missing: Vec<(Symbol, &str)>) {
        self.reported.listed_at = stored_at.or(self.reported.listed_at);
        let now = self.context.clock.now();
        let ended = |(symbol, reason): (Symbol, &str)| {
            let known = self.reported.ended.iter().find(|ended| ended.symbol == symbol && ended.detail == reason);
            let since = known.map_or(now, |known| known.since);
            EndedSymbol { symbol, since, detail: reason.to_owned() }
        };
        self.reported.ended = missing.into_iter().map(ended).collect();
    }

    /// Whether this reason why a market is not collected has not been reported yet.
    pub fn is_unreported(&self, symbol: &Symbol, reason: &str) -> bool {
        !self.reported.ended.iter().any(|ended| ended.symbol == *symbol && ended.detail == reason)
    }

    /// Reports that a collector starts.
    pub async fn report_started(&mut self, budgets: Vec<BudgetState>) {
        let state = match self.reported.state {
            FeedState::Connecting | FeedState::Down => self.reported.state,
            _ => FeedState::Reconnecting,
        };
        self.put_state(state, budgets).await;
    }

    /// Reports that the exchange is not usable, and why.
    pub async fn report_down(&mut self, reason: String, budgets: Vec<BudgetState>) {
        self.reported.detail = Some(reason);
        self.put_state(FeedState::Down, budgets).await;
    }

    /// Reports the collected symbols and the state of the connections.
    pub async fn report(
        &mut self,
        symbols: Vec<Symbol>,
        on_demand_capacity: usize,
        connections: Vec<ConnectionState>,
        budgets: Vec<BudgetState>,
    ) {
        self.reported.symbols = symbols;
        self.reported.on_demand_capacity = on_demand_capacity;
        self.reported.connections = connections;
        let state = feed_state(&self.reported, self.context.clock.now());
        if state == FeedState::Live {
            self.reported.detail = None;
        }
        self.put_state(state, budgets).await;
    }

    async fn put_state(&mut self, state: FeedState, budgets: Vec<BudgetState>) {
        if self.reported.state != state {
            self.reported.state = state;
            self.reported.since = self.context.clock.now();
        }
        self.reported.budgets = budgets;
        StateReported { state: &self.reported, now: self.context.clock.now() }.emit();
        // An error can be ignored: the state is reported again at the next tick.
        let _ = self.context.cache.states.put(self.reported.clone()).await;
    }
}

impl Drop for StatusReporter {
    fn drop(&mut self) {
        StateCleared { state: &self.reported }.emit();
    }
}

/// Derives the state of an exchange from its connections. After the first `live`, it is never `connecting` again.
fn feed_state(reported: &ExchangeState, now: Timestamp) -> FeedState {
    let all = |state| reported.connections.iter().all(|connection| connection.state == state);
    let any = |state| reported.connections.iter().any(|connection| connection.state == state);
    if reported.simulated {
        return FeedState::Simulated;
    }
    if reported.listed_at.is_some() && all(FeedState::Live) {
        return FeedState::Live;
    }
    let broken_since = (reported.state != FeedState::Live).then_some(reported.since);
    match reported.state {
        FeedState::Connecting if !any(FeedState::Down) && now.since(reported.since) < DOWN_AFTER => {
            FeedState::Connecting
        }
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

    fn exchange_state(state: FeedState, connections: &[FeedState]) -> ExchangeState {
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
            ..ExchangeState::initial(ExchangeId::BINANCE, Timestamp::EPOCH)
        }
    }

    #[test]
    fn derives_exchange_state_from_connection_states() {
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
                feed_state(&exchange_state(before, connections), Timestamp::from_secs(secs)),
                after,
                "{before:?} {connections:?}"
            );
        }
        let simulated = ExchangeState { simulated: true, ..exchange_state(Connecting, &[Reconnecting]) };
        assert_eq!(feed_state(&simulated, Timestamp::EPOCH), Simulated);
    }
}
