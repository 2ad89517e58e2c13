//! Pages of candles, decoded row by row: a bad row never spoils the others.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::codec::{Int, is_over};
use crate::model::{Candle, Interval, TimeRange, Timestamp};

/// What one REST reply says about the candles of the asked range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CandleRows {
    /// Candles that open inside of the asked range, ascending, at most one for each open time. Rows whose open time is
    /// not on the grid, or that contradict themselves, are among them: see [`Candle::check`].
    pub rows: Vec<Candle>,
    /// Rows that could not be read, in the order of the reply. What the exchange said about their time is unknown.
    pub skipped: Vec<SkippedRow>,
    /// Open times of good rows outside of the asked range, ascending.
    pub outside: Vec<Timestamp>,
    /// Whether the rows came in the order of their times, forwards or backwards.
    pub in_order: bool,
}

/// A row of a reply that could not be read: `null`, a text, an absurd number, a wrong number of columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedRow {
    /// Its open time, if that could be read. It may lie outside of the asked range.
    pub timestamp: Option<Timestamp>,
    /// What is wrong with it, with the beginning of the row.
    pub reason: String,
}

impl SkippedRow {
    fn new(row: &RawValue, timestamp: Option<Timestamp>, what: impl fmt::Display) -> Self {
        let excerpt: String = row.get().chars().take(120).collect();
        Self { timestamp, reason: format!("{what} in `{excerpt}`") }
    }
}

impl CandleRows {
    /// Decodes each row on its own. `open` reads the open time alone, of rows whose other members cannot be read.
    pub(super) fn decode<'a, T: Deserialize<'a>>(
        rows: &[&'a RawValue],
        received: Timestamp,
        open: impl Fn(&'a RawValue) -> Option<Timestamp>,
        candle: impl Fn(&T) -> Candle,
    ) -> Self {
        let mut decoded = Self::default();
        for &row in rows {
            match serde_json::from_str::<T>(row.get()).map(|row| candle(&row)) {
                Ok(candle) if candle.timestamp.is_within_century_of(received) => decoded.rows.push(candle),
                Ok(_) => decoded.skipped.push(SkippedRow::new(row, None, "no time within a century of now")),
                Err(error) => {
                    let timestamp = open(row).filter(|at| at.is_within_century_of(received));
                    decoded.skipped.push(SkippedRow::new(row, timestamp, error));
                }
            }
        }
        decoded
    }

    /// Marks the rows as closed that a later row or the clock closes, and brings them into the form of a page.
    pub(super) fn into_page(mut self, interval: Interval, range: TimeRange, received: Timestamp) -> Self {
        let read = self.rows.iter().map(|row| row.timestamp);
        let newest = read.chain(self.skipped.iter().filter_map(|row| row.timestamp)).max();
        for row in &mut self.rows {
            row.closed = Some(row.timestamp) < newest || is_over(row.timestamp, interval, received);
        }
        self.into_flagged_page(range)
    }

    /// The same for an exchange that says of each row whether it is closed.
    ///
    /// Of rows with the same open time the closed one stays, and of these the one with the larger volume: an exchange that
    /// repeats a row gives a partial and a final state of it, in any order.
    pub(crate) fn into_flagged_page(mut self, range: TimeRange) -> Self {
        let opens = || self.rows.iter().map(|row| row.timestamp);
        self.in_order = opens().is_sorted() || opens().is_sorted_by(|earlier, later| earlier >= later);
        self.rows.sort_by_key(|row| (row.timestamp, !row.closed, std::cmp::Reverse(row.volume)));
        self.rows.dedup_by_key(|row| row.timestamp);
        let outside = self.rows.iter().map(|row| row.timestamp).filter(|at| !range.contains(*at));
        self.outside = outside.collect();
        self.rows.retain(|row| range.contains(row.timestamp));
        self
    }

    /// How many rows the reply held for the asked range, those that could not be read included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.len() + self.skipped.len()
    }

    /// The open time of the oldest row of the reply.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let read = self.rows.iter().map(|row| row.timestamp);
        read.chain(self.skipped.iter().filter_map(|row| row.timestamp)).min()
    }
}

