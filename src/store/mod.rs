//! Persistent data: closed candles, the coverage ledger, listings, backfills and API keys.
//!
//! Every backend implements [`CandleStore`] and must pass the contract tests in `tests/it/contract/store.rs`.

mod ids;
mod ledger;
mod metered;
pub mod postgres;
pub mod sqlite;

pub use metered::MeteredStore;

use async_trait::async_trait;

use crate::model::{
    ApiKey, Backfill, Candle, Coverage, CoveredRange, ExchangeId, Instrument, Series, TimeRange, Timestamp,
};

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

    /// Replaces the listing of an exchange. Instruments that are no longer listed stay stored with the status
    /// [`Delisted`](crate::model::InstrumentStatus::Delisted).
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_instruments(
        &self,
        exchange: ExchangeId,
        listed: &[Instrument],
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// The listing of an exchange, delisted instruments included, ordered by symbol, and the time when it was read.
    /// Empty if it was never read.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn instruments(&self, exchange: ExchangeId) -> Result<Listing, StoreError>;

    /// Stores a new or changed backfill. Deletes finished backfills that are not among the newest
    /// [`MAX_STORED_BACKFILLS`].
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_backfill(&self, backfill: &Backfill) -> Result<(), StoreError>;

    /// The backfills that match the filter, at most [`MAX_STORED_BACKFILLS`].
    ///
    /// # Errors
    /// [`StoreError`].
    async fn backfills(&self, filter: BackfillFilter<'_>) -> Result<Vec<Backfill>, StoreError>;

    /// Stores an API key. For a stored key only the revocation time changes. Deletes revoked keys except the most
    /// recently revoked [`MAX_STORED_REVOKED_KEYS`].
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_key(&self, key: &ApiKey) -> Result<(), StoreError>;

    /// All API keys, oldest first, including expired and revoked ones.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError>;

    /// Deletes at most `limit` candles of one series that are older than `before`, and the coverage of their time.
    /// Returns the number of deleted candles. Call it until it returns `None`: then nothing older is left.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn delete_before(&self, before: Timestamp, limit: u32) -> Result<Option<u64>, StoreError>;

    /// Checks that the store answers.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn ping(&self) -> Result<(), StoreError>;

    /// Flushes buffers and closes files and connections.
    async fn close(&self);
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

/// Selects backfills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackfillFilter<'a> {
    /// All, newest first.
    Newest,
    /// The waiting and running ones of an exchange, oldest first.
    Open(ExchangeId),
    /// The one with this id, if it exists.
    Id(&'a str),
}

/// Maximum number of finished backfills in the store, and of backfills in one result.
pub const MAX_STORED_BACKFILLS: i64 = 1_000;

/// Maximum number of revoked API keys in the store.
pub const MAX_STORED_REVOKED_KEYS: i64 = 1_000;

/// Candles and the coverage of their time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredPage {
    pub candles: Vec<Candle>,
    pub coverage: Coverage,
}

/// The instruments of an exchange, delisted ones included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub instruments: Vec<Instrument>,
    /// When the exchange was queried.
    pub read_at: Timestamp,
}

/// Error of a store call.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is unreachable or overloaded; a later retry may succeed.
    #[error("the candle store does not answer: {0}")]
    Unavailable(String),
    /// A stored value is invalid.
    #[error("the candle store holds an invalid value: {0}")]
    Corrupt(String),
    /// The store cannot be opened; the text says what to do.
    #[error("{0}")]
    Open(String),
}

/// Rejects a batch with an open candle: its coverage claim would mark the values as final.
fn reject_open_candles(batch: &[SeriesWrite]) -> Result<(), StoreError> {
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
fn page_range(candles: &[Candle], range: TimeRange, take: Take) -> TimeRange {
    let full = |limit: u32| candles.len() >= limit as usize;
    match (take, candles.first(), candles.last()) {
        (Take::First(limit), _, Some(last)) if full(limit) => TimeRange::new(range.start(), last.timestamp),
        (Take::Last(limit), Some(first), _) if full(limit) => TimeRange::new(first.timestamp, range.end()),
        _ => range,
    }
}
