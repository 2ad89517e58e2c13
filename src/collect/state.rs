//! What a collector tells of itself: the state of its exchange, for whoever asks.

use std::time::Duration;

use super::source::Shared;
use crate::exchanges::Exchange;
use crate::model::{ConnectionState, ExchangeState, FeedState, Interval, Symbol, Timestamp};
use crate::upstream::RestClient;

/// A feed that could not be brought back for so long is down.
const DOWN_AFTER: Duration = Duration::from_mins(1);

/// Tells the state of an exchange.
pub struct Teller {
    shared: Shared,
    told: ExchangeState,
}

impl Teller {
    pub fn new(exchange: &'static dyn Exchange, simulated: bool, shared: Shared) -> Self {
        let profile = exchange.profile();
        let offered = |interval: &Interval| {
            profile.intervals.contains(interval) || profile.intervals.iter().any(|native| native.divides(*interval))
        };
        let told = ExchangeState {
            simulated,
            channels: profile.channels.to_vec(),
            intervals: Interval::ALL.into_iter().filter(offered).collect(),
            ..ExchangeState::unheard(exchange.id(), shared.clock.now())
        };
        Self { shared, told }
    }

    /// The listing was read.
    pub fn listed(&mut self, read_at: Timestamp) {
        self.told.listed_at = Some(read_at);
    }

    /// Tells that the exchange cannot be used, and why.
    pub async fn trouble(&mut self, why: String, rest: &RestClient) {
        self.told.detail = Some(why);
        self.put(FeedState::Down, rest).await;
    }

    /// Tells how the connections are.
    pub async fn tell(&mut self, symbols: Option<Vec<Symbol>>, connections: &[ConnectionState], rest: &RestClient) {
        if let Some(symbols) = symbols {
            self.told.symbols = symbols;
        }
        self.told.connections = connections.to_vec();
        let state = judge(&self.told, self.shared.clock.now());
        if state == FeedState::Live {
            self.told.detail = None;
        }
        self.put(state, rest).await;
    }

    async fn put(&mut self, state: FeedState, rest: &RestClient) {
        if self.told.state != state {
            self.told.state = state;
            self.told.since = self.shared.clock.now();
        }
        self.told.budgets = rest.budgets();
        // Told again at the next tick.
        let _ = self.shared.cache.states.put(self.told.clone()).await;
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
        FeedState::Connecting => FeedState::Connecting,
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
