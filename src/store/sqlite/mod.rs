//! The embedded store: one SQLite file in WAL mode, or a database in memory.
//!
//! SQLite takes one writer at a time, so there is one connection that writes; readers have a small pool and are not
//! held up by it. What was committed survives the end of the process, however sudden.

mod backfills;
mod bound;
mod forget;
mod keys;
mod listing;
mod open;
mod read;
mod write;

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::sync::Arc;

use async_trait::async_trait;
use rust_decimal::Decimal;
use sqlx::{AssertSqlSafe, SqlitePool};

use self::bound::Bound;
use super::ids::SeriesIds;
use super::{Backfills, CandleStore, Listing, SeriesWrite, StoreError, StoredPage, Take};
use crate::model::{ApiKey, Backfill, Candle, Coverage, ExchangeId, Instrument, Series, TimeRange, Timestamp, wire};

/// Candles, ledger and listings in SQLite.
pub struct SqliteStore {
    /// Of one connection.
    writer: SqlitePool,
    readers: SqlitePool,
    ids: SeriesIds,
    /// Of a store in memory that forgets.
    bound: Option<Bound>,
}

impl SqliteStore {
    /// Opens `sqlite://path/to.db`, making its folder, the file and its tables where they are not there yet;
    /// `sqlite::memory:` is [`SqliteStore::in_memory`].
    ///
    /// # Errors
    /// [`StoreError::Open`] names the path and says what to do.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        open::at(url).await
    }

    /// A store that lives as long as this value.
    ///
    /// # Errors
    /// [`StoreError::Open`] where there is no memory for it.
    pub async fn in_memory() -> Result<Self, StoreError> {
        open::in_memory().await
    }

    /// The same, which never has more than `most` candles: the oldest of all series are forgotten, and with them what the
    /// ledger says of their time, so that it is unknown again.
    ///
    /// # Errors
    /// [`StoreError::Open`] where there is no memory for it.
    pub async fn in_memory_up_to(most: u64) -> Result<Self, StoreError> {
        let mut store = open::in_memory().await?;
        bound::prepare(&store.writer).await?;
        store.bound = Some(Bound::new(most));
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

    async fn ledger(&self, series: &Series, range: TimeRange, most: u32) -> Result<Coverage, StoreError> {
        read::ledger(self, series, range, most).await
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

    async fn backfills(&self, which: Backfills<'_>) -> Result<Vec<Backfill>, StoreError> {
        backfills::get(self, which).await
    }

    async fn put_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        keys::put(self, key).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        keys::all(self).await
    }

    async fn forget(&self, before: Timestamp, most: u32) -> Result<Option<u64>, StoreError> {
        forget::forget(self, before, most).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1 FROM listings LIMIT 1").fetch_optional(&self.readers).await.map_err(failed)?;
        Ok(())
    }

    async fn close(&self) {
        // The writer last: the last connection to close folds the write-ahead log into the file.
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// SQLite's result codes of a damaged file: <https://www.sqlite.org/rescode.html>.
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_NOTADB: i32 = 26;

/// What an error of the driver means to a caller.
fn failed(error: sqlx::Error) -> StoreError {
    let damaged = match &error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => true,
        sqlx::Error::Database(inside) => {
            // The low byte is the primary code.
            let code = inside.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default() & 0xff;
            code == SQLITE_CORRUPT || code == SQLITE_NOTADB
        }
        _ => false,
    };
    if damaged { corrupt(error) } else { StoreError::Unavailable(error.to_string()) }
}

fn corrupt(what: impl Display) -> StoreError {
    StoreError::Corrupt(what.to_string())
}

/// A decimal as it is stored: without trailing zeros, so that equal numbers are equal texts.
fn decimal_text(value: Decimal) -> String {
    let mut out = Vec::with_capacity(16);
    wire::decimal(&mut out, value);
    String::from_utf8_lossy(&out).into_owned()
}

/// A statement with many rows of values, in a few sizes, so that each is prepared once and any number of rows takes few
/// round trips.
struct MultiRow(Vec<(usize, Arc<str>)>);

impl MultiRow {
    /// `head VALUES row, row, … tail`
    fn new(head: &str, row: &str, tail: &str) -> Self {
        let of = |size: usize| format!("{head} VALUES {} {tail}", vec![row; size].join(","));
        Self([64, 16, 4, 1].into_iter().map(|size| (size, of(size).into())).collect())
    }

    /// Cuts `rows` into the sizes that there are statements for.
    fn chunks<'a, T>(&'a self, mut rows: &'a [T]) -> impl Iterator<Item = (AssertSqlSafe<Arc<str>>, &'a [T])> {
        std::iter::from_fn(move || {
            let (size, statement) = self.0.iter().find(|(size, _)| *size <= rows.len())?;
            let (chunk, rest) = rows.split_at(*size);
            rows = rest;
            Some((AssertSqlSafe(Arc::clone(statement)), chunk))
        })
    }
}
