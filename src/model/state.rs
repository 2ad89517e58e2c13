//! How exchanges are doing: feeds, connections, budgets.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Channel, ExchangeId, Interval, Symbol, Timestamp};

/// How an exchange is doing, as its collector sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeState {
    pub exchange: ExchangeId,
    pub state: FeedState,
    /// When it came to be in this state.
    pub since: Timestamp,
    /// Whether the data come from the simulator.
    pub simulated: bool,
    pub channels: Vec<Channel>,
    /// The intervals that can be had, derived ones included.
    pub intervals: Vec<Interval>,
    /// What is collected now, ascending.
    pub symbols: Vec<Symbol>,
    /// How many more can be collected because someone asks.
    pub room: usize,
    /// What was to be collected, and is not.
    pub ended: Vec<EndedSymbol>,
    pub connections: Vec<ConnectionState>,
    pub budgets: Vec<BudgetState>,
    /// How far its clock is from the machine's. None until its collector has said so.
    #[serde(default)]
    pub clock: Option<ClockOffset>,
    /// When the listing was read last; a new value says that the store has a new one.
    pub listed_at: Option<Timestamp>,
    /// What is wrong, in a sentence, where something is.
    pub detail: Option<String>,
}

/// How far an exchange's clock is from the clock of the machine that collects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockOffset {
    /// Whether it is known. Where it is not, the offset is 0 and the doubt large.
    pub known: bool,
    /// How far the exchange's clock is ahead, in milliseconds; negative where it is behind.
    pub offset_ms: i64,
    /// How wrong the offset can be, in milliseconds, in either direction.
    pub doubt_ms: i64,
}

/// A market that the exchange lists or trades no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedSymbol {
    pub symbol: Symbol,
    /// When its collection ended.
    pub since: Timestamp,
    /// Why, in a sentence.
    pub detail: String,
}

/// The state of an exchange or of a connection to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedState {
    /// Not yet live for the first time.
    Connecting,
    /// Data flow.
    Live,
    /// Connected, but silent.
    Stale,
    /// Was live, and is being connected again.
    Reconnecting,
    /// Cannot be reached.
    Down,
    /// The simulator stands in for it.
    Simulated,
}

impl FeedState {
    pub const ALL: [Self; 6] =
        [Self::Connecting, Self::Live, Self::Stale, Self::Reconnecting, Self::Down, Self::Simulated];

    /// The name in JSON.
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
    /// How many topics it carries.
    pub topics: usize,
    /// When the last data or heartbeat came; a ping is none.
    pub last_message: Option<Timestamp>,
    /// How often it was connected anew.
    pub reconnects: u64,
}

/// One metered budget of an exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetState {
    pub scope: Cow<'static, str>,
    pub limit: u32,
    pub window: Duration,
    pub used: u32,
    /// Until when the breaker holds all calls back.
    pub open_at: Option<Timestamp>,
}

/// An exchange of which no connection gave anything for so long is not heard, whatever its state says: no connection is
/// waited for as long.
const HEARD_WITHIN: Duration = Duration::from_mins(20);

impl ExchangeState {
    /// Whether data flow at `now`: all connections are live, and one of them gave something not long ago.
    #[must_use]
    pub fn flows(&self, now: Timestamp) -> bool {
        let is_live = matches!(self.state, FeedState::Live | FeedState::Simulated)
            && self.connections.iter().all(|connection| connection.state == FeedState::Live);
        let heard = self.connections.iter().filter_map(|connection| connection.last_message).max();
        is_live && heard.is_none_or(|at| now.since(at) <= HEARD_WITHIN)
    }

    /// Whether a subscriber of states has nothing new to hear: the same state, and the same markets gone.
    #[must_use]
    pub fn reads_like(&self, other: &Self) -> bool {
        (self.exchange, self.state, self.since, &self.ended) == (other.exchange, other.state, other.since, &other.ended)
    }

    /// The state of an exchange whose collector has not said anything yet.
    #[must_use]
    pub fn unheard(exchange: ExchangeId, since: Timestamp) -> Self {
        Self {
            exchange,
            state: FeedState::Connecting,
            since,
            simulated: false,
            channels: Vec::new(),
            intervals: Vec::new(),
            symbols: Vec::new(),
            room: 0,
            ended: Vec::new(),
            connections: Vec::new(),
            budgets: Vec::new(),
            clock: None,
            listed_at: None,
            detail: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_flow_while_connections_are_live_and_heard() {
        let at = |mins: i64| Timestamp::from_secs(mins * 60);
        let flows = |state, connection, heard: Option<i64>, now| {
            let connection = ConnectionState {
                id: "binance.1".to_owned(),
                state: connection,
                topics: 1,
                last_message: heard.map(at),
                reconnects: 0,
            };
            let told = ExchangeState::unheard(ExchangeId::Binance, Timestamp::EPOCH);
            ExchangeState { state, connections: vec![connection], ..told }.flows(at(now))
        };
        assert!(flows(FeedState::Live, FeedState::Live, Some(5), 6));
        assert!(flows(FeedState::Live, FeedState::Live, None, 6));
        assert!(!flows(FeedState::Live, FeedState::Live, Some(5), 26), "the collector itself may hang");
        assert!(!flows(FeedState::Stale, FeedState::Stale, Some(5), 6));
        assert!(flows(FeedState::Simulated, FeedState::Live, Some(5), 6));
        assert!(!flows(FeedState::Simulated, FeedState::Stale, Some(5), 6));
    }
}
