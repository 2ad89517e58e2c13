//! Pages of candles, parsed row by row: an invalid row never affects the others.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::codec::{Int, is_candle_over};
use crate::model::{Candle, Interval, TimeRange, Timestamp};

/// The candle rows of one REST response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CandleRows {
    /// Candles that open within the requested range, ascending, at most one per open time. Includes rows whose open
    /// time is off the grid and rows with contradictory values: see [`Candle::check`].
    pub rows: Vec<Candle>,
    /// Rows that cannot be parsed, in the order of the response. Their candles are unknown.
    pub skipped: Vec<SkippedRow>,
    /// Open times of valid rows outside the requested range, ascending.
    pub outside_range: Vec<Timestamp>,
    /// Whether the response has its rows in ascending or descending order of time.
    pub is_sorted: bool,
}

/// A row of a response that cannot be parsed: `null`, a string, a number out of bounds, a wrong number of columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedRow {
    /// Its open time, if that can be parsed. May be outside the requested range.
    pub timestamp: Option<Timestamp>,
    /// What is wrong with the row, with the beginning of the row.
    pub reason: String,
}

impl SkippedRow {
    fn new(row: &RawValue, timestamp: Option<Timestamp>, what: impl fmt::Display) -> Self {
        let excerpt: String = row.get().chars().take(120).collect();
        Self { timestamp, reason: format!("{what} in `{excerpt}`") }
    }
}

