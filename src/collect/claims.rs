//! Makes coverage claims from one page of candle rows of an exchange's REST API. No I/O.
//!
//! A row proves its candle. A range without rows is a candidate for an empty claim only between two rows of one sorted
//! page: an exchange may cut a page at either end, return no rows, or not have its newest candles yet. Time before the
//! first row and after the last row stays unknown. [`PageFetch`](super::page_fetch::PageFetch) sends further requests
//! and decides which candidates are empty.

use crate::exchanges::CandleRows;
use crate::model::{Candle, CandleError, Coverage, CoverageState, CoveredRange, Interval, TimeRange, Timestamp};

/// Candles and coverage claims of one page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageClaims {
    /// Closed candles of the requested range, ascending.
    pub candles: Vec<Candle>,
    /// The ranges of these candles, as `Fetched`.
    pub claims: Coverage,
    /// Ranges without a row between two rows, as `Empty`; suspect if the exchange has a candle for each interval.
    pub empty_between_rows: Coverage,
    /// Parts of the requested range with only defective rows.
    pub defects: Vec<Defect>,
    /// The page has no row at all, not even a defective one.
    pub has_no_rows: bool,
    /// The page has rows whose open time could not be read.
    pub has_undated_rows: bool,
}

impl PageClaims {
    /// `claims` and `empty_between_rows`.
    #[must_use]
    pub fn all_claims(&self) -> Coverage {
        self.claims.ranges().iter().chain(self.empty_between_rows.ranges()).copied().collect()
    }
}

/// A range with only defective rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defect {
    /// On the grid.
    pub range: TimeRange,
    /// [`CoverageState::OffGrid`] or [`CoverageState::Invalid`]: the state if another response confirms it.
    pub state: CoverageState,
}

/// Whether the rows are sorted and belong to the `requested` range. Only then no row is missing between two others.
/// Rows after the range are normal: some exchanges take no end parameter.
fn matches_request(rows: &CandleRows, interval: Interval, requested: TimeRange, received_at: Timestamp) -> bool {
    let (first, latest) = (interval.floor(requested.start()), interval.next(interval.next(received_at)));
    let is_requested = |open: Timestamp| open >= first && open <= latest;
    rows.is_sorted
        && rows.skipped.iter().all(|row| row.timestamp.is_some_and(is_requested))
        && rows.outside_range.iter().all(|open| is_requested(*open))
}

/// The range of a row.
struct RowSpan {
    range: TimeRange,
    /// `None` for a valid row, closed or not.
    defect: Option<CoverageState>,
}

/// Evaluates a page of candles with open times in `requested`. `received_at` is exchange time. Candles that close
/// after `final_before` may still change.
#[must_use]
pub fn evaluate_page(
    interval: Interval,
    requested: TimeRange,
    rows: &CandleRows,
    received_at: Timestamp,
    final_before: Timestamp,
) -> PageClaims {
    let no_row_missing = matches_request(rows, interval, requested, received_at);
    let closed = TimeRange::new(requested.start(), requested.end().min(interval.floor(final_before)));
    let mut page = PageClaims {
        has_no_rows: rows.count() == 0 && rows.outside_range.is_empty(),
        has_undated_rows: rows.skipped.iter().any(|row| row.timestamp.is_none()),
        ..PageClaims::default()
    };
    let mut spans: Vec<RowSpan> = rows.outside_range.iter().map(|open| valid(interval, *open)).collect();
    for row in &rows.rows {
        match row.check(interval) {
            Ok(()) => {
                let span = valid(interval, row.timestamp);
                if row.closed && span.range.end() <= closed.end() {
                    page.claims.add(CoveredRange { range: span.range, state: CoverageState::Fetched });
                    page.candles.push(*row);
                }
                spans.push(span);
            }
            Err(CandleError::OffGrid(_)) => spans.push(off_grid(interval, row.timestamp)),
            Err(_) => spans.push(invalid(interval, row.timestamp)),
        }
    }
    spans.sort_by_key(|span| span.range.start());
    let skipped: Vec<RowSpan> = rows.skipped.iter().filter_map(|row| Some(invalid(interval, row.timestamp?))).collect();
    if no_row_missing {
        let unreadable: Coverage =
            skipped.iter().map(|span| CoveredRange { range: span.range, state: CoverageState::Invalid }).collect();
        for between in ranges_between(&spans) {
            for range in unreadable.unknown_ranges(between.intersection(closed)) {
                page.empty_between_rows.add(CoveredRange { range, state: CoverageState::Empty });
            }
        }
    }
    spans.extend(skipped);
    let defective = spans.iter().filter_map(|span| Some(CoveredRange { range: span.range, state: span.defect? }));
    for CoveredRange { range, state } in defective.collect::<Coverage>().ranges() {
        let unclaimed = page.claims.unknown_ranges(range.intersection(closed));
        page.defects.extend(unclaimed.into_iter().map(|range| Defect { range, state: *state }));
    }
    page
}

