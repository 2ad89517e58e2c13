//! Candles.

use std::time::Duration;

use rust_decimal::Decimal;

use super::{Interval, Timestamp};

/// Time after the end of a candle in which the exchange may still deliver or change it. A candle is fetched only after
/// this time.
pub const CANDLE_GRACE_PERIOD: Duration = Duration::from_secs(2);

/// The trades of one instrument in one interval (OHLCV). Prices are in the quote asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candle {
    /// Open time.
    pub timestamp: Timestamp,
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub close: Decimal,
    /// Traded volume in the base asset.
    pub volume: Decimal,
    /// Traded volume in the quote asset, if the exchange provides it.
    pub quote_volume: Option<Decimal>,
    /// Number of trades, if the exchange provides it.
    pub trades: Option<u64>,
    /// Whether the interval has ended and the values are final.
    pub closed: bool,
    /// Number of changes after the candle was closed.
    pub revision: u32,
}

/// Why a candle is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CandleError {
    #[error("the open time is not on the grid of the interval {0}")]
    OffGrid(Interval),
    #[error("the prices are inconsistent or not positive")]
    Prices,
    #[error("a volume is negative")]
    Volume,
}

impl Candle {
    /// Validates a candle: open time on the grid, `low` ≤ `open`, `close` ≤ `high`, positive prices, no negative
    /// volume.
    ///
    /// # Errors
    /// The first violated rule.
    pub fn check(&self, interval: Interval) -> Result<(), CandleError> {
        if !interval.is_open_time(self.timestamp) {
            return Err(CandleError::OffGrid(interval));
        }
        let (inner_low, inner_high) = (self.open.min(self.close), self.open.max(self.close));
        if self.low > inner_low || self.high < inner_high || self.low <= Decimal::ZERO {
            return Err(CandleError::Prices);
        }
        if self.volume < Decimal::ZERO || self.quote_volume.is_some_and(|volume| volume < Decimal::ZERO) {
            return Err(CandleError::Volume);
        }
        Ok(())
    }

    /// Whether both candles are equal, apart from the revision.
    #[must_use]
    pub fn same_values(&self, other: &Self) -> bool {
        Self { revision: other.revision, ..*self } == *other
    }
}

/// Aggregates shorter candles (`parts`, ascending) into one longer candle that opens at `open`. Parts without a trade
/// do not affect its prices. Returns `None` without parts, and if a sum of volumes overflows. The caller checks that no
/// part is missing.
#[must_use]
pub fn aggregate(open: Timestamp, parts: &[Candle]) -> Option<Candle> {
    let has_trades = |candle: &&Candle| !candle.volume.is_zero();
    let first = parts.iter().find(has_trades).or(parts.first())?;
    let last = parts.iter().rev().find(has_trades).or(parts.last())?;
    let mut longer = Candle {
        timestamp: open,
        close: last.close,
        volume: Decimal::ZERO,
        quote_volume: Some(Decimal::ZERO),
        trades: Some(0),
        closed: parts.iter().all(|part| part.closed),
        revision: 0,
        ..*first
    };
    for part in parts {
        if has_trades(&part) {
            longer.high = longer.high.max(part.high);
            longer.low = longer.low.min(part.low);
        }
        longer.volume = longer.volume.checked_add(part.volume)?;
        longer.quote_volume = match (longer.quote_volume, part.quote_volume) {
            (Some(sum), Some(volume)) => Some(sum.checked_add(volume)?),
            _ => None,
        };
        longer.trades = longer.trades.zip(part.trades).and_then(|(sum, count)| sum.checked_add(count));
    }
    longer.volume = longer.volume.normalize();
    longer.quote_volume = longer.quote_volume.map(|sum| sum.normalize());
    Some(longer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candle(minute: i64, [open, high, low, close, volume]: [i64; 5]) -> Candle {
        Candle {
            timestamp: Timestamp::from_secs(minute * 60),
            open: open.into(),
            high: high.into(),
            low: low.into(),
            close: close.into(),
            volume: volume.into(),
            quote_volume: Some((open * volume).into()),
            trades: Some(volume.unsigned_abs()),
            closed: true,
            revision: 3,
        }
    }

    #[test]
    fn aggregates_minutes_into_longer_candle() {
        let parts = [candle(0, [9, 9, 9, 9, 0]), candle(1, [10, 12, 8, 11, 2]), candle(2, [11, 15, 11, 14, 3])];
        let longer = aggregate(Timestamp::EPOCH, &parts).unwrap();
        assert!(longer.same_values(&Candle { quote_volume: Some(53.into()), ..candle(0, [10, 15, 8, 14, 5]) }));
        assert_eq!(longer.revision, 0);
        let uncounted = [Candle { trades: None, ..parts[0] }, parts[1]];
        assert_eq!(aggregate(Timestamp::EPOCH, &uncounted).unwrap().trades, None);
        assert_eq!(aggregate(Timestamp::EPOCH, &[]), None);
        assert_eq!(aggregate(Timestamp::EPOCH, &parts[..1]).unwrap().open, Decimal::from(9));
    }

    #[test]
    fn overflowing_volumes_yield_no_candle() {
        let huge = |minute| Candle { volume: Decimal::MAX, ..candle(minute, [10, 12, 8, 11, 2]) };
        assert_eq!(aggregate(Timestamp::EPOCH, &[huge(0), huge(1)]), None);
        let quote = |minute| Candle { quote_volume: Some(Decimal::MAX), ..candle(minute, [10, 12, 8, 11, 2]) };
        assert_eq!(aggregate(Timestamp::EPOCH, &[quote(0), quote(1)]), None);
        let counted = |minute| Candle { trades: Some(u64::MAX), ..candle(minute, [10, 12, 8, 11, 2]) };
        assert_eq!(aggregate(Timestamp::EPOCH, &[counted(0), counted(1)]).unwrap().trades, None);
    }

    #[test]
    fn rejects_inconsistent_candles() {
        let good = candle(1, [10, 12, 8, 11, 2]);
        assert_eq!(good.check(Interval::M1), Ok(()));
        assert_eq!(good.check(Interval::M5), Err(CandleError::OffGrid(Interval::M5)));
        assert_eq!(candle(1, [10, 12, 11, 11, 2]).check(Interval::M1), Err(CandleError::Prices));
        assert_eq!(candle(1, [10, 9, 8, 9, 2]).check(Interval::M1), Err(CandleError::Prices));
        assert_eq!(candle(1, [10, 12, -8, 11, 2]).check(Interval::M1), Err(CandleError::Prices));
        assert_eq!(candle(1, [10, 12, 0, 11, 2]).check(Interval::M1), Err(CandleError::Prices));
        assert_eq!(candle(1, [0, 0, 0, 0, 2]).check(Interval::M1), Err(CandleError::Prices));
        assert_eq!(candle(1, [10, 12, 8, 11, -2]).check(Interval::M1), Err(CandleError::Volume));
    }
}
