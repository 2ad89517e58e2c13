//! What happens on a market.

use serde::{Deserialize, Serialize};

use super::{Candle, Channel, ExchangeId, Series, Ticker, TimeRange, Topic, Trade};

/// One thing that happened, as an exchange's stream told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarketEvent {
    Ticker(Ticker),
    Trade(Trade),
    Candle(CandleUpdate),
    /// Something was missed: a hole in the data is an event.
    Gap(Gap),
}

/// A new state of one candle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandleUpdate {
    pub series: Series,
    pub candle: Candle,
}

/// A time in which events of an exchange may have been missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub exchange: ExchangeId,
    /// What was listened to over the broken way.
    pub topics: Vec<Topic>,
    /// From the last message before to the first after it.
    pub missed: TimeRange,
    pub reason: GapReason,
}

/// Why something was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The connection to the exchange broke.
    UpstreamDisconnect,
    /// A subscriber did not keep up.
    SlowClient,
    /// What a subscriber asked to resume is no longer kept.
    ResumeExpired,
    /// The way between replicas broke.
    BusLost,
    /// Another collector, or another source, took over.
    NewEpoch,
}

impl GapReason {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UpstreamDisconnect => "upstream_disconnect",
            Self::SlowClient => "slow_client",
            Self::ResumeExpired => "resume_expired",
            Self::BusLost => "bus_lost",
            Self::NewEpoch => "new_epoch",
        }
    }
}

impl MarketEvent {
    /// Which channel it came on; a gap concerns several.
    #[must_use]
    pub const fn channel(&self) -> Option<Channel> {
        match self {
            Self::Ticker(_) => Some(Channel::Ticker),
            Self::Trade(_) => Some(Channel::Trades),
            Self::Candle(_) => Some(Channel::Candles),
            Self::Gap(_) => None,
        }
    }
}
