//! Candle intervals and the grid of their open times.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{Datelike, Months, NaiveDate};

use super::{TimeRange, Timestamp};

/// Length of a candle. Open times lie on a grid aligned to UTC: weeks start on Monday, `3d` counts from the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interval {
    M1,
    M3,
    M5,
    M15,
    M30,
    H1,
    H2,
    H4,
    H6,
    H8,
    H12,
    D1,
    D3,
    W1,
    /// A calendar month.
    Mo1,
}

/// The text is not an interval.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected one of {known} (case-sensitive: 1m is a minute, 1M a month)",
    known = Interval::ALL.map(Interval::as_str).join(", ")
)]
pub struct UnknownInterval;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// 1970-01-05, the first Monday of the epoch.
const FIRST_MONDAY: i64 = 4 * DAY;

impl Interval {
    /// All intervals, shortest first.
    pub const ALL: [Self; 15] = [
        Self::M1,
        Self::M3,
        Self::M5,
        Self::M15,
        Self::M30,
        Self::H1,
        Self::H2,
        Self::H4,
        Self::H6,
        Self::H8,
        Self::H12,
        Self::D1,
        Self::D3,
        Self::W1,
        Self::Mo1,
    ];

    /// Name in queries and topics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::M1 => "1m",
            Self::M3 => "3m",
            Self::M5 => "5m",
            Self::M15 => "15m",
            Self::M30 => "30m",
            Self::H1 => "1h",
            Self::H2 => "2h",
            Self::H4 => "4h",
            Self::H6 => "6h",
            Self::H8 => "8h",
            Self::H12 => "12h",
            Self::D1 => "1d",
            Self::D3 => "3d",
            Self::W1 => "1w",
            Self::Mo1 => "1M",
        }
    }

    /// Length in milliseconds. For a month: 31 days, the maximum.
    #[must_use]
    pub const fn max_millis(self) -> i64 {
        match self {
            Self::M1 => MINUTE,
            Self::M3 => 3 * MINUTE,
            Self::M5 => 5 * MINUTE,
            Self::M15 => 15 * MINUTE,
            Self::M30 => 30 * MINUTE,
            Self::H1 => 60 * MINUTE,
            Self::H2 => 120 * MINUTE,
            Self::H4 => 240 * MINUTE,
            Self::H6 => 360 * MINUTE,
            Self::H8 => 480 * MINUTE,
            Self::H12 => 720 * MINUTE,
            Self::D1 => DAY,
            Self::D3 => 3 * DAY,
            Self::W1 => 7 * DAY,
            Self::Mo1 => 31 * DAY,
        }
    }

    /// Length. For a month: 31 days, the maximum.
    #[must_use]
    pub const fn max_duration(self) -> Duration {
        Duration::from_millis(self.max_millis().unsigned_abs())
    }

    /// Whether each candle of `longer` consists of whole candles of this interval.
    #[must_use]
    pub fn divides(self, longer: Self) -> bool {
        let whole = |length: i64| self.max_millis() < length && length % self.max_millis() == 0;
        match (self, longer) {
            (Self::W1 | Self::Mo1, _) => false,
            // Weeks and months start at midnight, but not on the grid of any interval longer than a day.
            (_, Self::W1 | Self::Mo1) => self == Self::D1 || whole(DAY),
            _ => whole(longer.max_millis()),
        }
    }

    /// Open time of the candle that contains `at`.
    #[must_use]
    pub fn floor(self, at: Timestamp) -> Timestamp {
        let millis = at.millis();
        match self {
            Self::Mo1 => month_start(at, 0),
            Self::W1 => align(millis, self.max_millis(), FIRST_MONDAY),
            _ => align(millis, self.max_millis(), 0),
        }
    }

    /// The first open time at or after `at`.
    #[must_use]
    pub fn ceil(self, at: Timestamp) -> Timestamp {
        let floor = self.floor(at);
        if floor == at { at } else { self.next(floor) }
    }

    /// End of the candle that contains `at`, which is the open time of the following candle.
    #[must_use]
    pub fn next(self, at: Timestamp) -> Timestamp {
        match self {
            Self::Mo1 => month_start(at, 1),
            _ => Timestamp::from_millis(self.floor(at).millis().saturating_add(self.max_millis())),
        }
    }

    /// Open time of the candle `count` intervals before the one that contains `at`. Never before the Unix epoch.
    #[must_use]
    pub fn back(self, at: Timestamp, count: u32) -> Timestamp {
        let floor = self.floor(at);
        let back = match self {
            Self::Mo1 => {
                let day = floor.utc().date_naive();
                day.checked_sub_months(Months::new(count)).map_or(Timestamp::EPOCH, midnight)
            }
            _ => Timestamp::from_millis(
                floor.millis().saturating_sub(self.max_millis().saturating_mul(i64::from(count))),
            ),
        };
        back.max(self.ceil(Timestamp::EPOCH))
    }

    /// Open time of the candle `count` intervals after the one that contains `at`.
    #[must_use]
    pub fn forward(self, at: Timestamp, count: u32) -> Timestamp {
        let floor = self.floor(at);
        match self {
            Self::Mo1 => {
                let day = floor.utc().date_naive();
                day.checked_add_months(Months::new(count)).map_or(Timestamp::MAX, midnight)
            }
            _ => Timestamp::from_millis(
                floor.millis().saturating_add(self.max_millis().saturating_mul(i64::from(count))),
            ),
        }
    }

    /// Whether `at` is an open time, that is, on the grid.
    #[must_use]
    pub fn is_open_time(self, at: Timestamp) -> bool {
        self.floor(at) == at
    }

    /// Time range of the candle that opens at `open`.
    #[must_use]
    pub fn span(self, open: Timestamp) -> TimeRange {
        TimeRange::new(open, self.next(open))
    }

    /// Shrinks `range` to whole candles: from the first open time within it to the last candle end within it.
    #[must_use]
    pub fn whole_candles(self, range: TimeRange) -> TimeRange {
        TimeRange::new(self.ceil(range.start()), self.floor(range.end()))
    }

    /// All open times in `range`, ascending.
    pub fn open_times(self, range: TimeRange) -> impl Iterator<Item = Timestamp> {
        let first = self.ceil(range.start());
        std::iter::successors(Some(first), move |at| Some(self.next(*at))).take_while(move |at| *at < range.end())
    }
}

