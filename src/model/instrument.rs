//! Instruments: the markets of an exchange.

use rust_decimal::Decimal;

use super::{ExchangeId, Symbol};

/// A spot market of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    pub exchange: ExchangeId,
    pub symbol: Symbol,
    /// The exchange's id in its REST API, such as `BTCUSDT` or `XBTUSDT`.
    pub native: String,
    /// The exchange's id on its WebSocket, if it differs from `native`: Kraken's `BTC/USDT`.
    pub stream_native: Option<String>,
    /// Price increment, in the quote asset.
    pub price_step: Option<Decimal>,
    /// Amount increment, in the base asset.
    pub amount_step: Option<Decimal>,
    pub status: InstrumentStatus,
}

/// Trading status of a market.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstrumentStatus {
    /// Orders are matched.
    Trading,
    /// Trading is suspended or restricted: maintenance, auction, cancel only, post only, not yet started.
    /// Subscriptions, history and repair of the market continue.
    Halted,
    /// The exchange no longer lists the market, or reports it as permanently closed.
    Delisted,
}

/// The text is not an instrument status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of trading, halted, delisted")]
pub struct BadStatus;

impl InstrumentStatus {
    pub const ALL: [Self; 3] = [Self::Trading, Self::Halted, Self::Delisted];

    /// Name in JSON and in the store.
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
    #[must_use]
    pub fn is_trading(&self) -> bool {
        self.status == InstrumentStatus::Trading
    }

    #[must_use]
    pub fn is_delisted(&self) -> bool {
        self.status == InstrumentStatus::Delisted
    }

    /// The exchange's id on its WebSocket.
    #[must_use]
    pub fn stream_name(&self) -> &str {
        self.stream_native.as_deref().unwrap_or(&self.native)
    }
}
