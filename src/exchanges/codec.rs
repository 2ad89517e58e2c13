//! JSON types and parsers shared by the exchange adapters.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::feed::FeedError;
use super::response::{RestError, RestErrorKind};
use crate::model::{BadTime, Candle, Interval, Number, Side, Symbol, Timestamp};

/// An integer in JSON, bare (`12`) or quoted (`"12"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Int(pub i64);

impl Int {
    /// As Unix milliseconds.
    pub fn millis(self) -> Timestamp {
        Timestamp::from_millis(self.0)
    }

    /// As a count; `None` if negative.
    pub fn count(self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }

    /// As an id in decimal digits.
    pub fn to_id(self) -> Box<str> {
        itoa::Buffer::new().format(self.0).into()
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntVisitor;
        impl Visitor<'_> for IntVisitor {
            type Value = Int;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer, bare or quoted")
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
        deserializer.deserialize_any(IntVisitor)
    }
}

/// A string, borrowed if it has no escapes; also inside an `Option`, where serde would copy a `Cow`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

/// A number, or `None` for a missing member, an empty string or `null`: the price of an empty side of the order book, the steps of a
/// market that is not open yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OptionalNumber(pub Option<Number>);

impl OptionalNumber {
    pub fn value(self) -> Option<Decimal> {
        self.0.map(|number| number.0)
    }

    /// A price; `None` for zero, as in [`nonzero_price`].
    pub fn price(self) -> Option<Decimal> {
        self.0.and_then(nonzero_price)
    }
}

impl<'de> Deserialize<'de> for OptionalNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(raw) = Option::<&RawValue>::deserialize(deserializer)?.map(RawValue::get) else {
            return Ok(Self(None));
        };
        let text = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        if text.is_empty() {
            return Ok(Self(None));
        }
        Number::parse(text).map(|number| Self(Some(number))).map_err(|_| {
            let shown: String = raw.chars().take(40).collect();
            de::Error::custom(format_args!("`{shown}` is not a valid number"))
        })
    }
}

/// The id of a request in an answer, bare or quoted; `None` for any value that is not one of our ids.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestId(pub Option<u64>);

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Option::<&RawValue>::deserialize(deserializer)?;
        Ok(Self(raw.and_then(|raw| raw.get().trim_matches('"').parse().ok())))
    }
}

/// The rows of a message. Nearly always one, which needs no allocation.
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
        struct RowsVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for RowsVisitor<T> {
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
        deserializer.deserialize_seq(RowsVisitor(PhantomData))
    }
}

/// A value that must be a JSON object. A derived `Deserialize` of a struct also accepts an array, by position: it could
/// read a candle row as a ticker.
#[derive(Debug)]
pub(super) struct Object<T>(pub T);

impl<T> std::ops::Deref for Object<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// A row that may be invalid without making its message invalid.
#[derive(Debug)]
pub(super) struct Lenient<'a, T>(Result<T, (&'a RawValue, serde_json::Error)>);

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Lenient<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).map_err(|error| (raw, error))))
    }
}

impl<'a, T> Rows<Lenient<'a, T>> {
    /// The valid rows; moves the others to `invalid`.
    pub fn keep_valid(self, invalid: &mut Vec<InvalidRow<'a>>) -> Rows<T> {
        let mut valid =
            self.first.into_iter().chain(self.more).filter_map(|row| row.0.map_err(|row| invalid.push(row)).ok());
        let first = valid.next();
        Rows { first, more: valid.collect() }
    }
}

/// A row that cannot be parsed, and the error.
pub(super) type InvalidRow<'a> = (&'a RawValue, serde_json::Error);

/// A message with rows.
pub(super) trait RowMessage<'a>: Deserialize<'a> {
    /// The same message with [`Lenient`] rows.
    type Lenient: Deserialize<'a>;

