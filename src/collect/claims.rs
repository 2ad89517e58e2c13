//! What one answer of an exchange's REST interface proves about candles. Pure.
//!
//! A row proves the candle that it holds. Silence is told only between two rows of one answer in order: an exchange
//! may cut a page at either end, may answer nothing, or may not show its newest candles yet. What lies before the first
//! and after the last row is left unknown; [`Inquiry`](super::inquiry::Inquiry) asks on, and says what silence proves.

use crate::exchanges::CandleRows;
use crate::model::{Candle, CandleError, Coverage, CoveredRange, Interval, Knowledge, TimeRange, Timestamp};

/// What an answer proves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Closed candles of the asked range, ascending.
    pub candles: Vec<Candle>,
    /// The times of these candles.
    pub claims: Coverage,
    /// The times between two rows for which there is none.
    pub silence: Coverage,
    /// Times of the asked range for which there are only rows that cannot be right.
    pub defects: Vec<Defect>,
    /// There was no row at all, not even one that cannot be right.
    pub blank: bool,
    /// There were rows of which not even the time could be read.
    pub undated: bool,
}

impl Answer {
    /// What is known by it where the silence between two rows is believed.
    #[must_use]
    pub fn known(&self) -> Coverage {
        self.claims.ranges().iter().chain(self.silence.ranges()).copied().collect()
    }
}

/// A time for which the exchange gives only rows that cannot be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defect {
    /// On the grid.
    pub range: TimeRange,
    /// [`Knowledge::OffGrid`] or [`Knowledge::Invalid`]: what it becomes when the exchange repeats it.
    pub state: Knowledge,
}

/// Whether the order and the times of the rows are those of an answer to `question`: then nothing was left out between
/// two of them. Rows after the asked range are normal on exchanges that take no end.
fn is_in_order(rows: &CandleRows, interval: Interval, question: TimeRange, received: Timestamp) -> bool {
    let (first, latest) = (interval.floor(question.start()), interval.next(interval.next(received)));
    let is_asked_for = |open: Timestamp| open >= first && open <= latest;
    rows.in_order
        && rows.skipped.iter().all(|row| row.timestamp.is_some_and(is_asked_for))
        && rows.outside.iter().all(|open| is_asked_for(*open))
}

/// A time for which there is a row.
struct Mark {
    range: TimeRange,
    /// `None`: the row is right, and closed or not.
    defect: Option<Knowledge>,
}

/// Reads the answer to a question for candles that open in `question`, received at `received` by the exchange's clock, whose
/// rows are final where they end before `settled`.
#[must_use]
pub fn read_answer(
    interval: Interval,
    question: TimeRange,
    rows: &CandleRows,
    received: Timestamp,
    settled: Timestamp,
) -> Answer {
    let in_order = is_in_order(rows, interval, question, received);
    let closed = TimeRange::new(question.start(), question.end().min(interval.floor(settled)));
    let mut answer = Answer {
        blank: rows.count() == 0 && rows.outside.is_empty(),
        undated: rows.skipped.iter().any(|row| row.timestamp.is_none()),
        ..Answer::default()
    };
    let mut marks: Vec<Mark> = rows.outside.iter().map(|open| right(interval, *open)).collect();
    for row in &rows.rows {
        match row.check(interval) {
            Ok(()) => {
                let mark = right(interval, row.timestamp);
                if row.closed && mark.range.end() <= closed.end() {
                    answer.claims.add(CoveredRange { range: mark.range, state: Knowledge::Fetched });
                    answer.candles.push(*row);
                }
                marks.push(mark);
            }
            Err(CandleError::OffGrid(_)) => marks.push(off_grid(interval, row.timestamp)),
            Err(_) => marks.push(invalid(interval, row.timestamp)),
        }
    }
    marks.sort_by_key(|mark| mark.range.start());
    let skipped: Vec<Mark> = rows.skipped.iter().filter_map(|row| Some(invalid(interval, row.timestamp?))).collect();
    if in_order {
        let unread: Coverage =
            skipped.iter().map(|mark| CoveredRange { range: mark.range, state: Knowledge::Invalid }).collect();
        for silence in between(&marks) {
            for range in unread.unknown(silence.intersection(closed)) {
                answer.silence.add(CoveredRange { range, state: Knowledge::Empty });
            }
        }
    }
    marks.extend(skipped);
    let bad = marks.iter().filter_map(|mark| Some(CoveredRange { range: mark.range, state: mark.defect? }));
    for CoveredRange { range, state } in bad.collect::<Coverage>().ranges() {
        let left = answer.claims.unknown(range.intersection(closed));
        answer.defects.extend(left.into_iter().map(|range| Defect { range, state: *state }));
    }
    answer
}

