//! Requested backfills.

use async_trait::async_trait;

use super::error::StoreError;
use crate::model::{Backfill, ExchangeId};

/// Maximum number of finished backfills in the store, and of backfills in one result.
pub const MAX_STORED_BACKFILLS: i64 = 1_000;

/// Stores requested backfills and their state.
#[async_trait]
pub trait BackfillStore: Send + Sync + 'static {
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