fn valid(interval: Interval, open: Timestamp) -> RowSpan {
    RowSpan { range: interval.span(interval.floor(open)), defect: None }
}

/// A row off the grid contains parts of two candles.
fn off_grid(interval: Interval, open: Timestamp) -> RowSpan {
    let first = interval.span(interval.floor(open));
    RowSpan { range: TimeRange::new(first.start(), interval.next(first.end())), defect: Some(CoverageState::OffGrid) }
}

fn invalid(interval: Interval, open: Timestamp) -> RowSpan {
    RowSpan { range: interval.span(interval.floor(open)), defect: Some(CoverageState::Invalid) }
}

/// The ranges between spans that are sorted by start.
fn ranges_between(spans: &[RowSpan]) -> impl Iterator<Item = TimeRange> {
    let mut covered_until = spans.first().map(|span| span.range.end());
    spans.iter().filter_map(move |span| {
        let end = covered_until?;
        covered_until = Some(end.max(span.range.end()));
        (span.range.start() > end).then(|| TimeRange::new(end, span.range.start()))
    })
}

#[cfg(test)]
mod tests {
    use super::CoverageState::{Empty, Fetched, Invalid, OffGrid};
    use super::*;
    use crate::exchanges::SkippedRow;

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

    type Claims = Vec<(i64, i64, CoverageState)>;

    fn evaluate_with_skipped_rows(
        range: (i64, i64),
        candles: &[Candle],
        skipped: &[Option<Timestamp>],
        received_secs: i64,
    ) -> (Vec<i64>, Claims, Claims) {
        let requested = TimeRange::new(at(range.0), at(range.1));
        let skipped = skipped.iter().map(|timestamp| SkippedRow { timestamp: *timestamp, reason: String::new() });
        let rows = CandleRows { rows: candles.to_vec(), skipped: skipped.collect(), ..CandleRows::default() };
        let rows = rows.into_flagged_page(requested);
        let received_at = Timestamp::from_secs(received_secs);
        let page = evaluate_page(Interval::M1, requested, &rows, received_at, received_at);
        let minute = |at: Timestamp| at.millis() / 60_000;
        let claim = |range: TimeRange, state| (minute(range.start()), minute(range.end()), state);
        assert!(page.candles.iter().all(|candle| candle.closed));
        (
            page.candles.iter().map(|candle| minute(candle.timestamp)).collect(),
            page.all_claims().ranges().iter().map(|known| claim(known.range, known.state)).collect(),
            page.defects.iter().map(|defect| claim(defect.range, defect.state)).collect(),
        )
    }

    fn evaluate(range: (i64, i64), candles: &[Candle], received_secs: i64) -> (Vec<i64>, Claims) {
        let (minutes, claims, defects) = evaluate_with_skipped_rows(range, candles, &[], received_secs);
        assert_eq!(defects, []);
        (minutes, claims)
    }

    #[test]
    fn range_without_rows_is_empty_only_between_two_rows() {
        let (candles, claims) = evaluate((0, 9), &[row(1), row(2), row(5)], 6_000);
        assert_eq!(candles, [1, 2, 5]);
        assert_eq!(claims, [(1, 3, Fetched), (3, 5, Empty), (5, 6, Fetched)]);
        assert_eq!(evaluate((0, 9), &[row(5), row(2), row(1)], 6_000).1, claims, "newest first");
        assert_eq!(evaluate((0, 9), &[], 6_000).1, []);
    }

