//! Embedded store: one SQLite file in WAL mode, or a database in memory.
//!
//! SQLite allows one writer at a time, so a single connection writes. Readers use a small pool and do not wait for the
//! writer. Committed data survive a crash of the process.

mod backfills;
mod candle_limit;
mod keys;
mod listing;
mod open;
mod read;
mod retention;
mod write;

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::sync::Arc;

use async_trait::async_trait;
use rust_decimal::Decimal;
use sqlx::{AssertSqlSafe, SqlitePool};

use self::candle_limit::CandleLimit;
use super::ids::SeriesIds;
use super::{BackfillFilter, CandleStore, Listing, SeriesWrite, StoreError, StoredPage, Take};
use crate::model::{ApiKey, Backfill, Candle, Coverage, ExchangeId, Instrument, Series, TimeRange, Timestamp, wire};

/// A [`CandleStore`] in SQLite.
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

#[async_trait]
impl CandleStore for SqliteStore {
    async fn write(&self, batch: &[SeriesWrite]) -> Result<Vec<(Series, Candle)>, StoreError> {
        write::write(self, batch).await
    }

    async fn candles(&self, series: &Series, range: TimeRange, take: Take) -> Result<Vec<Candle>, StoreError> {
        read::candles(self, series, range, take).await
    }

    async fn page(&self, series: &Series, range: TimeRange, take: Take) -> Result<StoredPage, StoreError> {
        read::page(self, series, range, take).await
    }

    async fn coverage_page(&self, series: &Series, range: TimeRange, limit: u32) -> Result<Coverage, StoreError> {
        read::coverage_page(self, series, range, limit).await
    }

    async fn put_instruments(
        &self,
        exchange: ExchangeId,
        listed: &[Instrument],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        listing::put(self, exchange, listed, at).await
    }

    async fn instruments(&self, exchange: ExchangeId) -> Result<Listing, StoreError> {
        listing::get(self, exchange).await
    }

    async fn put_backfill(&self, backfill: &Backfill) -> Result<(), StoreError> {
        backfills::put(self, backfill).await
    }

    async fn backfills(&self, filter: BackfillFilter<'_>) -> Result<Vec<Backfill>, StoreError> {
        backfills::get(self, filter).await
    }

    async fn put_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        keys::put(self, key).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        keys::all(self).await
    }

    async fn delete_before(&self, before: Timestamp, limit: u32) -> Result<Option<u64>, StoreError> {
        retention::delete_before(self, before, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1 FROM listings LIMIT 1").fetch_optional(&self.readers).await.map_err(store_error)?;
        Ok(())
    }

    async fn close(&self) {
        // The writer last: the last connection that closes checkpoints the write-ahead log into the file.
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// SQLite result codes of a damaged file: <https://www.sqlite.org/rescode.html>.
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_NOTADB: i32 = 26;

/// Maps a driver error.
fn store_error(error: sqlx::Error) -> StoreError {
    let damaged = match &error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => true,
        sqlx::Error::Database(inner) => {
            // The low byte of an extended result code is the primary code.
            let code = inner.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default() & 0xff;
            code == SQLITE_CORRUPT || code == SQLITE_NOTADB
        }
        _ => false,
    };
    if damaged { corrupt(error) } else { StoreError::Unavailable(error.to_string()) }
}

fn corrupt(detail: impl Display) -> StoreError {
    StoreError::Corrupt(detail.to_string())
}

/// The stored form of a decimal: without trailing zeros, so that equal numbers are equal strings.
fn decimal_text(value: Decimal) -> String {
    let mut out = Vec::with_capacity(16);
    wire::decimal(&mut out, value);
    String::from_utf8_lossy(&out).into_owned()
}

/// A multi-row `INSERT` in a few sizes: each size is prepared once, and any number of rows needs few round trips.
struct MultiRow(Vec<(usize, Arc<str>)>);

impl MultiRow {
    /// `head VALUES row, row, … tail`
    fn new(head: &str, row: &str, tail: &str) -> Self {
        let statement = |size: usize| format!("{head} VALUES {} {tail}", vec![row; size].join(","));
        Self([64, 16, 4, 1].into_iter().map(|size| (size, statement(size).into())).collect())
    }

    /// Splits `rows` into chunks of the available sizes, each with its statement.
    fn chunks<'a, T>(&'a self, mut rows: &'a [T]) -> impl Iterator<Item = (AssertSqlSafe<Arc<str>>, &'a [T])> {
        std::iter::from_fn(move || {
            let (size, statement) = self.0.iter().find(|(size, _)| *size <= rows.len())?;
            let (chunk, rest) = rows.split_at(*size);
            rows = rest;
            Some((AssertSqlSafe(Arc::clone(statement)), chunk))
        })
    }
}
