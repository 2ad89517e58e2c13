//! Candles.

use std::time::Duration;

use rust_decimal::Decimal;

use super::{Interval, Timestamp};

/// How long after its end a candle may still come or change. What is younger is not asked for.
pub const CLOSING_GRACE: Duration = Duration::from_secs(2);

/// What was traded of one instrument in one interval. Prices are in the quote asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candle {
    /// When it opens.
    pub timestamp: Timestamp,
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub close: Decimal,
    /// Traded amount in the base asset.
    pub volume: Decimal,
    /// Traded amount in the quote asset, where the exchange gives it.
    pub quote_volume: Option<Decimal>,
    /// Number of trades, where the exchange gives it.
    pub trades: Option<u64>,
    /// Whether its time is over and the values are final.
    pub closed: bool,
    /// How often it changed after closing.
    pub revision: u32,
}

/// Why a candle cannot be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CandleError {
    #[error("its open time is not on the grid of {0}")]
    OffGrid(Interval),
    #[error("its prices contradict each other, or are not positive")]
    Prices,
    #[error("its volume is negative")]
    Volume,
}

impl Candle {
    /// Checks what holds for every candle: an open time on the grid, `low` ≤ `open`, `close` ≤ `high`, positive prices, no
    /// negative volume.
    ///
    /// # Errors
    /// The first rule that is broken.
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

    /// Whether both say the same of the market; revisions are not compared.
    #[must_use]
    pub fn same_values(&self, other: &Self) -> bool {
        Self { revision: other.revision, ..*self } == *other
    }
}

/// Makes one longer candle that opens at `open` from shorter ones, ascending, of its time. Minutes without a trade
/// do not move its prices. `None` without inputs, and where a sum of volumes overflows. The caller knows whether the inputs
/// are whole.
#[must_use]
pub fn aggregate(open: Timestamp, parts: &[Candle]) -> Option<Candle> {
    let traded = |candle: &&Candle| !candle.volume.is_zero();
    let first = parts.iter().find(traded).or(parts.first())?;
    let last = parts.iter().rev().find(traded).or(parts.last())?;
    let mut whole = Candle {
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
        if traded(&part) {
            whole.high = whole.high.max(part.high);
            whole.low = whole.low.min(part.low);
        }
        whole.volume = whole.volume.checked_add(part.volume)?;
        whole.quote_volume = match (whole.quote_volume, part.quote_volume) {
            (Some(sum), Some(more)) => Some(sum.checked_add(more)?),
            _ => None,
        };
        whole.trades = whole.trades.zip(part.trades).and_then(|(sum, more)| sum.checked_add(more));
    }
    whole.volume = whole.volume.normalize();
    whole.quote_volume = whole.quote_volume.map(|sum| sum.normalize());
    Some(whole)
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
    fn a_longer_candle_sums_its_minutes() {
        let parts = [candle(0, [9, 9, 9, 9, 0]), candle(1, [10, 12, 8, 11, 2]), candle(2, [11, 15, 11, 14, 3])];
        let whole = aggregate(Timestamp::EPOCH, &parts).unwrap();
        assert!(whole.same_values(&Candle { quote_volume: Some(53.into()), ..candle(0, [10, 15, 8, 14, 5]) }));
        assert_eq!(whole.revision, 0);
        let gaps = [Candle { trades: None, ..parts[0] }, parts[1]];
        assert_eq!(aggregate(Timestamp::EPOCH, &gaps).unwrap().trades, None);
        assert_eq!(aggregate(Timestamp::EPOCH, &[]), None);
        assert_eq!(aggregate(Timestamp::EPOCH, &parts[..1]).unwrap().open, Decimal::from(9));
    }

    #[test]
    fn volumes_that_overflow_make_no_candle() {
        let huge = |minute| Candle { volume: Decimal::MAX, ..candle(minute, [10, 12, 8, 11, 2]) };
        assert_eq!(aggregate(Timestamp::EPOCH, &[huge(0), huge(1)]), None);
        let quote = |minute| Candle { quote_volume: Some(Decimal::MAX), ..candle(minute, [10, 12, 8, 11, 2]) };
        assert_eq!(aggregate(Timestamp::EPOCH, &[quote(0), quote(1)]), None);
        let counted = |minute| Candle { trades: Some(u64::MAX), ..candle(minute, [10, 12, 8, 11, 2]) };
        assert_eq!(aggregate(Timestamp::EPOCH, &[counted(0), counted(1)]).unwrap().trades, None);
    }

    #[test]
    fn contradictions_are_refused() {
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