impl CandleRows {
    /// Parses each row separately. `open_time` parses only the open time, for rows with other invalid columns.
    pub(super) fn parse<'a, T: Deserialize<'a>>(
        rows: &[&'a RawValue],
        received: Timestamp,
        open_time: impl Fn(&'a RawValue) -> Option<Timestamp>,
        candle: impl Fn(&T) -> Candle,
    ) -> Self {
        let mut parsed = Self::default();
        for &row in rows {
            match serde_json::from_str::<T>(row.get()).map(|row| candle(&row)) {
                Ok(candle) if candle.timestamp.is_within_century_of(received) => parsed.rows.push(candle),
                Ok(_) => parsed.skipped.push(SkippedRow::new(row, None, "no time within a century of now")),
                Err(error) => {
                    let timestamp = open_time(row).filter(|at| at.is_within_century_of(received));
                    parsed.skipped.push(SkippedRow::new(row, timestamp, error));
                }
            }
        }
        parsed
    }

    /// Marks the rows as closed that a later row or the clock closes, and normalizes them to a page.
    pub(super) fn into_page(mut self, interval: Interval, range: TimeRange, received: Timestamp) -> Self {
        let valid = self.rows.iter().map(|row| row.timestamp);
        let newest = valid.chain(self.skipped.iter().filter_map(|row| row.timestamp)).max();
        for row in &mut self.rows {
            row.closed = Some(row.timestamp) < newest || is_candle_over(row.timestamp, interval, received);
        }
        self.into_flagged_page(range)
    }

    /// Like [`CandleRows::into_page`], for an exchange whose rows have a closed flag.
    ///
    /// Of rows with the same open time, keeps a closed one if there is one, then the one with the largest volume: an
    /// exchange that repeats a row sends a partial and a final state of it, in any order.
    pub(crate) fn into_flagged_page(mut self, range: TimeRange) -> Self {
        let open_times = || self.rows.iter().map(|row| row.timestamp);
        self.is_sorted = open_times().is_sorted() || open_times().is_sorted_by(|earlier, later| earlier >= later);
        self.rows.sort_by_key(|row| (row.timestamp, !row.closed, std::cmp::Reverse(row.volume)));
        self.rows.dedup_by_key(|row| row.timestamp);
        let outside_range = self.rows.iter().map(|row| row.timestamp).filter(|at| !range.contains(*at));
        self.outside_range = outside_range.collect();
        self.rows.retain(|row| range.contains(row.timestamp));
        self
    }

    /// Number of rows within the requested range, plus all rows that cannot be parsed.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.len() + self.skipped.len()
    }

    /// The open time of the oldest row.
    pub(super) fn oldest_open_time(&self) -> Option<Timestamp> {
        let valid = self.rows.iter().map(|row| row.timestamp);
        valid.chain(self.skipped.iter().filter_map(|row| row.timestamp)).min()
    }
}

/// The first column of a row that is an array.
pub(super) fn first_column(row: &RawValue) -> Option<Int> {
    let columns: Vec<&RawValue> = serde_json::from_str(row.get()).ok()?;
    serde_json::from_str(columns.first()?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rust_decimal::Decimal;

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

    fn page(rows: Vec<Candle>, range: TimeRange, now: i64) -> CandleRows {
        CandleRows { rows, ..CandleRows::default() }.into_page(Interval::M1, range, Timestamp::from_secs(now))
    }

    #[test]
    fn page_is_half_open_ascending_and_marks_closed_rows() {
        let page = page(vec![row(180, 1), row(0, 9), row(60, 2), row(120, 3), row(240, 4)], range(60, 240), 241);
        let seen: Vec<_> = page.rows.iter().map(|row| (row.timestamp.millis() / 1000, row.closed)).collect();
        assert_eq!(seen, [(60, true), (120, true), (180, true)]);
        assert_eq!(page.outside_range, [0, 240].map(Timestamp::from_secs));
    }

    #[test]
    fn newest_row_closes_two_seconds_after_its_end() {
        for (now, closed) in [(119, false), (121, false), (122, true)] {
            assert_eq!(page(vec![row(60, 1)], range(0, 1000), now).rows[0].closed, closed, "{now}");
        }
    }

    #[test]
    fn page_keeps_off_grid_and_contradictory_rows() {
        let contradictory = Candle { high: Decimal::ZERO, ..row(60, 1) };
        assert_eq!(page(vec![contradictory, row(121, 1), row(180, 1)], range(0, 1000), 0).rows.len(), 3);
        assert_eq!(page(vec![row(61, 1)], range(0, 1000), 0).rows.len(), 1);
        assert_eq!(page(vec![], range(0, 1000), 0), CandleRows { is_sorted: true, ..CandleRows::default() });
    }

    #[test]
    fn page_reports_whether_rows_are_sorted() {
        let is_sorted = |secs: &[i64]| {
            let rows = secs.iter().map(|secs| row(*secs, 1)).collect();
            page(rows, range(0, 1000), 2_000).is_sorted
        };
        assert!(is_sorted(&[60, 120, 120, 300]) && is_sorted(&[300, 120, 60]));
        assert!(!is_sorted(&[60, 300, 120]));
    }

    #[test]
    fn keeps_final_state_of_repeated_row() {
        let final_state = Candle { volume: 5.into(), ..row(60, 2) };
        for rows in [vec![row(60, 1), final_state], vec![final_state, row(60, 1)]] {
            assert_eq!(page(rows, range(0, 1000), 500).rows, [Candle { closed: true, ..final_state }]);
        }
        let closed = Candle { closed: true, ..row(60, 1) };
        let rows = CandleRows { rows: vec![final_state, closed], ..CandleRows::default() };
        assert_eq!(rows.into_flagged_page(range(0, 1000)).rows, [closed]);
    }

    #[test]
    fn skips_invalid_rows_with_reason() {
        let body = r#"[[60000,"1"],null,"x",[120000,"1e400"],[180000],[240000,"2"],[9e99,"3"],[1672981200000000,"4"]]"#;
        let raw: Vec<&RawValue> = serde_json::from_str(body).unwrap();
        let candle =
            |(at, price): &(Int, crate::model::Number)| Candle { timestamp: at.millis(), open: price.0, ..row(0, 1) };
        let open_time = |row| first_column(row).map(Int::millis);
        let parsed = CandleRows::parse(&raw, Timestamp::from_secs(1_000), open_time, candle);
        let times: Vec<_> = parsed.rows.iter().map(|row| row.timestamp.millis()).collect();
        assert_eq!(times, [60_000, 240_000]);
        let skipped: Vec<_> = parsed.skipped.iter().map(|row| row.timestamp.map(Timestamp::millis)).collect();
        assert_eq!(skipped, [None, None, Some(120_000), Some(180_000), None, None]);
        assert!(parsed.skipped[2].reason.contains("1e400"), "{}", parsed.skipped[2].reason);
        assert_eq!(parsed.count(), 8);
        let page = parsed.into_page(Interval::M1, range(0, 1_000), Timestamp::from_secs(200));
        assert_eq!(page.rows.iter().map(|row| row.closed).collect::<Vec<_>>(), [true, false]);
    }
}
