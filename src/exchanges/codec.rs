//! Small readers that the dialects share.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{ReplyError, ReplyErrorKind};
use crate::model::{BadTime, Candle, Interval, Number, Symbol, TimeRange, Timestamp, parse_decimal};

/// A whole number in JSON, bare (`12`) or quoted (`"12"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Int(pub i64);

impl Int {
    /// As Unix milliseconds.
    pub fn millis(self) -> Timestamp {
        Timestamp::from_millis(self.0)
    }

    /// As a count; `None` where it is negative.
    pub fn count(self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }

    /// As the text of an id.
    pub fn id(self) -> Box<str> {
        itoa::Buffer::new().format(self.0).into()
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Int;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, bare or quoted")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Int, E> {
                Ok(Int(value))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Int, E> {
                i64::try_from(value).map(Int).map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Int, E> {
                text.parse().map(Int).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A text that is borrowed wherever it has no escapes, inside an `Option` too, where serde would copy a `Cow`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

/// A number, or nothing, which is written as an empty text: the price of an empty side of the book, the steps of a
/// market that is not open yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Blank(pub Option<Number>);

impl<'de> Deserialize<'de> for Blank {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        if text.is_empty() {
            return Ok(Self(None));
        }
        let number = parse_decimal(text).map(Number);
        number.map(|number| Self(Some(number))).map_err(|_| {
            let shown: String = raw.chars().take(40).collect();
            de::Error::custom(format_args!("`{shown}` is no decimal number"))
        })
    }
}

/// The rows of a message. Nearly always one, which takes no allocation.
#[derive(Debug)]
pub(super) struct Rows<T> {
    pub first: Option<T>,
    pub more: Vec<T>,
}

impl<T> Rows<T> {
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.more)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Rows<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Rows<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of rows")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Rows<T>, A::Error> {
                let first = rows.next_element()?;
                let mut more = Vec::new();
                while let Some(row) = rows.next_element()? {
                    more.push(row);
                }
                Ok(Rows { first, more })
            }
        }
        deserializer.deserialize_seq(Reader(PhantomData))
    }
}

/// Reads RFC 3339; what lies below a millisecond is cut. UTC as exchanges write it, `2025-11-20T21:00:00.123456Z`, is
/// read by hand, since the general way takes as long as all the rest of a frame.
pub(super) fn time(text: &str) -> Result<Timestamp, BadTime> {
    utc(text.as_bytes()).map_or_else(|| Timestamp::parse_rfc3339(text), Ok)
}

fn utc(text: &[u8]) -> Option<Timestamp> {
    let (seconds, fraction) = text.strip_suffix(b"Z")?.split_at_checked(19)?;
    let [b'-', b'-', b'T', b':', b':'] = [4, 7, 10, 13, 16].map(|at| seconds[at]) else { return None };
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_i64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let year = number(&seconds[..4])?;
    let [month, day, hour, minute, second] = [5, 8, 11, 14, 17].map(|at| number(&seconds[at..at + 2]));
    let (month, day, hour, minute, second) = (month?, day?, hour?, minute?, second?);
    // Days that not every month has, and leap seconds, take the general way.
    if !(1..=12).contains(&month) || !(1..=28).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let millis = match fraction {
        [] => 0,
        [b'.', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            [100, 10, 1].iter().zip(digits).map(|(place, digit)| place * i64::from(digit - b'0')).sum()
        }
        _ => return None,
    };
    // The year is taken to begin in March, so that the leap day is its last:
    // <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day - 1;
    let seconds = (((days - 719_468) * 24 + hour) * 60 + minute) * 60 + second;
    Some(Timestamp::from_millis(seconds * 1000 + millis))
}

/// A price; exchanges write zero where there is none, as in an empty side of a book.
pub(super) fn price(number: Number) -> Option<Decimal> {
    Some(number.0).filter(|value| !value.is_zero())
}

/// A price and the amount offered at it; neither where there is no price.
pub(super) fn level(at: Number, size: Number) -> (Option<Decimal>, Option<Decimal>) {
    match price(at) {
        Some(at) => (Some(at), Some(size.0)),
        None => (None, None),
    }
}

/// Reads a reply's body.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ReplyError> {
    serde_json::from_slice(body).map_err(|error| malformed(error, body))
}

/// A body that is not what its documentation says; its beginning is shown.
pub(super) fn malformed(what: impl fmt::Display, body: &[u8]) -> ReplyError {
    let excerpt: String = String::from_utf8_lossy(&body[..body.len().min(480)]).chars().take(120).collect();
    ReplyError::new(ReplyErrorKind::Malformed, format!("{what} in `{excerpt}`"))
}

/// How long after its end a candle of an exchange without a flag counts as closed: trades of its last moment, and the
/// difference between two clocks, have arrived by then.
const CLOSED_AFTER: Duration = Duration::from_secs(2);

/// Whether the time of the candle that opens at `open` is over.
pub(super) fn is_over(open: Timestamp, interval: Interval, now: Timestamp) -> bool {
    now >= interval.next(open) + CLOSED_AFTER
}

