//! The state of a store.

use sqlx::SqlitePool;

use super::candle_limit::CandleLimit;
use crate::store::ids::SeriesIds;

/// A [`Store`](crate::store::Store) in SQLite.
pub struct SqliteStore {
    /// A pool with one connection.
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    pub(super) ids: SeriesIds,
    /// Set for a store in memory with a maximum number of candles.
    pub(super) candle_limit: Option<CandleLimit>,
}
