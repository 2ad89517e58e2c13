//! What can be traded on an exchange.

use rust_decimal::Decimal;

use super::{ExchangeId, Symbol};

/// A spot market of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    pub exchange: ExchangeId,
    pub symbol: Symbol,
    /// The exchange's own id, as its REST interface takes it: `BTCUSDT`, `XBTUSDT`.
    pub native: String,
    /// The exchange's id on its WebSocket where it differs from `native`: Kraken's `BTC/USDT`.
    pub stream_native: Option<String>,
    /// The smallest step of a price, in the quote asset.
    pub price_step: Option<Decimal>,
    /// The smallest step of an amount, in the base asset.
    pub amount_step: Option<Decimal>,
    /// Whether it trades.
    pub status: InstrumentStatus,
}

/// Whether a market trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstrumentStatus {
    /// Orders are matched.
    Trading,
    /// Not now, or with restrictions: maintenance, an auction, cancel only, post only, before the first trade. The market
    /// keeps its subscriptions, its history and its repair.
    Halted,
    /// The exchange does not list it any more, or says that it has closed for good.
    Delisted,
}

/// The text is no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a status is trading, halted or delisted")]
pub struct BadStatus;

impl InstrumentStatus {
    /// All statuses.
    pub const ALL: [Self; 3] = [Self::Trading, Self::Halted, Self::Delisted];

    /// The name in JSON and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trading => "trading",
            Self::Halted => "halted",
            Self::Delisted => "delisted",
        }
    }
}

impl std::str::FromStr for InstrumentStatus {
    type Err = BadStatus;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(BadStatus)
    }
}

impl Instrument {
    /// Whether orders are matched now.
    #[must_use]
    pub fn is_trading(&self) -> bool {
        self.status == InstrumentStatus::Trading
    }

    /// Whether the exchange has ended it.
    #[must_use]
    pub fn is_delisted(&self) -> bool {
        self.status == InstrumentStatus::Delisted
    }

    /// The id that the exchange's WebSocket takes.
    #[must_use]
    pub fn stream_name(&self) -> &str {
        self.stream_native.as_deref().unwrap_or(&self.native)
    }
}
