//! Instruments: the markets of an exchange.

use rust_decimal::Decimal;

use super::{ExchangeId, MarketKind, Symbol, Timestamp};

/// A market of an exchange. Its kind follows from the symbol.
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
    /// Amount increment: in the base asset, of contracts in contracts.
    pub amount_step: Option<Decimal>,
    /// Minimum value of an order, in the quote asset.
    pub min_notional: Option<Decimal>,
    /// Terms of a contract; `None` for a spot market.
    pub contract: Option<Contract>,
    pub status: InstrumentStatus,
}

/// Terms of a perpetual contract or a future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contract {
    /// Size of one contract: in the base asset if the contract is linear, in the quote asset if it is inverse.
    pub size: Decimal,
    /// Time of expiry; `None` for a perpetual contract.
    pub expiry: Option<Timestamp>,
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
    /// A trading market of which only the ids are known.
    #[must_use]
    pub fn new(exchange: ExchangeId, symbol: Symbol, native: impl Into<String>) -> Self {
        Self {
            exchange,
            symbol,
            native: native.into(),
            stream_native: None,
            price_step: None,
            amount_step: None,
            min_notional: None,
            contract: None,
            status: InstrumentStatus::Trading,
        }
    }

    #[must_use]
    pub fn kind(&self) -> MarketKind {
        self.symbol.kind()
    }

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