    /// The message with its valid rows; moves the others to `invalid`.
    fn keep_valid(message: Self::Lenient, invalid: &mut Vec<InvalidRow<'a>>) -> Self;

    /// Whether the message has no rows.
    fn is_empty(&self) -> bool;
}

/// Parses a message, which must be an object, with rows. If a row is invalid, parses the rows one by one and returns
/// the invalid ones in the list.
///
/// # Errors
/// The message itself is invalid, or all of its rows are.
pub(super) fn parse_rows<'a, M: RowMessage<'a>>(text: &'a str) -> Result<(M, Vec<InvalidRow<'a>>), FeedError> {
    match serde_json::from_str::<Object<M>>(text) {
        Ok(message) => Ok((message.0, Vec::new())),
        Err(error) => parse_rows_individually(text, &error),
    }
}

#[cold]
fn parse_rows_individually<'a, M: RowMessage<'a>>(
    text: &'a str,
    error: &serde_json::Error,
) -> Result<(M, Vec<InvalidRow<'a>>), FeedError> {
    let malformed = || FeedError::malformed(error, text);
    let message: Object<M::Lenient> = serde_json::from_str(text).map_err(|_| malformed())?;
    let mut invalid = Vec::new();
    let message = M::keep_valid(message.0, &mut invalid);
    if message.is_empty() { Err(malformed()) } else { Ok((message, invalid)) }
}

/// A string member of a row that cannot be parsed as a whole.
pub(super) fn text_member(row: &RawValue, name: &str) -> Option<String> {
    let members: std::collections::BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(row.get()).ok()?;
    serde_json::from_str(members.get(name)?.get()).ok()
}

/// Parses a frame, which must be an object.
pub(super) fn parse_frame<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FeedError> {
    serde_json::from_str::<Object<T>>(text).map(|frame| frame.0).map_err(|error| FeedError::malformed(error, text))
}

/// Parses the members that distinguish the kinds of frames; `None` for an array, which is no frame of interest.
pub(super) fn parse_envelope<'a, T: Deserialize<'a>>(text: &'a str) -> Result<Option<T>, FeedError> {
    if text.trim_start().starts_with('[') { check_json(text).map(|()| None) } else { parse_frame(text).map(Some) }
}

/// Checks that a frame that the session ignores is valid JSON.
pub(super) fn check_json(text: &str) -> Result<(), FeedError> {
    let parsed: Result<IgnoredAny, _> = serde_json::from_str(text);
    parsed.map(drop).map_err(|error| FeedError::malformed(error, text))
}

/// Parses RFC 3339, truncated to milliseconds. Has a fast path for UTC in the exchanges' form,
/// `2025-11-20T21:00:00.123456Z`: the general parser takes as long as the rest of a frame.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, BadTime> {
    parse_utc(text.as_bytes()).map_or_else(|| Timestamp::parse_rfc3339(text), Ok)
}

fn parse_utc(text: &[u8]) -> Option<Timestamp> {
    let (seconds, fraction) = text.strip_suffix(b"Z")?.split_at_checked(19)?;
    let [b'-', b'-', b'T', b':', b':'] = [4, 7, 10, 13, 16].map(|at| seconds[at]) else { return None };
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_i64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let year = number(&seconds[..4])?;
    let [month, day, hour, minute, second] = [5, 8, 11, 14, 17].map(|at| number(&seconds[at..at + 2]));
    let (month, day, hour, minute, second) = (month?, day?, hour?, minute?, second?);
    // The general parser handles days after the 28th and leap seconds.
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
    // Years start in March here, so that the leap day is the last day of the year:
    // <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day - 1;
    let seconds = (((days - 719_468) * 24 + hour) * 60 + minute) * 60 + second;
    Some(Timestamp::from_millis(seconds * 1000 + millis))
}

/// A price; `None` for zero, which exchanges send for a missing price such as that of an empty side of an order book.
pub(super) fn nonzero_price(number: Number) -> Option<Decimal> {
    Some(number.0).filter(|value| !value.is_zero())
}

/// A price and its amount; both `None` if there is no price.
pub(super) fn price_level(price: Number, size: Number) -> (Option<Decimal>, Option<Decimal>) {
    match nonzero_price(price) {
        Some(price) => (Some(price), Some(size.0)),
        None => (None, None),
    }
}

/// A price and its amount, which may be missing; both `None` if there is no price.
pub(super) fn optional_level(price: Option<Number>, size: Option<Number>) -> (Option<Decimal>, Option<Decimal>) {
    match price.and_then(nonzero_price) {
        Some(price) => (Some(price), size.map(|size| size.0)),
        None => (None, None),
    }
}

/// A candle that is not closed, without quote volume and number of trades. `prices` are open, high, low and close.
pub(super) fn new_candle(open_time: Timestamp, prices: [Number; 4], volume: Number) -> Candle {
    let [open, high, low, close] = prices.map(|price| price.0);
    Candle {
        timestamp: open_time,
        open,
        high,
        low,
        close,
        volume: volume.0,
        quote_volume: None,
        trades: None,
        closed: false,
        revision: 0,
    }
}

/// Parses a side: `buy` or `sell`, in any case.
pub(super) fn parse_side(text: &str) -> Result<Side, String> {
    match text {
        _ if text.eq_ignore_ascii_case("buy") => Ok(Side::Buy),
        _ if text.eq_ignore_ascii_case("sell") => Ok(Side::Sell),
        _ => Err(format!("unknown side {text:?}")),
    }
}

/// The intervals of a table of an exchange's names.
pub(super) const fn intervals_of<const N: usize>(names: &[(Interval, &str); N]) -> [Interval; N] {
    let (mut intervals, mut at) = ([Interval::M1; N], 0);
    while at < N {
        intervals[at] = names[at].0;
        at += 1;
    }
    intervals
}

/// The exchange's name of an interval.
pub(super) fn interval_name<'a>(names: &[(Interval, &'a str)], interval: Interval) -> Option<&'a str> {
    names.iter().find(|(known, _)| *known == interval).map(|(_, name)| *name)
}

