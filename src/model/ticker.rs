//! Tickers: latest price, best bid and ask, statistics of the last 24 hours.

use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{ExchangeId, Symbol, Timestamp};

/// Maximum difference between exchange times of messages that arrive in parallel, such as quotes and statistics.
const MAX_PARALLEL_SKEW: Duration = Duration::from_secs(10);

/// Source of a ticker: the exchange's stream or its REST API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Stream,
    Rest,
}

impl Source {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Rest => "rest",
        }
    }
}

/// Ticker fields; `None` for fields that the exchange does not provide.
///
/// Prices and `quote_volume` are in the quote asset, other sizes and volumes in the base asset. Statistics are over the
/// last 24 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TickerPatch {
    pub last: Option<Decimal>,
    pub bid: Option<Decimal>,
    pub bid_size: Option<Decimal>,
    pub ask: Option<Decimal>,
    pub ask_size: Option<Decimal>,
    pub open: Option<Decimal>,
    pub high: Option<Decimal>,
    pub low: Option<Decimal>,
    pub base_volume: Option<Decimal>,
    pub quote_volume: Option<Decimal>,
    /// Change of `last` relative to `open`, in percent.
    pub change_percent: Option<Decimal>,
    /// Exchange time of the newest message.
    pub timestamp: Option<Timestamp>,
}

impl TickerPatch {
    /// Overwrites the fields that are set in `newer`.
    pub fn merge(&mut self, newer: &Self) {
        macro_rules! take {
            ($($field:ident),*) => { $(self.$field = newer.$field.or(self.$field);)* };
        }
        take!(last, bid, bid_size, ask, ask_size, open, high, low, base_volume, quote_volume, change_percent);
        if let Some(at) = newer.timestamp {
            self.update_timestamp(at);
        }
    }

    /// Applies the exchange time `at` of a received message. The last message wins, so that one wrong time does not
    /// persist. Exception: a step back of up to 10 s is ignored, as messages may arrive in parallel.
    pub fn update_timestamp(&mut self, at: Timestamp) {
        let step_back = self.timestamp.map_or(Duration::ZERO, |known| known.since(at));
        if step_back.is_zero() || step_back > MAX_PARALLEL_SKEW {
            self.timestamp = Some(at);
        }
    }
}

/// The latest state of a market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticker {
    pub exchange: ExchangeId,
    pub symbol: Symbol,
    pub values: TickerPatch,
    /// Time of receipt.
    pub received_at: Timestamp,
    pub source: Source,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_time_does_not_persist() {
        let mut patch = TickerPatch::default();
        let now = 1_763_672_400_000;
        // The third time is in microseconds.
        let timestamps = [now, now + 500, now * 1_000, now + 900, now + 400].map(|at| {
            patch.update_timestamp(Timestamp::from_millis(at));
            patch.timestamp.unwrap().millis()
        });
        assert_eq!(timestamps, [now, now + 500, now * 1_000, now + 900, now + 900]);
    }

    #[test]
    fn merge_overwrites_set_fields_and_keeps_others() {
        let mut book = TickerPatch {
            bid: Some(1.into()),
            ask: Some(3.into()),
            timestamp: Some(Timestamp::from_millis(9)),
            ..Default::default()
        };
        book.merge(&TickerPatch {
            bid: Some(2.into()),
            last: Some(2.into()),
            timestamp: Some(Timestamp::from_millis(5)),
            ..Default::default()
        });
        let expected = TickerPatch {
            bid: Some(2.into()),
            ask: Some(3.into()),
            last: Some(2.into()),
            timestamp: Some(Timestamp::from_millis(9)),
            ..Default::default()
        };
        assert_eq!(book, expected);
    }
}
