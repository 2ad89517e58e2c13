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

/// `ticker:binance:BTC/USDT`, `trades:…`, `candles:binance:BTC/USDT:1m`, `candles:binance:BTC/USDT:USDT:1m`
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

/// A symbol may contain `:`, so channel and exchange are read from the start, the interval from the end.
impl FromStr for Topic {
    type Err = BadTopic;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (channel, rest) = text.split_once(':').ok_or(BadTopic)?;
        let (exchange, rest) = rest.split_once(':').ok_or(BadTopic)?;
        let exchange = exchange.parse().map_err(|_| BadTopic)?;
        let symbol = |text: &str| text.parse().map_err(|_| BadTopic);
        match channel {
            "ticker" => Ok(Self::Ticker { exchange, symbol: symbol(rest)? }),
            "trades" => Ok(Self::Trades { exchange, symbol: symbol(rest)? }),
            "candles" => {
                let (market, interval) = rest.rsplit_once(':').ok_or(BadTopic)?;
                let interval = interval.parse().map_err(|_| BadTopic)?;
                Ok(Self::Candles(Series { exchange, symbol: symbol(market)?, interval }))
            }
            _ => Err(BadTopic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn topic_round_trips_through_text() {
        for text in [
            "ticker:binance:BTC/USDT",
            "trades:kraken:ETH/EUR",
            "candles:binance:BTC/USDT:1M",
            "ticker:binance:BTC/USDT:USDT",
            "candles:binance:BTC/USDT:USDT:1m",
            "candles:binance:BTC/USD:BTC-270326:1M",
        ] {
            assert_eq!(text.parse::<Topic>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "ticker",
            "ticker:binance",
            "candles:binance:BTC/USDT",
            "candles:binance:BTC/USDT:USDT",
            "candles:binance:BTC/USDT:1m:1m",
            "book:binance:BTC/USDT",
            "ticker:binance:BTC/USDT:1m",
            "ticker:binance:BTC/USDT:USDT:1m",
            "ticker:binance:BTC/USDT:USDT-270326-1-C",
        ] {
            assert_eq!(text.parse::<Topic>(), Err(BadTopic), "{text}");
        }
    }

    proptest! {
        // Asset codes that look like intervals and channels.
        #[test]
        fn every_topic_round_trips(
            base in "[A-Z0-9]{1,9}|1M|TICKER",
            quote in "[A-Z0-9]{1,9}|1M",
            contract in 0..5,
            interval in 0..Interval::ALL.len(),
            exchange in proptest::sample::select(ExchangeId::all().collect::<Vec<_>>()),
        ) {
            let expiry = crate::model::Timestamp::from_secs(1_800_000_000);
            let symbol = match contract {
                0 => Symbol::new(&base, &quote),
                1 => Symbol::perpetual(&base, &quote, &quote),
                2 => Symbol::perpetual(&base, &quote, &base),
                3 => Symbol::future(&base, &quote, &quote, expiry),
                _ => Symbol::future(&base, &quote, &base, expiry),
            }
            .unwrap();
            let interval = Interval::ALL[interval];
            for topic in [
                Topic::Ticker { exchange, symbol: symbol.clone() },
                Topic::Trades { exchange, symbol: symbol.clone() },
                Topic::Candles(Series { exchange, symbol: symbol.clone(), interval }),
            ] {
                prop_assert_eq!(topic.to_string().parse::<Topic>().unwrap(), topic);
            }
        }
    }
}