/// The interval with one of the exchange's names.
pub(super) fn interval_by_name(names: &[(Interval, &str)], name: &str) -> Option<Interval> {
    names.iter().find(|(_, known)| *known == name).map(|(interval, _)| *interval)
}

/// Parses the body of a response, which must be an object.
pub(super) fn parse_object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, RestError> {
    serde_json::from_slice::<Object<T>>(body).map(|object| object.0).map_err(|error| malformed(error, body))
}

/// Parses the body of a response, which must be an array.
pub(super) fn parse_list<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Vec<T>, RestError> {
    serde_json::from_slice(body).map_err(|error| malformed(error, body))
}

/// The error for a body that does not match its documentation; the message has its beginning.
pub(super) fn malformed(what: impl fmt::Display, body: &[u8]) -> RestError {
    let excerpt: String = String::from_utf8_lossy(&body[..body.len().min(480)]).chars().take(120).collect();
    RestError::new(RestErrorKind::Malformed, format!("{what} in `{excerpt}`"))
}

/// Time from the end of a candle without a closed flag until it counts as closed. Covers trades that arrive late and
/// the difference between two clocks.
const CLOSE_DELAY: Duration = Duration::from_secs(2);

/// Whether the candle that opens at `open` counts as closed by the clock.
pub(super) fn is_candle_over(open: Timestamp, interval: Interval, now: Timestamp) -> bool {
    now >= interval.next(open) + CLOSE_DELAY
}

/// Parses a native id of two parts: `BTC-USDT`.
pub(super) fn parse_dashed_symbol(native: &str) -> Option<Symbol> {
    let (base, quote) = native.split_once('-').filter(|(_, quote)| !quote.contains('-'))?;
    symbol(base, quote)
}

/// The symbol of the assets of a listing.
///
/// # Errors
/// The asset names are invalid.
pub(super) fn listed_symbol(base: &str, quote: &str) -> Result<Symbol, String> {
    symbol(base, quote).ok_or_else(|| format!("no symbol in `{base}` and `{quote}`"))
}

/// The symbol of two assets; `None` for invalid asset names.
pub(super) fn symbol(base: &str, quote: &str) -> Option<Symbol> {
    Symbol::new(base, quote).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fast_time_parser_agrees_with_general_parser(
            text in "[0-9]{4}-(0[0-9]|1[0-3])-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?(Z|z|[+]01:00)?",
        ) {
            prop_assert_eq!(parse_time(&text), Timestamp::parse_rfc3339(&text));
        }

        #[test]
        fn round_trips_formatted_times(millis in 0..=Timestamp::MAX.millis()) {
            let at = Timestamp::from_millis(millis);
            prop_assert_eq!(parse_time(&at.to_string()), Ok(at));
        }
    }

    #[test]
    fn rejects_invalid_times() {
        for text in ["", "Z", "2025-11-20T21:00:00", "2025-11-20T21:00:00.Z", "2025-11-20 21:00:0\u{e9}Z", "yesterday"]
        {
            assert!(parse_time(text).is_err(), "{text}");
        }
        assert_eq!(parse_time("2025-11-20T21:00:00.123456Z"), Ok(Timestamp::from_millis(1_763_672_400_123)));
    }

    #[test]
    fn parses_bare_and_quoted_integers() {
        let both: Vec<Int> = serde_json::from_str(r#"[12,"-7"]"#).unwrap();
        assert_eq!(both, [Int(12), Int(-7)]);
        for text in ["1.5", "\"x\"", "null", "99999999999999999999", "[]"] {
            assert!(serde_json::from_str::<Int>(text).is_err(), "{text}");
        }
    }

    #[derive(Debug, Deserialize)]
    struct Pair {
        a: Int,
        b: Int,
    }

    #[test]
    fn object_rejects_arrays() {
        assert!(serde_json::from_str::<Pair>("[1,2]").is_ok(), "a derived Deserialize accepts an array");
        assert!(serde_json::from_str::<Object<Pair>>("[1,2]").is_err());
        let pair: Object<Pair> = serde_json::from_str(r#"{"b":2,"a":1}"#).unwrap();
        assert_eq!((pair.a, pair.b), (Int(1), Int(2)));
    }

    #[test]
    fn invalid_row_does_not_affect_others() {
        let text = r#"[{"a":1,"b":2},{"a":null,"b":2},null,{"a":"7.9e27","b":3},{"a":3,"b":4}]"#;
        let rows: Rows<Lenient<'_, Object<Pair>>> = serde_json::from_str(text).unwrap();
        let mut invalid = Vec::new();
        let valid = rows.keep_valid(&mut invalid);
        assert_eq!(valid.iter().map(|row| row.a.0).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(invalid.iter().map(|(row, _)| row.get()).collect::<Vec<_>>()[1], "null");
        assert_eq!(text_member(invalid[2].0, "a").as_deref(), Some("7.9e27"));
    }
}
