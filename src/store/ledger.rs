//! Merging of coverage claims into the rows of the ledger.

use std::time::Duration;

use crate::model::{Coverage, CoveredRange, TimeRange, Timestamp};

const MILLISECOND: Duration = Duration::from_millis(1);

/// Number of rows to read for the first `limit` ranges of a time range: the first row may end before the range.
pub(super) fn row_limit(limit: u32) -> i64 {
    i64::from(limit) + 1
}

/// Clips `rows` to `range` and returns the first `limit` of them.
pub(super) fn clip(rows: impl IntoIterator<Item = CoveredRange>, range: TimeRange, limit: u32) -> Coverage {
    let known: Coverage = rows.into_iter().collect();
    known.within(range).ranges().iter().take(limit as usize).copied().collect()
}

/// Changes of the rows of one series.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Start times of rows to delete.
    pub removed: Vec<Timestamp>,
    /// Rows to insert, or to update because their end or state changes.
    pub upserted: Vec<CoveredRange>,
}

/// The time range whose rows are needed to merge these claims. It includes adjacent rows, which may have to be joined.
/// `None` if no claim has a length.
pub(super) fn touched_range(claims: &[CoveredRange]) -> Option<TimeRange> {
    let ranges = || claims.iter().map(|claim| claim.range).filter(|range| !range.is_empty());
    let start = ranges().map(TimeRange::start).min()?;
    let end = ranges().map(TimeRange::end).max()?;
    Some(TimeRange::new(start - MILLISECOND, end))
}

/// Merges claims into `before`, the ascending rows in [`touched_range`].
pub(super) fn merge(before: &[CoveredRange], claims: &[CoveredRange]) -> Change {
    let claims = claims.iter().filter(|claim| !claim.range.is_empty());
    let after: Coverage = before.iter().chain(claims).copied().collect();
    let start_of = |known: &CoveredRange| known.range.start();
    let find = |ranges: &[CoveredRange], start: Timestamp| {
        ranges.binary_search_by_key(&start, start_of).ok().map(|index| ranges[index])
    };
    Change {
        removed: before.iter().map(start_of).filter(|start| find(after.ranges(), *start).is_none()).collect(),
        upserted: after
            .ranges()
            .iter()
            .filter(|known| find(before, start_of(known)) != Some(**known))
            .copied()
            .collect(),
    }
}
