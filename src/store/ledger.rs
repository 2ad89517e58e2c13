//! How claims change the rows of the ledger.

use std::time::Duration;

use crate::model::{Coverage, CoveredRange, TimeRange, Timestamp};

const MILLISECOND: Duration = Duration::from_millis(1);

/// How many rows hold the first `most` ranges of some time: the first row may end before it.
pub(super) fn rows(most: u32) -> i64 {
    i64::from(most) + 1
}

/// The first `most` ranges of the `rows` that touch `range`, cut to it.
pub(super) fn cut(rows: impl IntoIterator<Item = CoveredRange>, range: TimeRange, most: u32) -> Coverage {
    let known: Coverage = rows.into_iter().collect();
    known.within(range).ranges().iter().take(most as usize).copied().collect()
}

/// What claims make of a series' rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// The starts of rows that go.
    pub gone: Vec<Timestamp>,
    /// Rows that come, or get another end or state.
    pub put: Vec<CoveredRange>,
}

/// The time whose rows must be known to merge these claims: a row that only touches them may have to be joined with
/// them. `None` where nothing is claimed.
pub(super) fn touched(claims: &[CoveredRange]) -> Option<TimeRange> {
    let ranges = || claims.iter().map(|claim| claim.range).filter(|range| !range.is_empty());
    let start = ranges().map(TimeRange::start).min()?;
    let end = ranges().map(TimeRange::end).max()?;
    Some(TimeRange::new(start - MILLISECOND, end))
}

/// Merges claims into the rows that are there in [`touched`], ascending.
pub(super) fn merge(before: &[CoveredRange], claims: &[CoveredRange]) -> Change {
    let claims = claims.iter().filter(|claim| !claim.range.is_empty());
    let after: Coverage = before.iter().chain(claims).copied().collect();
    let start_of = |known: &CoveredRange| known.range.start();
    let find = |ranges: &[CoveredRange], start: Timestamp| {
        ranges.binary_search_by_key(&start, start_of).ok().map(|index| ranges[index])
    };
    Change {
        gone: before.iter().map(start_of).filter(|start| find(after.ranges(), *start).is_none()).collect(),
        put: after.ranges().iter().filter(|known| find(before, start_of(known)) != Some(**known)).copied().collect(),
    }
}
