//! What happens on a market.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{
    Candle, CandleError, Channel, ExchangeId, Series, Ticker, TickerPatch, TimeRange, Timestamp, Topic, Trade,
};

/// One thing that happened, as an exchange's stream told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarketEvent {
    Ticker(Ticker),
    Trade(Trade),
    Candle(CandleUpdate),
    /// Something was missed: a hole in the data is an event.
    Gap(Gap),
}

/// Why an event cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    #[error("a price is not positive")]
    Price,
    #[error("a size or a volume is negative")]
    Size,
    #[error("its time is not within a century of now")]
    Time,
    #[error("impossible candle: {0}")]
    Candle(#[from] CandleError),
}

/// A new state of one candle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandleUpdate {
    pub series: Series,
    pub candle: Candle,
}

/// A time in which events of an exchange may have been missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub exchange: ExchangeId,
    /// What was listened to over the broken way.
    pub topics: Vec<Topic>,
    /// From the last message before to the first after it.
    pub missed: TimeRange,
    pub reason: GapReason,
}

/// Why something was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The connection to the exchange broke.
    UpstreamDisconnect,
    /// A subscriber did not keep up.
    SlowClient,
    /// What a subscriber asked to resume is no longer kept.
    ResumeExpired,
    /// The way between replicas broke.
    BusLost,
    /// Another collector, or another source, took over.
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

/// Whether a price can be one.
const fn is_price(value: Decimal) -> bool {
    value.is_sign_positive() && !value.is_zero()
}

/// Whether a size or a volume can be one.
const fn is_size(value: Decimal) -> bool {
    value.is_sign_positive() || value.is_zero()
}

impl TickerPatch {
    /// Checks what holds for every ticker, received at `received`: prices are positive, sizes and volumes not negative, and
    /// the time lies within a century.
    ///
    /// # Errors
    /// The first rule that is broken.
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
    /// Checks what holds for every trade, received at `received`, as [`TickerPatch::check`] does.
    ///
    /// # Errors
    /// The first rule that is broken.
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
    /// Checks an event of an exchange that was received at `received`.
    ///
    /// # Errors
    /// The first rule that is broken.
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

    /// Which channel it came on; a gap concerns several.
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
            exchange: ExchangeId::Binance,
            symbol: "BTC/USDT".parse().unwrap(),
            id: "1".into(),
            price: price.into(),
            amount: amount.into(),
            side: Side::Buy,
            timestamp,
        }
    }

    #[test]
    fn impossible_trades_are_refused() {
        assert_eq!(trade(1, 0, NOW).check(NOW), Ok(()));
        assert_eq!(trade(0, 1, NOW).check(NOW), Err(BadEvent::Price));
        assert_eq!(trade(-1, 1, NOW).check(NOW), Err(BadEvent::Price));
        assert_eq!(trade(1, -1, NOW).check(NOW), Err(BadEvent::Size));
        // In microseconds.
        assert_eq!(trade(1, 1, Timestamp::from_millis(1_763_672_400_000_000)).check(NOW), Err(BadEvent::Time));
        for wrong in [i64::MIN, i64::MAX, -1_763_672_400_000] {
            assert_eq!(trade(1, 1, Timestamp::from_millis(wrong)).check(NOW), Err(BadEvent::Time));
        }
    }

    #[test]
    fn impossible_tickers_are_refused() {
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
