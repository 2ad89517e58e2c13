//! Market events.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{
    Candle, CandleError, Channel, ExchangeId, Series, Ticker, TickerPatch, TimeRange, Timestamp, Topic, Trade,
};

/// One event of an exchange's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarketEvent {
    Ticker(Ticker),
    Trade(Trade),
    Candle(CandleUpdate),
    /// Events may have been missed.
    Gap(Gap),
}

/// Why an event is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    #[error("a price is not positive")]
    Price,
    #[error("a size or a volume is negative")]
    Size,
    #[error("the time is more than a century from now")]
    Time,
    #[error("invalid candle: {0}")]
    Candle(#[from] CandleError),
}

/// An update of one candle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandleUpdate {
    pub series: Series,
    pub candle: Candle,
}

/// A time range in which events of an exchange may have been missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub exchange: ExchangeId,
    /// The affected topics.
    pub topics: Vec<Topic>,
    /// From the last message before the interruption to the first message after it.
    pub missed: TimeRange,
    pub reason: GapReason,
}

/// Why events were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The connection to the exchange was lost.
    UpstreamDisconnect,
    /// The client did not keep up.
    SlowClient,
    /// The topic buffer no longer holds the events after the sequence id from which the client resumes.
    ResumeExpired,
    /// The event bus between replicas lost events.
    BusLost,
    /// Another collector or another data source took over.
    NewEpoch,
}

impl GapReason {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UpstreamDisconnect => "upstream_disconnect",
            Self::SlowClient => "slow_client",
            Self::ResumeExpired => "resume_expired",
            Self::BusLost => "bus_lost",
            Self::NewEpoch => "new_epoch",
        }
    }
}

/// Whether a price is valid: positive.
const fn is_price(value: Decimal) -> bool {
    value.is_sign_positive() && !value.is_zero()
}

/// Whether a size or a volume is valid: zero or positive.
const fn is_size(value: Decimal) -> bool {
    value.is_sign_positive() || value.is_zero()
}

impl TickerPatch {
    /// Validates the ticker fields: prices are positive, sizes and volumes are not negative, and the exchange time is
    /// within a century of `received`, the time of receipt.
    ///
    /// # Errors
    /// The first violated rule.
    pub fn check(&self, received: Timestamp) -> Result<(), BadEvent> {
        if ![self.last, self.bid, self.ask, self.open, self.high, self.low].into_iter().flatten().all(is_price) {
            return Err(BadEvent::Price);
        }
        if ![self.bid_size, self.ask_size, self.base_volume, self.quote_volume].into_iter().flatten().all(is_size) {
            return Err(BadEvent::Size);
        }
        if self.timestamp.is_some_and(|at| !at.is_within_century_of(received)) {
            return Err(BadEvent::Time);
        }
        Ok(())
    }
}

impl Trade {
    /// Validates the trade by the rules of [`TickerPatch::check`]. `received` is the time of receipt.
    ///
    /// # Errors
    /// The first violated rule.
    pub fn check(&self, received: Timestamp) -> Result<(), BadEvent> {
        if !is_price(self.price) {
            return Err(BadEvent::Price);
        }
        if !is_size(self.amount) {
            return Err(BadEvent::Size);
        }
        if self.timestamp.is_within_century_of(received) { Ok(()) } else { Err(BadEvent::Time) }
    }
}

impl MarketEvent {
    /// Validates the event. `received` is the time of receipt.
    ///
    /// # Errors
    /// The first violated rule.
    pub fn check(&self, received: Timestamp) -> Result<(), BadEvent> {
        match self {
            Self::Ticker(ticker) => ticker.values.check(received),
            Self::Trade(trade) => trade.check(received),
            Self::Candle(CandleUpdate { candle, .. }) if !candle.timestamp.is_within_century_of(received) => {
                Err(BadEvent::Time)
            }
            Self::Candle(CandleUpdate { series, candle }) => Ok(candle.check(series.interval)?),
            Self::Gap(_) => Ok(()),
        }
    }

    /// The channel of the event; `None` for a gap, which concerns several channels.
    #[must_use]
    pub const fn channel(&self) -> Option<Channel> {
        match self {
            Self::Ticker(_) => Some(Channel::Ticker),
            Self::Trade(_) => Some(Channel::Trades),
            Self::Candle(_) => Some(Channel::Candles),
            Self::Gap(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Side;

    const NOW: Timestamp = Timestamp::from_millis(1_763_672_400_000);

    fn trade(price: i64, amount: i64, timestamp: Timestamp) -> Trade {
        Trade {
            exchange: ExchangeId::BINANCE,
            symbol: "BTC/USDT".parse().unwrap(),
            id: "1".into(),
            price: price.into(),
            amount: amount.into(),
            side: Side::Buy,
            timestamp,
        }
    }

    #[test]
    fn rejects_invalid_trades() {
        assert_eq!(trade(1, 0, NOW).check(NOW), Ok(()));
        assert_eq!(trade(0, 1, NOW).check(NOW), Err(BadEvent::Price));
        assert_eq!(trade(-1, 1, NOW).check(NOW), Err(BadEvent::Price));
        assert_eq!(trade(1, -1, NOW).check(NOW), Err(BadEvent::Size));
        // Microseconds instead of milliseconds.
        assert_eq!(trade(1, 1, Timestamp::from_millis(1_763_672_400_000_000)).check(NOW), Err(BadEvent::Time));
        for wrong in [i64::MIN, i64::MAX, -1_763_672_400_000] {
            assert_eq!(trade(1, 1, Timestamp::from_millis(wrong)).check(NOW), Err(BadEvent::Time));
        }
    }

    #[test]
    fn rejects_invalid_tickers() {
        let good = TickerPatch { last: Some(1.into()), bid_size: Some(0.into()), ..TickerPatch::default() };
        assert_eq!(good.check(NOW), Ok(()));
        assert_eq!(TickerPatch { ask: Some(Decimal::NEGATIVE_ONE), ..good }.check(NOW), Err(BadEvent::Price));
        assert_eq!(TickerPatch { low: Some(Decimal::ZERO), ..good }.check(NOW), Err(BadEvent::Price));
        assert_eq!(TickerPatch { base_volume: Some(Decimal::NEGATIVE_ONE), ..good }.check(NOW), Err(BadEvent::Size));
        let year_58000 = Some(Timestamp::from_millis(1_763_672_400_000_000));
        assert_eq!(TickerPatch { timestamp: year_58000, ..good }.check(NOW), Err(BadEvent::Time));
        assert_eq!(TickerPatch { change_percent: Some(Decimal::NEGATIVE_ONE), ..good }.check(NOW), Ok(()));
    }
}
