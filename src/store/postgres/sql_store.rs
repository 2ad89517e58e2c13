//! What is specific to PostgreSQL.

use std::time::Duration;

use futures_util::stream::BoxStream;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::store::PostgresStore;
use super::{listing, page, write};
use crate::clock::Clock;
use crate::model::{Candle, ExchangeId, Instrument, MarketKind, Series, TimeRange, Timestamp};
use crate::store::candles::{SeriesWrite, StoredPage, Take};
use crate::store::error::StoreError;
use crate::store::ids::SeriesIds;
use crate::store::sql::{SqlDatabase, SqlStore, Value, bind, store_error};

/// Timeout of a store call. `statement_timeout` on the server aborts slow statements; this timeout covers a server that
/// does not answer at all.
const TIMEOUT: Duration = Duration::from_secs(10);

impl SqlDatabase for Postgres {
    fn fetch<'c>(
        connection: &'c mut PgConnection,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> BoxStream<'c, Result<PgRow, sqlx::Error>> {
        bind::<Self>(statement, values).fetch(connection)
    }

    async fn execute(
        connection: &mut PgConnection,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, sqlx::Error> {
        Ok(bind::<Self>(statement, values).execute(connection).await?.rows_affected())
    }
}

impl SqlStore for PostgresStore {
    type Database = Postgres;

    const LOCK_SERIES: &'static str = "SELECT id FROM series WHERE id = $1 FOR NO KEY UPDATE";

    fn readers(&self) -> &PgPool {
        &self.pool
    }

    fn series_ids(&self) -> &SeriesIds {
        &self.ids
    }

    async fn begin_write(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.pool.begin().await.map_err(store_error)
    }

    /// Limits a call to [`TIMEOUT`], in system time also when the simulated clock runs faster.
    async fn with_timeout<T: Send>(call: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        match Clock::system().timeout(TIMEOUT, call).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Unavailable(format!("no answer from PostgreSQL within {} s", TIMEOUT.as_secs()))),
        }
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
        self.pool.close().await;
    }
}
