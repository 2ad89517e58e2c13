//! [`SqlStore`]: what differs between the stores in SQL databases.

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool, Transaction};

use super::columns::Columns;
use super::database::{SqlDatabase, Value};
use super::error::{corrupt, store_error};
use crate::model::{Candle, ExchangeId, Instrument, MarketKind, Series, TimeRange, Timestamp};
use crate::store::Store;
use crate::store::candles::{SeriesWrite, StoredPage, Take};
use crate::store::error::StoreError;
use crate::store::ids::SeriesIds;

/// A store in an SQL database. All traits of stores are implemented on top of it.
pub trait SqlStore: Send + Sync + 'static {
    type Database: SqlDatabase;

    /// Reads the id of series `$1`, and locks the series against other writers until the end of the transaction.
    const LOCK_SERIES: &'static str;

    /// Connections for reading.
    fn readers(&self) -> &Pool<Self::Database>;

    fn series_ids(&self) -> &SeriesIds;

    /// Begins a transaction that writes.
    fn begin_write(&self) -> impl Future<Output = Result<Transaction<'static, Self::Database>, StoreError>> + Send;

    /// Limits the duration of a call.
    fn with_timeout<T: Send>(
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> impl Future<Output = Result<T, StoreError>> + Send;

    /// See [`CandleStore::write`](crate::store::CandleStore::write). The candles are closed, and the batch not empty.
    fn write_batch(
        &self,
        batch: &[SeriesWrite],
    ) -> impl Future<Output = Result<Vec<(Series, Candle)>, StoreError>> + Send;

    /// See [`CandleStore::page`](crate::store::CandleStore::page).
    fn read_page(
        &self,
        series: &Series,
        range: TimeRange,
        take: Take,
    ) -> impl Future<Output = Result<StoredPage, StoreError>> + Send;

    /// See [`InstrumentStore::put_instruments`](crate::store::InstrumentStore::put_instruments). All instruments are of
    /// this kind.
    fn write_listing(
        &self,
        exchange: ExchangeId,
        kind: MarketKind,
        listed: &[Instrument],
        at: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// See [`Store::close`].
    fn close_connections(&self) -> impl Future<Output = ()> + Send;

    /// A connection for reading.
    fn reader(&self) -> impl Future<Output = Result<PoolConnection<Self::Database>, StoreError>> + Send {
        async { self.readers().acquire().await.map_err(store_error) }
    }

    /// Reads all rows of a statement. The error names the first column of an invalid row.
    fn read_all<T: Send>(
        &self,
        statement: &'static str,
        values: &[Value<'_>],
        read: fn(&<Self::Database as Database>::Row) -> Result<T, String>,
    ) -> impl Future<Output = Result<Vec<T>, StoreError>> + Send {
        Self::with_timeout(async move {
            let mut connection = self.reader().await?;
            let mut rows = Self::Database::fetch(&mut connection, statement, values);
            let mut all = Vec::new();
            while let Some(row) = rows.try_next().await.map_err(store_error)? {
                let name = || row.optional_text(0).ok().flatten().unwrap_or_default().to_owned();
                all.push(read(&row).map_err(|detail| corrupt(format_args!("`{}`: {detail}", name())))?);
            }
            Ok(all)
        })
    }

    /// Runs statements in one transaction. Returns the number of rows that the first one affected.
    fn write_all(
        &self,
        statements: &[(&'static str, &[Value<'_>])],
    ) -> impl Future<Output = Result<u64, StoreError>> + Send {
        Self::with_timeout(async move {
            let mut transaction = self.begin_write().await?;
            let mut affected = None;
            for &(statement, values) in statements {
                let rows = Self::Database::execute(&mut transaction, statement, values).await.map_err(store_error)?;
                affected.get_or_insert(rows);
            }
            transaction.commit().await.map_err(store_error)?;
            Ok(affected.unwrap_or_default())
        })
    }
}

#[async_trait]
impl<S: SqlStore> Store for S {
    async fn ping(&self) -> Result<(), StoreError> {
        self.read_all("SELECT exchange FROM listings LIMIT 1", &[], |row| row.text(0).map(drop)).await?;
        Ok(())
    }

    async fn close(&self) {
        self.close_connections().await;
    }
}
