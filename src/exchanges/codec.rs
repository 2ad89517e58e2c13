//! Small readers that the dialects share.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{FeedError, ReplyError, ReplyErrorKind};
use crate::model::{BadTime, Interval, Number, Symbol, Timestamp};

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

/// A number, or nothing, which is written as an empty text or `null`: the price of an empty side of the book, the steps of a
/// market that is not open yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Blank(pub Option<Number>);

impl<'de> Deserialize<'de> for Blank {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        if text.is_empty() || raw == "null" {
            return Ok(Self(None));
        }
        Number::parse(text).map(|number| Self(Some(number))).map_err(|_| {
            let shown: String = raw.chars().take(40).collect();
            de::Error::custom(format_args!("`{shown}` is no number of a market"))
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

/// A value whose members are read by their names. The derived reader of a struct takes a list, too, by position: with it,
/// a row of candles could pass for a ticker.
#[derive(Debug)]
pub(super) struct Named<T>(pub T);

impl<T> std::ops::Deref for Named<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Named<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Named<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Named)
            }
        }
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

/// A row that may be bad without making its message bad.
#[derive(Debug)]
pub(super) struct Tolerant<'a, T>(Result<T, (&'a RawValue, serde_json::Error)>);

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Tolerant<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).map_err(|error| (raw, error))))
    }
}

impl<'a, T> Rows<Tolerant<'a, T>> {
    /// The good rows; the others are handed to `bad`.
    pub fn sift(self, bad: &mut Vec<BadRow<'a>>) -> Rows<T> {
        let mut good =
            self.first.into_iter().chain(self.more).filter_map(|row| row.0.map_err(|row| bad.push(row)).ok());
        let first = good.next();
        Rows { first, more: good.collect() }
    }
}

/// A row that could not be read, and why.
pub(super) type BadRow<'a> = (&'a RawValue, serde_json::Error);

/// A message that holds rows.
pub(super) trait Sift<'a>: Deserialize<'a> {
    /// The same message with [`Tolerant`] rows.
    type Tolerant: Deserialize<'a>;

    /// The message with its good rows; the others are handed to `bad`.
    fn sift(message: Self::Tolerant, bad: &mut Vec<BadRow<'a>>) -> Self;

    /// Whether there is no row.
    fn is_empty(&self) -> bool;
}

/// Reads a message of rows by the names of its members. Where a row is bad, the others are read one by one, and the bad
/// ones are in the list.
///
/// # Errors
/// The message itself is bad, or none of its rows is good.
pub(super) fn rows<'a, M: Sift<'a>>(text: &'a str) -> Result<(M, Vec<BadRow<'a>>), FeedError> {
    match serde_json::from_str::<Named<M>>(text) {
        Ok(message) => Ok((message.0, Vec::new())),
        Err(error) => rows_one_by_one(text, &error),
    }
}

#[cold]
fn rows_one_by_one<'a, M: Sift<'a>>(
    text: &'a str,
    error: &serde_json::Error,
) -> Result<(M, Vec<BadRow<'a>>), FeedError> {
    let malformed = || FeedError::malformed(error, text);
    let message: Named<M::Tolerant> = serde_json::from_str(text).map_err(|_| malformed())?;
    let mut bad = Vec::new();
    let message = M::sift(message.0, &mut bad);
    if message.is_empty() { Err(malformed()) } else { Ok((message, bad)) }
}

/// Says of a frame whose other rows were read that it held a bad one.
pub(super) fn first_bad(bad: &[BadRow<'_>]) -> Result<(), FeedError> {
    match bad.first() {
        None => Ok(()),
        Some((row, error)) => Err(FeedError::malformed(error, row.get())),
    }
}

/// A text that is a member of a row that could not be read as a whole.
pub(super) fn member(row: &RawValue, name: &str) -> Option<String> {
    let members: std::collections::BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(row.get()).ok()?;
    serde_json::from_str(members.get(name)?.get()).ok()
}

/// Reads a frame by the names of its members.
pub(super) fn frame<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FeedError> {
    serde_json::from_str::<Named<T>>(text).map(|frame| frame.0).map_err(|error| FeedError::malformed(error, text))
}

/// A frame that means nothing to us must at least be JSON.
pub(super) fn json_at_least(text: &str) -> Result<(), FeedError> {
    let read: Result<IgnoredAny, _> = serde_json::from_str(text);
    read.map(drop).map_err(|error| FeedError::malformed(error, text))
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

/// Reads a reply's body, an object, by the names of its members.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ReplyError> {
    serde_json::from_slice::<Named<T>>(body).map(|object| object.0).map_err(|error| malformed(error, body))
}

/// Reads a reply's body that is a list.
pub(super) fn read_list<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Vec<T>, ReplyError> {
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

    #[derive(Debug, Deserialize)]
    struct Pair {
        a: Int,
        b: Int,
    }

    #[test]
    fn members_are_read_by_name() {
        assert!(serde_json::from_str::<Pair>("[1,2]").is_ok(), "the derived reader takes a list");
        assert!(serde_json::from_str::<Named<Pair>>("[1,2]").is_err());
        let pair: Named<Pair> = serde_json::from_str(r#"{"b":2,"a":1}"#).unwrap();
        assert_eq!((pair.a, pair.b), (Int(1), Int(2)));
    }

    #[test]
    fn a_bad_row_does_not_spoil_the_others() {
        let text = r#"[{"a":1,"b":2},{"a":null,"b":2},null,{"a":"7.9e27","b":3},{"a":3,"b":4}]"#;
        let rows: Rows<Tolerant<'_, Named<Pair>>> = serde_json::from_str(text).unwrap();
        let mut bad = Vec::new();
        let good = rows.sift(&mut bad);
        assert_eq!(good.iter().map(|row| row.a.0).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(bad.iter().map(|(row, _)| row.get()).collect::<Vec<_>>()[1], "null");
        assert_eq!(member(bad[2].0, "a").as_deref(), Some("7.9e27"));
        assert!(first_bad(&bad).unwrap_err().message.contains("null"));
    }
}