fn right(interval: Interval, open: Timestamp) -> Mark {
    Mark { range: interval.span(interval.floor(open)), defect: None }
}

/// A row off the grid holds parts of two candles.
fn off_grid(interval: Interval, open: Timestamp) -> Mark {
    let first = interval.span(interval.floor(open));
    Mark { range: TimeRange::new(first.start(), interval.next(first.end())), defect: Some(Knowledge::OffGrid) }
}

fn invalid(interval: Interval, open: Timestamp) -> Mark {
    Mark { range: interval.span(interval.floor(open)), defect: Some(Knowledge::Invalid) }
}

/// The times between the marks, which are sorted by their rows' times.
fn between(marks: &[Mark]) -> impl Iterator<Item = TimeRange> {
    let mut reached = marks.first().map(|mark| mark.range.end());
    marks.iter().filter_map(move |mark| {
        let end = reached?;
        reached = Some(end.max(mark.range.end()));
        (mark.range.start() > end).then(|| TimeRange::new(end, mark.range.start()))
    })
}

#[cfg(test)]
mod tests {
    use super::Knowledge::{Empty, Fetched, Invalid, OffGrid};
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

    type Claims = Vec<(i64, i64, Knowledge)>;

    fn read_with(
        range: (i64, i64),
        candles: &[Candle],
        skipped: &[Option<Timestamp>],
        received_secs: i64,
    ) -> (Vec<i64>, Claims, Claims) {
        let question = TimeRange::new(at(range.0), at(range.1));
        let skipped = skipped.iter().map(|timestamp| SkippedRow { timestamp: *timestamp, reason: String::new() });
        let rows = CandleRows { rows: candles.to_vec(), skipped: skipped.collect(), ..CandleRows::default() };
        let rows = rows.into_flagged_page(question);
        let received = Timestamp::from_secs(received_secs);
        let answer = read_answer(Interval::M1, question, &rows, received, received);
        let minute = |at: Timestamp| at.millis() / 60_000;
        let claim = |range: TimeRange, state| (minute(range.start()), minute(range.end()), state);
        assert!(answer.candles.iter().all(|candle| candle.closed));
        (
            answer.candles.iter().map(|candle| minute(candle.timestamp)).collect(),
            answer.known().ranges().iter().map(|known| claim(known.range, known.state)).collect(),
            answer.defects.iter().map(|defect| claim(defect.range, defect.state)).collect(),
        )
    }

    fn read(range: (i64, i64), candles: &[Candle], received_secs: i64) -> (Vec<i64>, Claims) {
        let (minutes, claims, defects) = read_with(range, candles, &[], received_secs);
        assert_eq!(defects, []);
        (minutes, claims)
    }

    #[test]
    fn silence_is_empty_only_between_two_rows() {
        let (candles, claims) = read((0, 9), &[row(1), row(2), row(5)], 6_000);
        assert_eq!(candles, [1, 2, 5]);
        assert_eq!(claims, [(1, 3, Fetched), (3, 5, Empty), (5, 6, Fetched)]);
        assert_eq!(read((0, 9), &[row(5), row(2), row(1)], 6_000).1, claims, "newest first");
        assert_eq!(read((0, 9), &[], 6_000).1, []);
    }

