//! Trades.

use rust_decimal::Decimal;

use super::{ExchangeId, Symbol, Timestamp};

/// Which side the taker was on, the one whose order met a resting one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Buy,
    Sell,
}

impl Side {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

/// One trade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trade {
    pub exchange: ExchangeId,
    pub symbol: Symbol,
    /// The exchange's id of the trade, unique for the symbol.
    pub id: Box<str>,
    /// In the quote asset.
    pub price: Decimal,
    /// In the base asset.
    pub amount: Decimal,
    /// The taker's side.
    pub side: Side,
    /// The exchange's time of the trade.
    pub timestamp: Timestamp,
}