/// Brings the rows of a reply into the form of a page: ascending, inside `range`, closed where a later row or the
/// clock says so. Single rows that are off the grid or contradict themselves, such as those after Binance's outage of
/// 2018, stay in: whoever keeps candles must know that their time is not empty.
pub(super) fn page(
    mut rows: Vec<Candle>,
    interval: Interval,
    range: TimeRange,
    received: Timestamp,
) -> Result<Vec<Candle>, ReplyError> {
    let newest = rows.iter().map(|row| row.timestamp).max();
    for row in &mut rows {
        row.closed = Some(row.timestamp) < newest || is_over(row.timestamp, interval, received);
    }
    flagged_page(rows, interval, range)
}

/// The same for an exchange that says of each row whether it is closed.
pub(super) fn flagged_page(
    mut rows: Vec<Candle>,
    interval: Interval,
    range: TimeRange,
) -> Result<Vec<Candle>, ReplyError> {
    rows.sort_by_key(|row| row.timestamp);
    rows.dedup_by_key(|row| row.timestamp);
    if !rows.is_empty() && rows.iter().all(|row| !interval.is_open_time(row.timestamp)) {
        let message = format!("none of {} candles is on the grid of {interval}", rows.len());
        return Err(ReplyError::new(ReplyErrorKind::Malformed, message));
    }
    rows.retain(|row| range.contains(row.timestamp));
    Ok(rows)
}

/// Reads an id of two parts: `BTC-USDT`.
pub(super) fn dashed_symbol(native: &str) -> Option<Symbol> {
    let (base, quote) = native.split_once('-').filter(|(_, quote)| !quote.contains('-'))?;
    symbol(base, quote)
}

/// A symbol of two assets; `None` for names that are no asset's.
pub(super) fn symbol(base: &str, quote: &str) -> Option<Symbol> {
    Symbol::new(base, quote).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(secs: i64, price: i64) -> Candle {
        Candle {
            timestamp: Timestamp::from_secs(secs),
            open: price.into(),
            high: price.into(),
            low: price.into(),
            close: price.into(),
            volume: Decimal::ONE,
            quote_volume: None,
            trades: None,
            closed: false,
            revision: 0,
        }
    }

    fn range(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_secs(start), Timestamp::from_secs(end))
    }

    proptest! {
        #[test]
        fn the_short_way_to_a_time_agrees_with_the_long_one(
            text in "[0-9]{4}-(0[0-9]|1[0-3])-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?(Z|z|[+]01:00)?",
        ) {
            prop_assert_eq!(time(&text), Timestamp::parse_rfc3339(&text));
        }

        #[test]
        fn the_short_way_takes_all_times_of_most_days(millis in 0..=Timestamp::MAX.millis()) {
            let at = Timestamp::from_millis(millis);
            prop_assert_eq!(time(&at.to_string()), Ok(at));
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "Z", "2025-11-20T21:00:00", "2025-11-20T21:00:00.Z", "2025-11-20 21:00:0\u{e9}Z", "yesterday"]
        {
            assert!(time(text).is_err(), "{text}");
        }
        assert_eq!(time("2025-11-20T21:00:00.123456Z"), Ok(Timestamp::from_millis(1_763_672_400_123)));
    }

    #[test]
    fn whole_numbers_may_be_quoted() {
        let both: Vec<Int> = serde_json::from_str(r#"[12,"-7"]"#).unwrap();
        assert_eq!(both, [Int(12), Int(-7)]);
        for text in ["1.5", "\"x\"", "null", "99999999999999999999", "[]"] {
            assert!(serde_json::from_str::<Int>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_page_is_half_open_ascending_and_knows_what_is_closed() {
        let rows = vec![row(180, 1), row(60, 2), row(120, 3), row(240, 4)];
        let page = page(rows, Interval::M1, range(60, 240), Timestamp::from_secs(241)).unwrap();
        let seen: Vec<_> = page.iter().map(|row| (row.timestamp.millis() / 1000, row.closed)).collect();
        assert_eq!(seen, [(60, true), (120, true), (180, true)]);
    }

    #[test]
    fn the_newest_row_is_closed_two_seconds_after_its_end() {
        for (now, closed) in [(119, false), (121, false), (122, true)] {
            let page = page(vec![row(60, 1)], Interval::M1, range(0, 1000), Timestamp::from_secs(now)).unwrap();
            assert_eq!(page[0].closed, closed, "{now}");
        }
    }

    #[test]
    fn bad_rows_stay_in_but_not_a_grid_of_another_kind() {
        let impossible = Candle { high: Decimal::ZERO, ..row(60, 1) };
        let rows = vec![impossible, row(121, 1), row(180, 1)];
        assert_eq!(page(rows, Interval::M1, range(0, 1000), Timestamp::EPOCH).unwrap().len(), 3);
        let error = page(vec![row(61, 1)], Interval::M1, range(0, 1000), Timestamp::EPOCH).unwrap_err();
        assert_eq!(error.kind, ReplyErrorKind::Malformed);
        assert_eq!(page(vec![], Interval::M1, range(0, 1000), Timestamp::EPOCH), Ok(vec![]));
    }
}
