//! Embedded store: one SQLite file in WAL mode, or a database in memory.
//!
//! SQLite allows one writer at a time, so a single connection writes. Readers use a small pool and do not wait for the
//! writer. Committed data survive a crash of the process.

mod candle_limit;
mod decimal;
mod listing;
mod multi_row;
mod open;
mod page;
mod write;

#[cfg(test)]
mod tests;

use futures_util::stream::BoxStream;
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction};

use self::candle_limit::CandleLimit;
use super::candles::{SeriesWrite, StoredPage, Take};
use super::error::StoreError;
use super::ids::SeriesIds;
use super::sql::{SqlDatabase, SqlStore, Value, bind, store_error};
use crate::model::{Candle, ExchangeId, Instrument, Series, TimeRange, Timestamp};

/// A [`Store`](super::Store) in SQLite.
pub struct SqliteStore {
    /// A pool with one connection.
    writer: SqlitePool,
    readers: SqlitePool,
    ids: SeriesIds,
    /// Set for a store in memory with a maximum number of candles.
    candle_limit: Option<CandleLimit>,
}

impl SqliteStore {
    /// Opens `sqlite://path/to.db`. Creates the folder and the file if they are missing and runs pending migrations.
    /// `sqlite::memory:` is the same as [`SqliteStore::in_memory`].
    ///
    /// # Errors
    /// [`StoreError::Open`], which names the path and says what to do.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        open::open(url).await
    }

    /// Opens a store in memory. Its data are lost when the value is dropped.
    ///
    /// # Errors
    /// [`StoreError::Open`] if there is not enough memory.
    pub async fn in_memory() -> Result<Self, StoreError> {
        open::in_memory().await
    }

    /// Opens a store in memory that holds at most `limit` candles. Above the limit it evicts the oldest candles of all
    /// series and their coverage, so that their time is unknown again.
    ///
    /// # Errors
    /// [`StoreError::Open`] if there is not enough memory.
    pub async fn in_memory_with_limit(limit: u64) -> Result<Self, StoreError> {
        let mut store = open::in_memory().await?;
        candle_limit::create_index(&store.writer).await?;
        store.candle_limit = Some(CandleLimit::new(limit));
        Ok(store)
    }
}

impl SqlDatabase for Sqlite {
    fn fetch<'c>(
        connection: &'c mut SqliteConnection,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> BoxStream<'c, Result<SqliteRow, sqlx::Error>> {
        bind::<Self>(statement, values).fetch(connection)
    }

    async fn execute(
        connection: &mut SqliteConnection,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, sqlx::Error> {
        Ok(bind::<Self>(statement, values).execute(connection).await?.rows_affected())
    }
}

impl SqlStore for SqliteStore {
    type Database = Sqlite;

    /// A transaction that writes locks the whole database.
    const LOCK_SERIES: &'static str = "SELECT id FROM series WHERE id = $1";

    fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    fn series_ids(&self) -> &SeriesIds {
        &self.ids
    }

    async fn begin_write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)
    }

    /// Calls are not limited: the database is local.
    fn with_timeout<T: Send>(
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> impl Future<Output = Result<T, StoreError>> + Send {
        call
    }
    async fn write_batch(&self, batch: &[SeriesWrite]) -> Result<Vec<(Series, Candle)>, StoreError> {
        write::write(self, batch).await
    }

    async fn read_page(&self, series: &Series, range: TimeRange, take: Take) -> Result<StoredPage, StoreError> {
        page::page(self, series, range, take).await
    }

    async fn write_listing(
        &self,
        exchange: ExchangeId,
        listed: &[Instrument],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        listing::put(self, exchange, listed, at).await
    }

    async fn close_connections(&self) {
        // The writer last: the last connection that closes checkpoints the write-ahead log into the file.
        self.readers.close().await;
        self.writer.close().await;
    }
}