/// The first column of a row that is a list.
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
    fn a_page_is_half_open_ascending_and_knows_what_is_closed() {
        let page = page(vec![row(180, 1), row(0, 9), row(60, 2), row(120, 3), row(240, 4)], range(60, 240), 241);
        let seen: Vec<_> = page.rows.iter().map(|row| (row.timestamp.millis() / 1000, row.closed)).collect();
        assert_eq!(seen, [(60, true), (120, true), (180, true)]);
        assert_eq!(page.outside, [0, 240].map(Timestamp::from_secs));
    }

    #[test]
    fn the_newest_row_is_closed_two_seconds_after_its_end() {
        for (now, closed) in [(119, false), (121, false), (122, true)] {
            assert_eq!(page(vec![row(60, 1)], range(0, 1000), now).rows[0].closed, closed, "{now}");
        }
    }

    #[test]
    fn rows_off_the_grid_and_impossible_ones_stay_in() {
        let impossible = Candle { high: Decimal::ZERO, ..row(60, 1) };
        assert_eq!(page(vec![impossible, row(121, 1), row(180, 1)], range(0, 1000), 0).rows.len(), 3);
        assert_eq!(page(vec![row(61, 1)], range(0, 1000), 0).rows.len(), 1);
        assert_eq!(page(vec![], range(0, 1000), 0), CandleRows { in_order: true, ..CandleRows::default() });
    }

    #[test]
    fn the_order_of_a_reply_is_told() {
        let in_order = |secs: &[i64]| {
            let rows = secs.iter().map(|secs| row(*secs, 1)).collect();
            page(rows, range(0, 1000), 2_000).in_order
        };
        assert!(in_order(&[60, 120, 120, 300]) && in_order(&[300, 120, 60]));
        assert!(!in_order(&[60, 300, 120]));
    }

    #[test]
    fn of_a_repeated_row_the_final_state_stays() {
        let last = Candle { volume: 5.into(), ..row(60, 2) };
        for rows in [vec![row(60, 1), last], vec![last, row(60, 1)]] {
            assert_eq!(page(rows, range(0, 1000), 500).rows, [Candle { closed: true, ..last }]);
        }
        let closed = Candle { closed: true, ..row(60, 1) };
        let rows = CandleRows { rows: vec![last, closed], ..CandleRows::default() };
        assert_eq!(rows.into_flagged_page(range(0, 1000)).rows, [closed]);
    }

    #[test]
    fn a_bad_row_is_named_and_the_others_stay() {
        let body = r#"[[60000,"1"],null,"x",[120000,"1e400"],[180000],[240000,"2"],[9e99,"3"],[1672981200000000,"4"]]"#;
        let raw: Vec<&RawValue> = serde_json::from_str(body).unwrap();
        let candle =
            |(at, price): &(Int, crate::model::Number)| Candle { timestamp: at.millis(), open: price.0, ..row(0, 1) };
        let open = |row| first_column(row).map(Int::millis);
        let read = CandleRows::decode(&raw, Timestamp::from_secs(1_000), open, candle);
        let times: Vec<_> = read.rows.iter().map(|row| row.timestamp.millis()).collect();
        assert_eq!(times, [60_000, 240_000]);
        let skipped: Vec<_> = read.skipped.iter().map(|row| row.timestamp.map(Timestamp::millis)).collect();
        assert_eq!(skipped, [None, None, Some(120_000), Some(180_000), None, None]);
        assert!(read.skipped[2].reason.contains("1e400"), "{}", read.skipped[2].reason);
        assert_eq!(read.count(), 8);
        let page = read.into_page(Interval::M1, range(0, 1_000), Timestamp::from_secs(200));
        assert_eq!(page.rows.iter().map(|row| row.closed).collect::<Vec<_>>(), [true, false]);
    }
}
