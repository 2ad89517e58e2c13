//! What must last: closed candles, the ledger of what is known, and the listings.
//!
//! A backend implements [`CandleStore`] and is accepted by one line that runs the contract suite of
//! `tests/it/contract/store.rs` on it.

mod ids;
mod ledger;
mod observed;
pub mod postgres;
pub mod sqlite;

pub use observed::Observed;

use async_trait::async_trait;

use crate::model::{
    ApiKey, Backfill, Candle, Coverage, CoveredRange, ExchangeId, Instrument, Series, TimeRange, Timestamp,
};

/// Keeps closed candles and knows what it knows.
#[async_trait]
pub trait CandleStore: Send + Sync + 'static {
    /// Writes rows and the claims that they rest on, all of it in one transaction. A row that is there already with
    /// other values is replaced and its `revision` raised; the same row again changes nothing.
    ///
    /// Returns the candles whose revision was raised, as they are now.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of the batch is written then.
    async fn write(&self, batch: &[SeriesWrite]) -> Result<Vec<(Series, Candle)>, StoreError>;

    /// Candles of a series whose open time lies in `range`, ascending: the first or the last `limit` of them.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn candles(&self, series: &Series, range: TimeRange, take: Take) -> Result<Vec<Candle>, StoreError>;

    /// Candles as [`CandleStore::candles`] gives them, and what the ledger says of the same time, both at one moment: of
    /// all of `range`, or, where `take` cut it, of the part on this side of the outermost candle's open time.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn page(&self, series: &Series, range: TimeRange, take: Take) -> Result<StoredPage, StoreError>;

    /// What the ledger says about `range`, cut to it: the first `most` ranges. No more of the ledger is read.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn ledger(&self, series: &Series, range: TimeRange, most: u32) -> Result<Coverage, StoreError>;

    /// All that the ledger says about `range`, cut to it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn coverage(&self, series: &Series, range: TimeRange) -> Result<Coverage, StoreError> {
        self.ledger(series, range, u32::MAX).await
    }

    /// Replaces an exchange's listing. What is listed no longer stays as it was, but is
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

    /// An exchange's listing with what was listed before, by symbol, and when it was read; empty if it never was.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn instruments(&self, exchange: ExchangeId) -> Result<Listing, StoreError>;

    /// Keeps a backfill, new or changed, and of those that ended the newest [`KEPT_BACKFILLS`].
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_backfill(&self, backfill: &Backfill) -> Result<(), StoreError>;

    /// Backfills that were asked for, at most [`KEPT_BACKFILLS`].
    ///
    /// # Errors
    /// [`StoreError`].
    async fn backfills(&self, which: Backfills<'_>) -> Result<Vec<Backfill>, StoreError>;

    /// Keeps an API key; of one that is there already only the time of its revocation changes. Of revoked keys the latest
    /// [`KEPT_REVOKED_KEYS`] are kept.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_key(&self, key: &ApiKey) -> Result<(), StoreError>;

    /// All API keys, the oldest first, with those that open nothing any more.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError>;

    /// Deletes some of what is older than `before`: of one series at most `most` candles, and with them what the ledger
    /// says of their time. To be repeated until it gives `None`: there is nothing older. Gives how many candles went.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn forget(&self, before: Timestamp, most: u32) -> Result<Option<u64>, StoreError>;

    /// Whether the store answers.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn ping(&self) -> Result<(), StoreError>;

    /// Writes out what is buffered and lets go of the files or connections.
    async fn close(&self);
}

/// One series' part of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesWrite {
    pub series: Series,
    /// Closed candles, ascending, each inside one of the claims.
    pub candles: Vec<Candle>,
    /// What is known by this write, and how.
    pub claims: Vec<CoveredRange>,
}

/// Which end of a range to read from, and how many rows at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    First(u32),
    Last(u32),
}

/// Which backfills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backfills<'a> {
    /// All, the newest first.
    Newest,
    /// Those of an exchange that are not done, the oldest first.
    Open(ExchangeId),
    /// The one of this id, if there is one.
    Id(&'a str),
}

/// How many backfills are kept and told.
pub const KEPT_BACKFILLS: i64 = 1_000;

/// How many revoked API keys are kept and told.
pub const KEPT_REVOKED_KEYS: i64 = 1_000;

/// Candles and what is known of their time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredPage {
    pub candles: Vec<Candle>,
    pub coverage: Coverage,
}

/// What an exchange lists, and what it listed once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub instruments: Vec<Instrument>,
    /// When the exchange was asked.
    pub read_at: Timestamp,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or is too busy now; the same call may work later.
    #[error("the candle store does not answer: {0}")]
    Unavailable(String),
    /// What it holds cannot be understood.
    #[error("the candle store holds a value that it should not: {0}")]
    Corrupt(String),
    /// It cannot be opened; says what to do.
    #[error("{0}")]
    Open(String),
}

/// An open candle must not enter: its claim would say that its values are final.
fn refuse_open_candles(batch: &[SeriesWrite]) -> Result<(), StoreError> {
    for part in batch {
        if let Some(open) = part.candles.iter().find(|candle| !candle.closed) {
            let what = format!("the candle of {} at {} is still open", part.series, open.timestamp);
            return Err(StoreError::Corrupt(what));
        }
    }
    Ok(())
}

/// The time that a page of candles knows: all of what was asked for, or, where `take` cut it, the part on this side of
/// the outermost candle's open time.
fn known_time(candles: &[Candle], range: TimeRange, take: Take) -> TimeRange {
    let full = |limit: u32| candles.len() >= limit as usize;
    match (take, candles.first(), candles.last()) {
        (Take::First(limit), _, Some(last)) if full(limit) => TimeRange::new(range.start(), last.timestamp),
        (Take::Last(limit), Some(first), _) if full(limit) => TimeRange::new(first.timestamp, range.end()),
        _ => range,
    }
}
