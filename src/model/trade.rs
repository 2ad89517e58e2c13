//! Trades.

use rust_decimal::Decimal;

use super::{ExchangeId, Symbol, Timestamp};

/// Side of the taker: the party whose order matched a resting order.
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
    /// Trade id of the exchange, unique per symbol.
    pub id: Box<str>,
    /// In the quote asset.
    pub price: Decimal,
    /// In the base asset.
    pub amount: Decimal,
    pub side: Side,
    /// Exchange time of the trade.
    pub timestamp: Timestamp,
}
