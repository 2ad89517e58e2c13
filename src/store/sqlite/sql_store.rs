//! What is specific to SQLite.

use futures_util::stream::BoxStream;
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction};

use super::store::SqliteStore;
use super::{listing, page, write};
use crate::model::{Candle, ExchangeId, Instrument, MarketKind, Series, TimeRange, Timestamp};
use crate::store::candles::{SeriesWrite, StoredPage, Take};
use crate::store::error::StoreError;
use crate::store::ids::SeriesIds;
use crate::store::sql::{SqlDatabase, SqlStore, Value, bind, store_error};

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
        kind: MarketKind,
        listed: &[Instrument],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        listing::put(self, exchange, kind, listed, at).await
    }

    async fn close_connections(&self) {
        // The writer last: the last connection that closes checkpoints the write-ahead log into the file.
        self.readers.close().await;
        self.writer.close().await;
    }
}
