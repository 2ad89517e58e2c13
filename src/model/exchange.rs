//! Ids of the supported exchanges.

use std::fmt;
use std::str::FromStr;

/// A supported exchange, in registry order. If a request does not name an exchange, candlewick uses the first enabled
/// one that lists the symbol.
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

/// The text is not the id of a supported exchange.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no exchange `{0}`; expected one of {known}",
    known = ExchangeId::ALL.map(ExchangeId::as_str).join(", ")
)]
pub struct UnknownExchange(pub String);

impl ExchangeId {
    /// All exchanges in registry order.
    pub const ALL: [Self; 5] = [Self::Binance, Self::Kraken, Self::Coinbase, Self::Okx, Self::Bybit];

    /// Id in URLs, configuration and JSON.
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

    /// Display name.
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
