//! Shared store in PostgreSQL 14 or newer, for any number of replicas.
//!
//! A batch is one transaction with a few statements, independent of its number of rows: rows and ranges are array
//! parameters. A writer locks the series row in `series`, so that no two writers merge the ledger of one series at the
//! same time.

mod backfills;
mod failover;
mod keys;
mod listing;
mod numeric;
mod open;
mod read;
mod retention;
mod write;

use std::fmt::Display;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgPool;
use tokio_util::sync::DropGuard;

use super::ids::SeriesIds;
use super::{BackfillFilter, CandleStore, Listing, SeriesWrite, StoreError, StoredPage, Take};
use crate::clock::Clock;
use crate::model::{ApiKey, Backfill, Candle, Coverage, ExchangeId, Instrument, Series, TimeRange, Timestamp};

/// Timeout of a store call. `statement_timeout` on the server aborts slow statements; this timeout covers a server that
/// does not answer at all.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Options of [`PostgresStore::open`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Maximum number of connections.
    pub connections: u32,
    /// Maximum run time of a statement on the server.
    pub statement_timeout: Duration,
}

/// A [`CandleStore`] in PostgreSQL.
pub struct PostgresStore {
    pool: PgPool,
    ids: SeriesIds,
    /// Stops the task that follows the primary among several hosts.
    _primary_monitor: Option<DropGuard>,
}

impl PostgresStore {
    /// Opens `postgres://user:password@host:port/database` and runs pending migrations; replicas that start at the same
    /// time run them one after another. Of several hosts (`host1:port,host2:port`) it uses the one that accepts writes.
    ///
    /// # Errors
    /// [`StoreError::Open`], which names the server and says what to do.
    pub async fn open(url: &str, options: &Options) -> Result<Self, StoreError> {
        open::open(url, options).await
    }
}

/// Limits a call to [`TIMEOUT`], in system time also when the simulated clock runs faster.
async fn with_timeout<T>(call: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
    match Clock::system().timeout(TIMEOUT, call).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::Unavailable(format!("no answer from PostgreSQL within {} s", TIMEOUT.as_secs()))),
    }
}

#[async_trait]
impl CandleStore for PostgresStore {
    async fn write(&self, batch: &[SeriesWrite]) -> Result<Vec<(Series, Candle)>, StoreError> {
        with_timeout(write::write(self, batch)).await
    }

    async fn candles(&self, series: &Series, range: TimeRange, take: Take) -> Result<Vec<Candle>, StoreError> {
        with_timeout(read::candles(self, series, range, take)).await
    }

    async fn page(&self, series: &Series, range: TimeRange, take: Take) -> Result<StoredPage, StoreError> {
        with_timeout(read::page(self, series, range, take)).await
    }

    async fn coverage_page(&self, series: &Series, range: TimeRange, limit: u32) -> Result<Coverage, StoreError> {
        with_timeout(read::coverage_page(self, series, range, limit)).await
    }

    async fn put_instruments(
        &self,
        exchange: ExchangeId,
        listed: &[Instrument],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        with_timeout(listing::put(self, exchange, listed, at)).await
    }

    async fn instruments(&self, exchange: ExchangeId) -> Result<Listing, StoreError> {
        with_timeout(listing::get(self, exchange)).await
    }

    async fn put_backfill(&self, backfill: &Backfill) -> Result<(), StoreError> {
        with_timeout(backfills::put(self, backfill)).await
    }

    async fn backfills(&self, filter: BackfillFilter<'_>) -> Result<Vec<Backfill>, StoreError> {
        with_timeout(backfills::get(self, filter)).await
    }

    async fn put_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        with_timeout(keys::put(self, key)).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        with_timeout(keys::all(self)).await
    }

    async fn delete_before(&self, before: Timestamp, limit: u32) -> Result<Option<u64>, StoreError> {
        with_timeout(retention::delete_before(self, before, limit)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        with_timeout(async {
            sqlx::query("SELECT 1 FROM listings LIMIT 1").fetch_optional(&self.pool).await.map_err(store_error)?;
            Ok(())
        })
        .await
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// Maps a driver error.
fn store_error(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => corrupt(error),
        // The message of the server is clearer than the driver's wrapper text.
        sqlx::Error::Database(inner) => StoreError::Unavailable(inner.message().to_owned()),
        other => StoreError::Unavailable(other.to_string()),
    }
}

fn corrupt(detail: impl Display) -> StoreError {
    StoreError::Corrupt(detail.to_string())
}