    #[test]
    fn silence_in_an_answer_without_order_proves_nothing() {
        let rows = [row(5), row(1), row(2)];
        assert_eq!(read((0, 9), &rows, 6_000).1, [(1, 3, Fetched), (5, 6, Fetched)]);
    }

    #[test]
    fn rows_that_were_not_asked_for_are_not_kept() {
        // An exchange that takes no end goes on: what follows encloses.
        assert_eq!(read((0, 3), &[row(0), row(6)], 6_000), (vec![0], vec![(0, 1, Fetched), (1, 3, Empty)]));
        // One that ignores the start answers another question, as one does that gives times in another unit.
        assert_eq!(read((3, 9), &[row(0), row(6)], 6_000), (vec![6], vec![(6, 7, Fetched)]));
        assert_eq!(read((0, 9), &[row(0), row(60_000)], 6_000), (vec![0], vec![(0, 1, Fetched)]));
    }

    #[test]
    fn the_forming_row_encloses_what_lies_before_it() {
        let forming = Candle { closed: false, ..row(2) };
        assert_eq!(read((0, 3), &[row(0), forming], 130), (vec![0], vec![(0, 1, Fetched), (1, 2, Empty)]));
        assert_eq!(read((0, 2), &[row(0), row(2)], 130), (vec![0], vec![(0, 1, Fetched), (1, 2, Empty)]));
    }

    #[test]
    fn rows_that_may_still_change_prove_nothing_of_their_own() {
        let rows = CandleRows { rows: vec![row(0), row(1), row(3)], ..CandleRows::default() };
        let question = TimeRange::new(at(0), at(4));
        let answer = read_answer(Interval::M1, question, &rows.into_flagged_page(question), at(5), at(2));
        assert_eq!(answer.claims.ranges(), [CoveredRange { range: TimeRange::new(at(0), at(2)), state: Fetched }]);
    }

    #[test]
    fn a_row_that_is_not_closed_leaves_its_time_unknown() {
        let open = Candle { closed: false, ..row(1) };
        assert_eq!(read((0, 3), &[row(0), open, row(2)], 600), (vec![0, 2], vec![(0, 1, Fetched), (2, 3, Fetched)]));
    }

    #[test]
    fn bad_rows_are_defects_and_spoil_no_others() {
        let bad = Candle { high: 0.into(), ..row(1) };
        let read = |candles: &[Candle], skipped: &[Option<Timestamp>]| {
            let (_, claims, defects) = read_with((0, 9), candles, skipped, 6_000);
            (claims, defects)
        };
        let (claims, defects) = read(&[row(0), bad, row(2)], &[]);
        assert_eq!((claims, defects), (vec![(0, 1, Fetched), (2, 3, Fetched)], vec![(1, 2, Invalid)]));
        // Off the grid by 14 s: it holds parts of two minutes.
        let shifted = Candle { timestamp: at(2) + std::time::Duration::from_secs(14), ..row(2) };
        let (claims, defects) = read(&[row(0), shifted, row(7)], &[]);
        assert_eq!(
            (claims, defects),
            (vec![(0, 1, Fetched), (1, 2, Empty), (4, 7, Empty), (7, 8, Fetched)], vec![(2, 4, OffGrid)])
        );
        // A row that cannot be read leaves its time out, and all silence where the time is not known either.
        let (claims, defects) = read(&[row(0), row(4)], &[Some(at(2))]);
        assert_eq!(
            (claims, defects),
            (vec![(0, 1, Fetched), (1, 2, Empty), (3, 4, Empty), (4, 5, Fetched)], vec![(2, 3, Invalid)])
        );
        assert_eq!(read(&[row(0), row(4)], &[None]), (vec![(0, 1, Fetched), (4, 5, Fetched)], vec![]));
    }
}
