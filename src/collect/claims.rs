//! What a page of candles from an exchange's REST interface proves. Pure.

use std::time::Duration;

use crate::model::{Candle, Coverage, CoveredRange, Interval, Knowledge, TimeRange, Timestamp};

/// A row that is not there is believed to be missing for good when its time is over for so long; sooner only if the page
/// has a later row, since exchanges may show a closed candle late.
const SETTLED_AFTER: Duration = Duration::from_mins(1);

/// A row that contradicts itself is asked for again until its time is over for so long; then the exchange cannot give it.
const CORRECTED_WITHIN: Duration = Duration::from_hours(1);

/// What a page proves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Closed candles of the asked range, ascending.
    pub candles: Vec<Candle>,
    /// What is known by it.
    pub claims: Vec<CoveredRange>,
    /// Rows that contradicted themselves or lay off the grid.
    pub rejected: usize,
}

/// Reads `rows`, which an exchange gave for `range` and which were received at `received`. Where the page is `full`,
/// there may be more behind its last row.
#[must_use]
pub fn read_page(interval: Interval, range: TimeRange, rows: &[Candle], full: bool, received: Timestamp) -> Page {
    let mut page = Page::default();
    let mut coverage = Coverage::default();
    let mut holes = Vec::new();
    let mut seen_until = range.start();
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.timestamp);
    for row in rows {
        if row.check(interval).is_err() {
            page.rejected += 1;
            holes.push(interval.span(interval.floor(row.timestamp)));
            continue;
        }
        let span = interval.span(row.timestamp);
        seen_until = seen_until.max(span.start());
        if !range.contains(row.timestamp) || span.end() > received {
            continue;
        }
        // Its time is over, and still the exchange does not call it closed.
        if !row.closed {
            holes.push(span);
            continue;
        }
        seen_until = seen_until.max(span.end());
        match page.candles.last_mut() {
            Some(last) if last.timestamp == row.timestamp => *last = row,
            _ => page.candles.push(row),
        }
        coverage.add(CoveredRange { range: span, state: Knowledge::Fetched });
    }
    let settled = if full { range.start() } else { interval.floor(received - SETTLED_AFTER) };
    let vouched = TimeRange::new(range.start(), range.end().min(seen_until.max(settled)).min(interval.floor(received)));
    for hole in coverage.unknown(vouched) {
        if holes.is_empty() {
            coverage.add(CoveredRange { range: hole, state: Knowledge::Empty });
            continue;
        }
        for piece in interval.opens(hole).filter(|open| !holes.iter().any(|bad| bad.contains(*open))) {
            coverage.add(CoveredRange { range: interval.span(piece), state: Knowledge::Empty });
        }
    }
    for bad in holes.into_iter().filter(|bad| range.contains(bad.start()) && bad.end() + CORRECTED_WITHIN <= received) {
        coverage.add(CoveredRange { range: bad, state: Knowledge::Unavailable });
    }
    page.claims = coverage.ranges().to_vec();
    page
}

#[cfg(test)]
mod tests {
    use super::Knowledge::{Empty, Fetched, Unavailable};
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_secs(60 * minute)
    }

    fn row(minute: i64) -> Candle {
        Candle {
            timestamp: at(minute),
            open: 1.into(),
            high: 1.into(),
            low: 1.into(),
            close: 1.into(),
            volume: 1.into(),
            quote_volume: None,
            trades: None,
            closed: true,
            revision: 0,
        }
    }

    fn read(range: (i64, i64), rows: &[Candle], received_secs: i64) -> (Vec<i64>, Vec<(i64, i64, Knowledge)>) {
        let page = read_page(
            Interval::M1,
            TimeRange::new(at(range.0), at(range.1)),
            rows,
            rows.len() > 3,
            Timestamp::from_secs(received_secs),
        );
        let minute = |at: Timestamp| at.millis() / 60_000;
        assert!(page.candles.iter().all(|candle| candle.closed));
        (
            page.candles.iter().map(|candle| minute(candle.timestamp)).collect(),
            page.claims
                .iter()
                .map(|claim| (minute(claim.range.start()), minute(claim.range.end()), claim.state))
                .collect(),
        )
    }

    #[test]
    fn what_lies_between_rows_is_empty() {
        let (candles, claims) = read((0, 6), &[row(5), row(1), row(2)], 600);
        assert_eq!(candles, [1, 2, 5]);
        assert_eq!(claims, [(0, 1, Empty), (1, 3, Fetched), (3, 5, Empty), (5, 6, Fetched)]);
    }

    #[test]
    fn the_forming_row_is_not_kept_but_vouches_for_what_lies_before_it() {
        assert_eq!(read((0, 3), &[row(0), row(2)], 130), (vec![0], vec![(0, 1, Fetched), (1, 2, Empty)]));
        assert_eq!(read((0, 2), &[row(0), row(2)], 130), (vec![0], vec![(0, 1, Fetched), (1, 2, Empty)]));
    }

    #[test]
    fn silence_about_the_newest_minutes_proves_nothing_yet() {
        assert_eq!(read((0, 2), &[row(0)], 125), (vec![0], vec![(0, 1, Fetched)]));
        assert_eq!(read((0, 2), &[row(0)], 180), (vec![0], vec![(0, 1, Fetched), (1, 2, Empty)]));
        assert_eq!(read((0, 2), &[], 1_000), (vec![], vec![(0, 2, Empty)]));
    }

    #[test]
    fn behind_the_last_row_of_a_full_page_nothing_is_known() {
        let rows = [row(4), row(5), row(6), row(7)];
        assert_eq!(read((0, 100), &rows, 60_000), (vec![4, 5, 6, 7], vec![(0, 4, Empty), (4, 8, Fetched)]));
    }

    #[test]
    fn a_row_that_is_not_closed_leaves_its_time_unknown() {
        let open = Candle { closed: false, ..row(1) };
        assert_eq!(read((0, 3), &[row(0), open, row(2)], 600), (vec![0, 2], vec![(0, 1, Fetched), (2, 3, Fetched)]));
    }

    #[test]
    fn a_bad_row_leaves_its_time_unknown_until_it_is_old() {
        let bad = Candle { high: 0.into(), ..row(1) };
        assert_eq!(read((0, 3), &[row(0), bad, row(2)], 600).1, [(0, 1, Fetched), (2, 3, Fetched)]);
        let off_grid = Candle { timestamp: Timestamp::from_secs(61), ..row(1) };
        assert_eq!(read((0, 2), &[row(0), off_grid], 600).1, [(0, 1, Fetched)]);
        assert_eq!(read((0, 2), &[row(0), off_grid], 3_720).1, [(0, 1, Fetched), (1, 2, Unavailable)]);
    }
}
