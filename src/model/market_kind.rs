//! Kinds of markets.

use std::fmt;
use std::str::FromStr;

/// Kind of a market. It follows from the [`Symbol`](super::Symbol).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MarketKind {
    /// Assets are exchanged immediately.
    Spot,
    /// Perpetual contracts and futures that settle in the quote asset.
    Linear,
    /// Perpetual contracts and futures that settle in the base asset.
    Inverse,
}

/// The text is not a market kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of spot, linear, inverse")]
pub struct UnknownMarketKind;

impl MarketKind {
    pub const ALL: [Self; 3] = [Self::Spot, Self::Linear, Self::Inverse];

    /// Name in JSON and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::Linear => "linear",
            Self::Inverse => "inverse",
        }
    }
}

/// Accepts any case.
impl FromStr for MarketKind {
    type Err = UnknownMarketKind;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text)).ok_or(UnknownMarketKind)
    }
}

impl fmt::Display for MarketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
