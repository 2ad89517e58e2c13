//! The shared store: PostgreSQL 14 and newer, for any number of replicas.
//!
//! A batch is one transaction of a few statements, however many rows it has: rows and ranges go as arrays. Writers of a
//! series take turns by its row in `series`, so that none merges a ledger that another is changing.

mod backfills;
mod forget;
mod keys;
mod listing;
mod numeric;
mod open;
mod read;
mod renewal;
mod write;

use std::fmt::Display;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgPool;
use tokio_util::sync::DropGuard;

use super::ids::SeriesIds;
use super::{Backfills, CandleStore, Listing, SeriesWrite, StoreError, StoredPage, Take};
use crate::clock::Clock;
use crate::model::{ApiKey, Backfill, Candle, Coverage, ExchangeId, Instrument, Series, TimeRange, Timestamp};

/// How long a question may take on its way there and back. The server's own `statement_timeout` ends what it works on;
/// this ends the wait for one that does not answer at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most connections at a time.
    pub connections: u32,
    /// The longest that a statement may take on the server.
    pub statement_timeout: Duration,
}

/// Candles, ledger and listings in PostgreSQL.
pub struct PostgresStore {
    pool: PgPool,
    ids: SeriesIds,
    /// Ends the task that follows the primary among several hosts.
    _following: Option<DropGuard>,
}

impl PostgresStore {
    /// Opens `postgres://user:password@host:port/database`, and makes its tables where they are not there yet: replicas
    /// that start together take turns. Of several hosts (`host1:port,host2:port`) the one that can write is used.
    ///
    /// # Errors
    /// [`StoreError::Open`] names the server and says what to do.
    pub async fn open(url: &str, options: &Options) -> Result<Self, StoreError> {
        open::open(url, options).await
    }
}

/// Ends the wait for a server that does not answer. The wire's patience runs on its own time, also in a time-lapse.
async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
    match Clock::system().timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => Err(StoreError::Unavailable(format!("PostgreSQL said nothing for {} s", PATIENCE.as_secs()))),
    }
}

#[async_trait]
impl CandleStore for PostgresStore {
    async fn write(&self, batch: &[SeriesWrite]) -> Result<Vec<(Series, Candle)>, StoreError> {
        in_time(write::write(self, batch)).await
    }

    async fn candles(&self, series: &Series, range: TimeRange, take: Take) -> Result<Vec<Candle>, StoreError> {
        in_time(read::candles(self, series, range, take)).await
    }

    async fn page(&self, series: &Series, range: TimeRange, take: Take) -> Result<StoredPage, StoreError> {
        in_time(read::page(self, series, range, take)).await
    }

    async fn ledger(&self, series: &Series, range: TimeRange, most: u32) -> Result<Coverage, StoreError> {
        in_time(read::ledger(self, series, range, most)).await
    }

    async fn put_instruments(
        &self,
        exchange: ExchangeId,
        listed: &[Instrument],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        in_time(listing::put(self, exchange, listed, at)).await
    }

    async fn instruments(&self, exchange: ExchangeId) -> Result<Listing, StoreError> {
        in_time(listing::get(self, exchange)).await
    }

    async fn put_backfill(&self, backfill: &Backfill) -> Result<(), StoreError> {
        in_time(backfills::put(self, backfill)).await
    }

    async fn backfills(&self, which: Backfills<'_>) -> Result<Vec<Backfill>, StoreError> {
        in_time(backfills::get(self, which)).await
    }

    async fn put_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        in_time(keys::put(self, key)).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        in_time(keys::all(self)).await
    }

    async fn forget(&self, before: Timestamp, most: u32) -> Result<Option<u64>, StoreError> {
        in_time(forget::forget(self, before, most)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        in_time(async {
            sqlx::query("SELECT 1 FROM listings LIMIT 1").fetch_optional(&self.pool).await.map_err(failed)?;
            Ok(())
        })
        .await
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// What an error of the driver means to a caller.
fn failed(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => corrupt(error),
        // The server's words are better than the driver's around them.
        sqlx::Error::Database(inside) => StoreError::Unavailable(inside.message().to_owned()),
        other => StoreError::Unavailable(other.to_string()),
    }
}

fn corrupt(what: impl Display) -> StoreError {
    StoreError::Corrupt(what.to_string())
}