fn align(millis: i64, step: i64, origin: i64) -> Timestamp {
    Timestamp::from_millis(millis.saturating_sub((millis.saturating_sub(origin)).rem_euclid(step)))
}

fn month_start(at: Timestamp, months_later: u32) -> Timestamp {
    let day = at.utc().date_naive();
    day.with_day(1)
        .and_then(|first| first.checked_add_months(Months::new(months_later)))
        .map_or(Timestamp::MAX, midnight)
}

fn midnight(day: NaiveDate) -> Timestamp {
    Timestamp::from_millis(day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis())
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Interval {
    type Err = UnknownInterval;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|interval| interval.as_str() == text).ok_or(UnknownInterval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn weeks_start_on_monday_and_months_on_first_day() {
        let thursday = at("2024-02-29T13:37:11Z");
        for (interval, open, next) in [
            (Interval::M1, "2024-02-29T13:37:00Z", "2024-02-29T13:38:00Z"),
            (Interval::H4, "2024-02-29T12:00:00Z", "2024-02-29T16:00:00Z"),
            (Interval::D3, "2024-02-29T00:00:00Z", "2024-03-03T00:00:00Z"),
            (Interval::W1, "2024-02-26T00:00:00Z", "2024-03-04T00:00:00Z"),
            (Interval::Mo1, "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
        ] {
            assert_eq!(interval.floor(thursday), at(open), "{interval}");
            assert_eq!(interval.next(thursday), at(next), "{interval}");
        }
        assert_eq!(Interval::Mo1.back(at("2024-03-31T00:00:00Z"), 2), at("2024-01-01T00:00:00Z"));
        assert_eq!(Interval::Mo1.forward(at("2024-01-31T00:00:00Z"), 13), at("2025-02-01T00:00:00Z"));
    }

    #[test]
    fn parsing_is_case_sensitive() {
        assert_eq!("1M".parse(), Ok(Interval::Mo1));
        assert_eq!("1m".parse(), Ok(Interval::M1));
        assert!(["7m", "1H", "60", "", "1mo"].iter().all(|text| text.parse::<Interval>().is_err()));
    }

    fn any_interval() -> impl Strategy<Value = Interval> {
        proptest::sample::select(Interval::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn grid_is_consistent(interval in any_interval(), millis in 0i64..4_000_000_000_000) {
            let at = Timestamp::from_millis(millis);
            let open = interval.floor(at);
            let end = interval.next(open);
            prop_assert!(open <= at && at < end);
            prop_assert!(interval.is_open_time(open) && interval.is_open_time(end));
            prop_assert_eq!(interval.next(at), end);
            prop_assert!(end.millis() - open.millis() <= interval.max_millis());
            if open.millis() > 0 {
                prop_assert_eq!(interval.back(end, 1), open);
                prop_assert_eq!(interval.forward(open, 1), end);
            }
            prop_assert_eq!(interval.open_times(TimeRange::new(open, end)).collect::<Vec<_>>(), vec![open]);
        }

        #[test]
        fn divisor_partitions_longer_candle(
            short in any_interval(),
            long in any_interval(),
            millis in 0i64..4_000_000_000_000,
        ) {
            let span = long.span(long.floor(Timestamp::from_millis(millis)));
            if short.divides(long) {
                prop_assert_eq!(short.whole_candles(span), span);
            }
        }

        #[test]
        fn longer_candles_consist_of_whole_minutes(interval in any_interval(), millis in 0i64..4_000_000_000_000) {
            let span = interval.span(interval.floor(Timestamp::from_millis(millis)));
            prop_assert_eq!(Interval::M1.whole_candles(span), span);
        }
    }
}
