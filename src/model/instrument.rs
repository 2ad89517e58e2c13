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
    /// Whether it trades now.
    pub active: bool,
}

impl Instrument {
    /// The id that the exchange's WebSocket takes.
    #[must_use]
    pub fn stream_name(&self) -> &str {
        self.stream_native.as_deref().unwrap_or(&self.native)
    }
}
