//! Which exchanges there are.

use std::fmt;
use std::str::FromStr;

/// An exchange that candlewick speaks to, in registry order: where a question names none, the first
/// enabled one that lists the symbol answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExchangeId {
    /// Binance spot.
    Binance,
    /// Kraken spot.
    Kraken,
    /// Coinbase Advanced Trade, spot.
    Coinbase,
    /// OKX spot.
    Okx,
    /// Bybit spot.
    Bybit,
}

/// No exchange has this id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no exchange `{0}`; known are {known}", known = ExchangeId::ALL.map(ExchangeId::as_str).join(", "))]
pub struct UnknownExchange(pub String);

impl ExchangeId {
    /// All exchanges in registry order.
    pub const ALL: [Self; 5] = [Self::Binance, Self::Kraken, Self::Coinbase, Self::Okx, Self::Bybit];

    /// The id in URLs, configuration and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Kraken => "kraken",
            Self::Coinbase => "coinbase",
            Self::Okx => "okx",
            Self::Bybit => "bybit",
        }
    }

    /// The name that people read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binance => "Binance",
            Self::Kraken => "Kraken",
            Self::Coinbase => "Coinbase",
            Self::Okx => "OKX",
            Self::Bybit => "Bybit",
        }
    }
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ExchangeId {
    type Err = UnknownExchange;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|id| id.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownExchange(text.chars().take(40).collect()))
    }
}
