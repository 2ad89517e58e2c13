//! Closed candles and the coverage ledger.

use async_trait::async_trait;

use super::error::StoreError;
use crate::model::{Candle, Coverage, CoveredRange, Series, TimeRange, Timestamp};

/// Stores closed candles and the coverage ledger.
#[async_trait]
pub trait CandleStore: Send + Sync + 'static {
    /// Writes candles and their coverage claims in one transaction. A stored candle with other values is replaced and
    /// its `revision` incremented; a stored candle with equal values does not change.
    ///
    /// Returns the candles whose revision was incremented, with their new revision.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of the batch is written in that case.
    async fn write(&self, batch: &[SeriesWrite]) -> Result<Vec<(Series, Candle)>, StoreError>;

    /// Candles of a series whose open time lies in `range`, ascending: the first or the last `limit` of them.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn candles(&self, series: &Series, range: TimeRange, take: Take) -> Result<Vec<Candle>, StoreError>;

    /// Candles as [`CandleStore::candles`] returns them, with the coverage of the same time, from one snapshot. The
    /// coverage is that of `range`; where `take` limits the candles, it ends (first) or starts (last) at the open time
    /// of the outermost candle.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn page(&self, series: &Series, range: TimeRange, take: Take) -> Result<StoredPage, StoreError>;

    /// The first `limit` coverage ranges within `range`, clipped to it. Reads no more of the ledger than that.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn coverage_page(&self, series: &Series, range: TimeRange, limit: u32) -> Result<Coverage, StoreError>;

    /// The coverage of `range`, clipped to it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn coverage(&self, series: &Series, range: TimeRange) -> Result<Coverage, StoreError> {
        self.coverage_page(series, range, u32::MAX).await
    }

    /// Deletes at most `limit` candles of one series that are older than `before`, and the coverage of their time.
    /// Returns the number of deleted candles. Call it until it returns `None`: then nothing older is left.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn delete_before(&self, before: Timestamp, limit: u32) -> Result<Option<u64>, StoreError>;
}

/// The part of a batch that belongs to one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesWrite {
    pub series: Series,
    /// Closed candles, ascending, each inside one of the claims.
    pub candles: Vec<Candle>,
    /// Coverage claims of this write.
    pub claims: Vec<CoveredRange>,
}

/// Which end of a range to read, and the maximum number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    First(u32),
    Last(u32),
}

/// Candles and the coverage of their time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredPage {
    pub candles: Vec<Candle>,
    pub coverage: Coverage,
}

/// Rejects a batch with an open candle: its coverage claim would mark the values as final.
pub(super) fn reject_open_candles(batch: &[SeriesWrite]) -> Result<(), StoreError> {
    for part in batch {
        if let Some(open) = part.candles.iter().find(|candle| !candle.closed) {
            let detail = format!("the candle of {} at {} is still open", part.series, open.timestamp);
            return Err(StoreError::Corrupt(detail));
        }
    }
    Ok(())
}

/// The time that a page of candles covers: `range`, or, if `take` limited the candles, its part up to (first) or from
/// (last) the open time of the outermost candle.
pub(super) fn page_range(candles: &[Candle], range: TimeRange, take: Take) -> TimeRange {
    let full = |limit: u32| candles.len() >= limit as usize;
    match (take, candles.first(), candles.last()) {
        (Take::First(limit), _, Some(last)) if full(limit) => TimeRange::new(range.start(), last.timestamp),
        (Take::Last(limit), Some(first), _) if full(limit) => TimeRange::new(first.timestamp, range.end()),
        _ => range,
    }
}
