//! OKX's spot dialect, version 5.
//! <https://www.okx.com/docs-v5/en/>, read in November 2026

mod rest;
mod stream;

pub use rest::{REST_PREFIX, answer};
pub use stream::{Door, Feed};

use rust_decimal::Decimal;

use super::catalog::Listing;
use super::market::{Book, Day};
use super::tape::{self, Bar, MINUTE};
use crate::model::{Interval, TimeRange, Timestamp};

const HOUR: i64 = 60 * MINUTE;
/// Hong Kong's clocks are so far ahead of UTC, in milliseconds, summer and winter.
const HONG_KONG: i64 = 8 * HOUR;

/// A bar size: how long a candle lasts, and by whose midnight it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grid {
    interval: Interval,
    /// How far those clocks are ahead of UTC, in milliseconds.
    ahead: i64,
}

impl Grid {
    /// "UTC+8 opening price k-line: [6H/12H/1D/2D/3D/1W/1M/3M], UTC+0 opening price k-line:
    /// [6Hutc/12Hutc/1Dutc/2Dutc/3Dutc/1Wutc/1Mutc/3Mutc]". Where those of several days and months count from is not
    /// documented, and so they are not simulated.
    /// <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks>
    fn named(bar: &str) -> Option<Self> {
        let (name, ahead) = match bar.strip_suffix("utc") {
            Some(name) => (name, 0),
            None => (bar, HONG_KONG),
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
        // Both clocks agree on the shorter ones.
        Some(Self { interval, ahead })
    }

    /// The candle that holds `at`.
    fn span(self, at: i64) -> TimeRange {
        let span = self.interval.span(self.interval.floor(Timestamp::from_millis(at + self.ahead)));
        let ours = |there: Timestamp| Timestamp::from_millis(there.millis() - self.ahead);
        TimeRange::new(ours(span.start()), ours(span.end()))
    }
}

/// A number as OKX writes it: without trailing zeros.
fn plain(value: Decimal) -> String {
    value.normalize().to_string()
}

/// The members of a ticker; the stream and REST tell the same.
fn ticker(listing: &Listing, day: &Day, book: &Book, now: i64) -> String {
    let price = |ticks| plain(listing.price(ticks));
    let amount = |steps| plain(listing.amount(steps));
    let midnight = |ahead: i64| {
        let there = Interval::D1.floor(Timestamp::from_millis(now + ahead)).millis();
        price(tape::price_at(listing, (there - ahead) / MINUTE))
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
        midnight(HONG_KONG),
        plain(listing.turnover(day.bar.turnover)),
        amount(day.bar.volume),
    )
}

/// A row of a candle: `[ts,o,h,l,c,vol,volCcy,volCcyQuote,confirm]`.
fn row(listing: &Listing, span: TimeRange, bar: &Bar, now: i64) -> String {
    let [open, high, low, close] = [bar.open, bar.high, bar.low, bar.close].map(|ticks| plain(listing.price(ticks)));
    let turnover = plain(listing.turnover(bar.turnover));
    format!(
        "[\"{}\",\"{open}\",\"{high}\",\"{low}\",\"{close}\",\"{}\",\"{turnover}\",\"{turnover}\",\"{}\"]",
        span.start().millis(),
        plain(listing.amount(bar.volume)),
        u8::from(span.end().millis() <= now),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_open_by_hong_kongs_clocks_and_the_others_by_ours() {
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
            let span = Grid::named(bar).unwrap().span(now);
            assert_eq!(span.start().to_string(), open, "{bar}");
            assert!(span.contains(Timestamp::from_millis(now)), "{bar}");
        }
        for bar in ["", "1h", "1d", "8H", "1mutc", "4Hutc", "3Dutc", "7m"] {
            assert_eq!(Grid::named(bar), None, "{bar}");
        }
    }
}
