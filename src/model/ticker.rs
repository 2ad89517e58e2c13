//! Tickers: the latest price, the best bid and ask, and the last 24 hours.

use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{ExchangeId, Symbol, Timestamp};

/// How far the times of parts may be apart that come in parallel, such as those of the book and of the statistics.
const PARALLEL: Duration = Duration::from_secs(10);

/// Which way a value came.
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

/// The fields of a ticker that an exchange may give; `None` where it did not.
///
/// Sizes and volumes are in the base asset unless they say otherwise, prices in the quote asset, figures over the last 24 hours.
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
    /// Change of `last` against `open`, in per cent.
    pub change_percent: Option<Decimal>,
    /// The exchange's own time of the newest part.
    pub timestamp: Option<Timestamp>,
}

impl TickerPatch {
    /// Takes over every field that `newer` has.
    pub fn merge(&mut self, newer: &Self) {
        macro_rules! take {
            ($($field:ident),*) => { $(self.$field = newer.$field.or(self.$field);)* };
        }
        take!(last, bid, bid_size, ask, ask_size, open, high, low, base_volume, quote_volume, change_percent);
        if let Some(at) = newer.timestamp {
            self.told_at(at);
        }
    }

    /// A part came whose time at the exchange is `at`. What came last counts: one absurd time must not stay. Only the
    /// small step back of parts that come in parallel is not taken.
    pub fn told_at(&mut self, at: Timestamp) {
        let step_back = self.timestamp.map_or(Duration::ZERO, |known| known.since(at));
        if step_back.is_zero() || step_back > PARALLEL {
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
    /// When candlewick received it.
    pub received_at: Timestamp,
    pub source: Source,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absurd_time_does_not_stay() {
        let mut patch = TickerPatch::default();
        let now = 1_763_672_400_000;
        // The third is in microseconds.
        let told = [now, now + 500, now * 1_000, now + 900, now + 400].map(|at| {
            patch.told_at(Timestamp::from_millis(at));
            patch.timestamp.unwrap().millis()
        });
        assert_eq!(told, [now, now + 500, now * 1_000, now + 900, now + 900]);
    }

    #[test]
    fn a_patch_overwrites_what_it_has_and_keeps_the_rest() {
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
