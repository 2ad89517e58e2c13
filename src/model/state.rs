//! State of exchanges, connections and rate limit budgets.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Channel, ExchangeId, Interval, Symbol, Timestamp};

/// State of an exchange, as reported by its collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeState {
    pub exchange: ExchangeId,
    pub state: FeedState,
    /// Time of the last change of `state`.
    pub since: Timestamp,
    /// Whether the data comes from the simulator.
    pub simulated: bool,
    pub channels: Vec<Channel>,
    /// Available intervals, including derived ones.
    pub intervals: Vec<Interval>,
    /// Collected markets, ascending.
    pub symbols: Vec<Symbol>,
    /// Number of further markets that can be collected on demand.
    #[serde(rename = "room")]
    pub on_demand_capacity: usize,
    /// Requested markets that are not collected.
    pub ended: Vec<EndedSymbol>,
    pub connections: Vec<ConnectionState>,
    pub budgets: Vec<BudgetState>,
    /// Offset of the exchange's clock. `None` until the collector reports it.
    #[serde(default)]
    pub clock: Option<ClockOffset>,
    /// Upper bound of the exchange's time when `clock` was measured. With the monotonic time since then it gives the
    /// exchange's time to replicas whose own clock is wrong or was set.
    #[serde(default)]
    pub exchange_time: Option<Timestamp>,
    /// Time of the last fetch of the listing. A new value means that the store has a new listing.
    pub listed_at: Option<Timestamp>,
    /// Description of the current problem, if any.
    pub detail: Option<String>,
}

/// Offset between an exchange's clock and the clock of the collecting machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockOffset {
    /// Whether the offset is known. If not, `offset_ms` is 0 and `doubt_ms` is large.
    pub known: bool,
    /// Exchange time minus local time, in milliseconds.
    pub offset_ms: i64,
    /// Maximum error of the offset in either direction, in milliseconds.
    pub doubt_ms: i64,
}

/// A market that the exchange no longer lists or trades.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedSymbol {
    pub symbol: Symbol,
    /// Time at which its collection ended.
    pub since: Timestamp,
    /// Reason.
    pub detail: String,
}

/// The state of an exchange or of a connection to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedState {
    /// Not live yet since the start.
    Connecting,
    /// Data arrives.
    Live,
    /// Connected, but no data arrives.
    Stale,
    /// Reconnecting after it was live.
    Reconnecting,
    /// Unreachable.
    Down,
    /// The simulator replaces the exchange.
    Simulated,
}

impl FeedState {
    pub const ALL: [Self; 6] =
        [Self::Connecting, Self::Live, Self::Stale, Self::Reconnecting, Self::Down, Self::Simulated];

    /// Name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Reconnecting => "reconnecting",
            Self::Down => "down",
            Self::Simulated => "simulated",
        }
    }
}

/// One connection to an exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionState {
    /// `binance.1`
    pub id: String,
    pub state: FeedState,
    /// Number of subscribed topics.
    pub topics: usize,
    /// Time of the last data frame or heartbeat; pings do not count.
    pub last_message: Option<Timestamp>,
    /// Number of reconnects.
    pub reconnects: u64,
}

/// Budget of one rate limit of an exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetState {
    pub scope: Cow<'static, str>,
    pub limit: u32,
    pub window: Duration,
    pub used: u32,
    /// Time until which the circuit breaker blocks all requests; `None` if it is closed.
    pub open_at: Option<Timestamp>,
}

/// Maximum time without a message on any connection. Longer than any liveness timeout, so an exchange that exceeds it
/// is not receiving data, whatever its reported state.
const MAX_SILENCE: Duration = Duration::from_mins(20);

impl ExchangeState {
    /// Whether data arrives at `now`: all connections are live, and the last message, if any, is at most 20 minutes
    /// old.
    #[must_use]
    pub fn is_receiving(&self, now: Timestamp) -> bool {
        let is_live = matches!(self.state, FeedState::Live | FeedState::Simulated)
            && self.connections.iter().all(|connection| connection.state == FeedState::Live);
        let last_message = self.connections.iter().filter_map(|connection| connection.last_message).max();
        is_live && last_message.is_none_or(|at| now.since(at) <= MAX_SILENCE)
    }

    /// Whether subscribers of status events see no difference to `other`: same state, same `since`, same ended markets.
    #[must_use]
    pub fn has_same_status(&self, other: &Self) -> bool {
        (self.exchange, self.state, self.since, &self.ended) == (other.exchange, other.state, other.since, &other.ended)
    }

    /// State of an exchange whose collector has not reported yet.
    #[must_use]
    pub fn initial(exchange: ExchangeId, since: Timestamp) -> Self {
        Self {
            exchange,
            state: FeedState::Connecting,
            since,
            simulated: false,
            channels: Vec::new(),
            intervals: Vec::new(),
            symbols: Vec::new(),
            on_demand_capacity: 0,
            ended: Vec::new(),
            connections: Vec::new(),
            budgets: Vec::new(),
            clock: None,
            exchange_time: None,
            listed_at: None,
            detail: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receives_while_connections_are_live_and_not_silent() {
        let at = |mins: i64| Timestamp::from_secs(mins * 60);
        let is_receiving = |state, connection, last_message: Option<i64>, now| {
            let connection = ConnectionState {
                id: "binance.1".to_owned(),
                state: connection,
                topics: 1,
                last_message: last_message.map(at),
                reconnects: 0,
            };
            let initial = ExchangeState::initial(ExchangeId::BINANCE, Timestamp::EPOCH);
            ExchangeState { state, connections: vec![connection], ..initial }.is_receiving(at(now))
        };
        assert!(is_receiving(FeedState::Live, FeedState::Live, Some(5), 6));
        assert!(is_receiving(FeedState::Live, FeedState::Live, None, 6));
        assert!(!is_receiving(FeedState::Live, FeedState::Live, Some(5), 26), "the collector itself may hang");
        assert!(!is_receiving(FeedState::Stale, FeedState::Stale, Some(5), 6));
        assert!(is_receiving(FeedState::Simulated, FeedState::Live, Some(5), 6));
        assert!(!is_receiving(FeedState::Simulated, FeedState::Stale, Some(5), 6));
    }
}