    #[test]
    fn unsorted_page_proves_no_empty_range() {
        let rows = [row(5), row(1), row(2)];
        assert_eq!(evaluate((0, 9), &rows, 6_000).1, [(1, 3, Fetched), (5, 6, Fetched)]);
    }

    #[test]
    fn ignores_candles_outside_requested_range() {
        // A row after the range (the exchange takes no end parameter) can still enclose an empty range.
        assert_eq!(evaluate((0, 3), &[row(0), row(6)], 6_000), (vec![0], vec![(0, 1, Fetched), (1, 3, Empty)]));
        // The exchange ignored the start of the range, or returned times in another unit.
        assert_eq!(evaluate((3, 9), &[row(0), row(6)], 6_000), (vec![6], vec![(6, 7, Fetched)]));
        assert_eq!(evaluate((0, 9), &[row(0), row(60_000)], 6_000), (vec![0], vec![(0, 1, Fetched)]));
    }

    #[test]
    fn forming_row_encloses_empty_range_before_it() {
        let forming = Candle { closed: false, ..row(2) };
        assert_eq!(evaluate((0, 3), &[row(0), forming], 130), (vec![0], vec![(0, 1, Fetched), (1, 2, Empty)]));
        assert_eq!(evaluate((0, 2), &[row(0), row(2)], 130), (vec![0], vec![(0, 1, Fetched), (1, 2, Empty)]));
    }

    #[test]
    fn rows_that_may_still_change_make_no_claims() {
        let rows = CandleRows { rows: vec![row(0), row(1), row(3)], ..CandleRows::default() };
        let requested = TimeRange::new(at(0), at(4));
        let page = evaluate_page(Interval::M1, requested, &rows.into_flagged_page(requested), at(5), at(2));
        assert_eq!(page.claims.ranges(), [CoveredRange { range: TimeRange::new(at(0), at(2)), state: Fetched }]);
    }

    #[test]
    fn open_row_leaves_its_range_unknown() {
        let open = Candle { closed: false, ..row(1) };
        assert_eq!(
            evaluate((0, 3), &[row(0), open, row(2)], 600),
            (vec![0, 2], vec![(0, 1, Fetched), (2, 3, Fetched)])
        );
    }

    #[test]
    fn defective_rows_do_not_affect_other_rows() {
        let defective = Candle { high: 0.into(), ..row(1) };
        let evaluate = |candles: &[Candle], skipped: &[Option<Timestamp>]| {
            let (_, claims, defects) = evaluate_with_skipped_rows((0, 9), candles, skipped, 6_000);
            (claims, defects)
        };
        let (claims, defects) = evaluate(&[row(0), defective, row(2)], &[]);
        assert_eq!((claims, defects), (vec![(0, 1, Fetched), (2, 3, Fetched)], vec![(1, 2, Invalid)]));
        // Off the grid by 14 s: the row contains parts of two minutes.
        let shifted = Candle { timestamp: at(2) + std::time::Duration::from_secs(14), ..row(2) };
        let (claims, defects) = evaluate(&[row(0), shifted, row(7)], &[]);
        assert_eq!(
            (claims, defects),
            (vec![(0, 1, Fetched), (1, 2, Empty), (4, 7, Empty), (7, 8, Fetched)], vec![(2, 4, OffGrid)])
        );
        // The range of an unreadable row is not empty. If its time is unreadable too, no range between rows is empty.
        let (claims, defects) = evaluate(&[row(0), row(4)], &[Some(at(2))]);
        assert_eq!(
            (claims, defects),
            (vec![(0, 1, Fetched), (1, 2, Empty), (3, 4, Empty), (4, 5, Fetched)], vec![(2, 3, Invalid)])
        );
        assert_eq!(evaluate(&[row(0), row(4)], &[None]), (vec![(0, 1, Fetched), (4, 5, Fetched)], vec![]));
    }
}
