//! Candle series, channels and topics.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ExchangeId, Interval, Symbol};

/// Identifies a candle series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Series {
    pub exchange: ExchangeId,
    pub symbol: Symbol,
    pub interval: Interval,
}

/// `binance:BTC/USDT:1m`
impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.exchange, self.symbol, self.interval)
    }
}

/// Kind of live data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    Ticker,
    Trades,
    Candles,
}

impl Channel {
    pub const ALL: [Self; 3] = [Self::Ticker, Self::Trades, Self::Candles];

    /// Name in topics, metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ticker => "ticker",
            Self::Trades => "trades",
            Self::Candles => "candles",
        }
    }
}

/// A stream of events of one market.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    Ticker { exchange: ExchangeId, symbol: Symbol },
    Trades { exchange: ExchangeId, symbol: Symbol },
    Candles(Series),
}

impl Topic {
    #[must_use]
    pub const fn channel(&self) -> Channel {
        match self {
            Self::Ticker { .. } => Channel::Ticker,
            Self::Trades { .. } => Channel::Trades,
            Self::Candles(_) => Channel::Candles,
        }
    }

    #[must_use]
    pub const fn exchange(&self) -> ExchangeId {
        match self {
            Self::Ticker { exchange, .. } | Self::Trades { exchange, .. } | Self::Candles(Series { exchange, .. }) => {
                *exchange
            }
        }
    }

    #[must_use]
    pub const fn symbol(&self) -> &Symbol {
        match self {
            Self::Ticker { symbol, .. } | Self::Trades { symbol, .. } | Self::Candles(Series { symbol, .. }) => symbol,
        }
    }
}

/// `ticker:binance:BTC/USDT`, `trades:…`, `candles:binance:BTC/USDT:1m`
impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticker { exchange, symbol } => write!(f, "ticker:{exchange}:{symbol}"),
            Self::Trades { exchange, symbol } => write!(f, "trades:{exchange}:{symbol}"),
            Self::Candles(series) => write!(f, "candles:{series}"),
        }
    }
}

/// The text is not a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected ticker:EXCHANGE:SYMBOL, trades:EXCHANGE:SYMBOL or candles:EXCHANGE:SYMBOL:INTERVAL")]
pub struct BadTopic;

impl FromStr for Topic {
    type Err = BadTopic;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or(BadTopic);
        let channel = next()?;
        let exchange = next()?.parse().map_err(|_| BadTopic)?;
        let symbol = next()?.parse().map_err(|_| BadTopic)?;
        let topic = match channel {
            "ticker" => Self::Ticker { exchange, symbol },
            "trades" => Self::Trades { exchange, symbol },
            "candles" => Self::Candles(Series { exchange, symbol, interval: next()?.parse().map_err(|_| BadTopic)? }),
            _ => return Err(BadTopic),
        };
        if parts.next().is_some() { Err(BadTopic) } else { Ok(topic) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_round_trips_through_text() {
        for text in ["ticker:binance:BTC/USDT", "trades:kraken:ETH/EUR", "candles:binance:BTC/USDT:1M"] {
            assert_eq!(text.parse::<Topic>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "ticker",
            "ticker:binance",
            "candles:binance:BTC/USDT",
            "book:binance:BTC/USDT",
            "ticker:binance:BTC/USDT:1m",
        ] {
            assert_eq!(text.parse::<Topic>(), Err(BadTopic), "{text}");
        }
    }
}
