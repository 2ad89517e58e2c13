//! Formats shared by REST and streams.

use rust_decimal::Decimal;

use crate::model::{Interval, TimeRange, Timestamp};
use crate::simulator::catalog::Listing;
use crate::simulator::market::{DayStatistics, TopOfBook};
use crate::simulator::trades::{Bar, MINUTE, price_at};

pub(super) const HOUR: i64 = 60 * MINUTE;
/// Offset of Hong Kong time from UTC in milliseconds, all year.
pub(super) const HONG_KONG_OFFSET: i64 = 8 * HOUR;

/// A bar size: the interval, and the UTC offset of the clock that it is aligned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) interval: Interval,
    /// Offset of that clock from UTC in milliseconds.
    pub(super) utc_offset: i64,
}

impl Grid {
    /// "UTC+8 opening price k-line: [6H/12H/1D/2D/3D/1W/1M/3M], UTC+0 opening price k-line:
    /// [6Hutc/12Hutc/1Dutc/2Dutc/3Dutc/1Wutc/1Mutc/3Mutc]". Bar sizes of 2 days, 3 days and 3 months are not simulated,
    /// because the documentation does not say what they are aligned to.
    /// <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks>
    pub(super) fn parse(bar: &str) -> Option<Self> {
        let (name, utc_offset) = match bar.strip_suffix("utc") {
            Some(name) => (name, 0),
            None => (bar, HONG_KONG_OFFSET),
        };
        let interval = match (name, bar == name) {
            ("6H", _) => Interval::H6,
            ("12H", _) => Interval::H12,
            ("1D", _) => Interval::D1,
            ("1W", _) => Interval::W1,
            ("1M", _) => Interval::Mo1,
            ("1m", true) => Interval::M1,
            ("3m", true) => Interval::M3,
            ("5m", true) => Interval::M5,
            ("15m", true) => Interval::M15,
            ("30m", true) => Interval::M30,
            ("1H", true) => Interval::H1,
            ("2H", true) => Interval::H2,
            ("4H", true) => Interval::H4,
            _ => return None,
        };
        // Shorter intervals are the same in both time zones.
        Some(Self { interval, utc_offset })
    }

    /// The span of the candle that contains `at`.
    pub(super) fn span(self, at: i64) -> TimeRange {
        let span = self.interval.span(self.interval.floor(Timestamp::from_millis(at + self.utc_offset)));
        let to_utc = |local: Timestamp| Timestamp::from_millis(local.millis() - self.utc_offset);
        TimeRange::new(to_utc(span.start()), to_utc(span.end()))
    }
}

/// Formats a decimal without trailing zeros.
pub(super) fn format_decimal(value: Decimal) -> String {
    value.normalize().to_string()
}

/// A ticker object, the same in the stream and REST.
pub(super) fn ticker(listing: &Listing, day: &DayStatistics, book: &TopOfBook, now: i64) -> String {
    let price = |ticks| format_decimal(listing.price(ticks));
    let amount = |steps| format_decimal(listing.amount(steps));
    let midnight = |utc_offset: i64| {
        let local = Interval::D1.floor(Timestamp::from_millis(now + utc_offset)).millis();
        price(price_at(listing, (local - utc_offset) / MINUTE))
    };
    format!(
        "{{\"instType\":\"SPOT\",\"instId\":\"{}\",\"last\":\"{}\",\"lastSz\":\"{}\",\"askPx\":\"{}\",\"askSz\":\"{}\",\
         \"bidPx\":\"{}\",\"bidSz\":\"{}\",\"open24h\":\"{}\",\"high24h\":\"{}\",\"low24h\":\"{}\",\"sodUtc0\":\"{}\",\
         \"sodUtc8\":\"{}\",\"volCcy24h\":\"{}\",\"vol24h\":\"{}\",\"ts\":\"{now}\"}}",
        listing.native,
        price(day.bar.close),
        amount(day.last_amount),
        price(book.ask),
        amount(book.ask_size),
        price(book.bid),
        amount(book.bid_size),
        price(day.bar.open),
        price(day.bar.high),
        price(day.bar.low),
        midnight(0),
        midnight(HONG_KONG_OFFSET),
        format_decimal(listing.turnover(day.bar.turnover)),
        amount(day.bar.volume),
    )
}

/// A candle row: `[ts,o,h,l,c,vol,volCcy,volCcyQuote,confirm]`.
pub(super) fn row(listing: &Listing, span: TimeRange, bar: &Bar, now: i64) -> String {
    let [open, high, low, close] =
        [bar.open, bar.high, bar.low, bar.close].map(|ticks| format_decimal(listing.price(ticks)));
    let turnover = format_decimal(listing.turnover(bar.turnover));
    format!(
        "[\"{}\",\"{open}\",\"{high}\",\"{low}\",\"{close}\",\"{}\",\"{turnover}\",\"{turnover}\",\"{}\"]",
        span.start().millis(),
        format_decimal(listing.amount(bar.volume)),
        u8::from(span.end().millis() <= now),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_sizes_open_at_hong_kong_time_or_utc() {
        // Thursday, 2025-11-20T21:00:30Z, is Friday in Hong Kong.
        let now = 1_763_672_430_123;
        for (bar, open) in [
            ("1m", "2025-11-20T21:00:00.000Z"),
            ("4H", "2025-11-20T20:00:00.000Z"),
            ("6H", "2025-11-20T16:00:00.000Z"),
            ("6Hutc", "2025-11-20T18:00:00.000Z"),
            ("12H", "2025-11-20T16:00:00.000Z"),
            ("12Hutc", "2025-11-20T12:00:00.000Z"),
            ("1D", "2025-11-20T16:00:00.000Z"),
            ("1Dutc", "2025-11-20T00:00:00.000Z"),
            ("1W", "2025-11-16T16:00:00.000Z"),
            ("1Wutc", "2025-11-17T00:00:00.000Z"),
            ("1M", "2025-10-31T16:00:00.000Z"),
            ("1Mutc", "2025-11-01T00:00:00.000Z"),
        ] {
            let span = Grid::parse(bar).unwrap().span(now);
            assert_eq!(span.start().to_string(), open, "{bar}");
            assert!(span.contains(Timestamp::from_millis(now)), "{bar}");
        }
        for bar in ["", "1h", "1d", "8H", "1mutc", "4Hutc", "3Dutc", "7m"] {
            assert_eq!(Grid::parse(bar), None, "{bar}");
        }
    }
}
