//! Timestamps and time ranges, in Unix milliseconds.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// The text is neither Unix milliseconds nor an RFC 3339 time nor a date, between the years 1970 and 9999.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected Unix milliseconds (1763672400000), RFC 3339 (2025-11-20T21:00:00Z) or a date (2025-11-20)")]
pub struct BadTime;

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// 9999-12-31T23:59:59.999Z, the last time that RFC 3339 can express.
    pub const MAX: Self = Self(253_402_300_799_999);

    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds. Saturates at the bounds of `i64`.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Time elapsed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whether the times are at most a century apart. An exchange time farther from now has a wrong unit.
    #[must_use]
    pub const fn is_within_century_of(self, other: Self) -> bool {
        self.0.abs_diff(other.0) <= 36_525 * 86_400_000
    }

    /// Parses Unix milliseconds, RFC 3339, or a date such as `2025-11-20`, which means midnight UTC.
    ///
    /// # Errors
    /// [`BadTime`] for any other text, and for times before 1970 or after 9999.
    pub fn parse(text: &str) -> Result<Self, BadTime> {
        let at = match text.parse::<i64>() {
            Ok(millis) => Self(millis),
            Err(_) => Self::parse_date(text).map_or_else(|| Self::parse_rfc3339(text), Ok)?,
        };
        if (Self::EPOCH..=Self::MAX).contains(&at) { Ok(at) } else { Err(BadTime) }
    }

    /// Parses exactly `YYYY-MM-DD`.
    fn parse_date(text: &str) -> Option<Self> {
        let has_exact_form = text.len() == 10 && !text.contains([' ', '+']);
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| has_exact_form)?;
        Some(Self(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis()))
    }

    /// Parses RFC 3339 with any number of fractional digits; truncates to milliseconds.
    ///
    /// # Errors
    /// [`BadTime`] for any other text.
    pub fn parse_rfc3339(text: &str) -> Result<Self, BadTime> {
        DateTime::parse_from_rfc3339(text).map(|at| Self(at.timestamp_millis())).map_err(|_| BadTime)
    }

    /// Calendar time in UTC; the epoch if chrono cannot express the time.
    #[must_use]
    pub(crate) fn utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or_default()
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 with milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.utc().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// A half-open time range, `[start, end)`. It may be empty, but never reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    start: Timestamp,
    end: Timestamp,
}

impl TimeRange {
    /// Creates a range. An `end` before `start` results in the empty range at `start`.
    #[must_use]
    pub fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end: end.max(start) }
    }

    #[must_use]
    pub const fn start(self) -> Timestamp {
        self.start
    }

    /// Exclusive end.
    #[must_use]
    pub const fn end(self) -> Timestamp {
        self.end
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    #[must_use]
    pub fn duration(self) -> Duration {
        self.end.since(self.start)
    }

    #[must_use]
    pub fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The common part of both ranges; empty if they do not overlap.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_all_time_formats() {
        let at = Timestamp::from_millis(1_763_672_400_123);
        assert_eq!(Timestamp::parse("1763672400123"), Ok(at));
        assert_eq!(Timestamp::parse("2025-11-20T21:00:00.123Z"), Ok(at));
        assert_eq!(Timestamp::parse("2025-11-20T22:00:00.123456789+01:00"), Ok(at));
        assert_eq!(at.to_string(), "2025-11-20T21:00:00.123Z");
        assert_eq!(Timestamp::parse("2025-11-20"), Timestamp::parse("2025-11-20T00:00:00Z"));
    }

    #[test]
    fn rejects_invalid_times() {
        for text in [
            "",
            "now",
            "-1",
            "0001-01-01T00:00:00Z",
            "99999999999999999999",
            "1e3",
            "2025-11-31",
            "2025-2-003",
            "1969-12-31",
            "+025-11-20",
            " 2025-1-20",
            "2025-11-20T",
        ] {
            assert_eq!(Timestamp::parse(text), Err(BadTime), "{text}");
        }
    }

    #[test]
    fn reversed_range_is_empty() {
        let range = TimeRange::new(Timestamp::from_millis(5), Timestamp::from_millis(2));
        assert!(range.is_empty() && !range.contains(Timestamp::from_millis(5)));
    }
}
