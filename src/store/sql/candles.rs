//! Candles and the ledger. Every query is a primary-key range scan.

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::Database;

use super::columns::Columns;
use super::database::{SqlDatabase, Value};
use super::error::{corrupt, store_error};
use super::retention;
use super::store::SqlStore;
use crate::model::{Candle, Coverage, CoveredRange, Series, TimeRange, Timestamp};
use crate::store::candles::{CandleStore, SeriesWrite, StoredPage, Take, reject_open_candles};
use crate::store::error::StoreError;
use crate::store::ledger;

pub const FIRST: &str = "SELECT open_time, open, high, low, close, volume, quote_volume, trades, revision FROM candles \
    WHERE series_id = $1 AND open_time >= $2 AND open_time < $3 ORDER BY open_time LIMIT $4";

pub const LAST: &str = "SELECT open_time, open, high, low, close, volume, quote_volume, trades, revision FROM candles \
    WHERE series_id = $1 AND open_time >= $2 AND open_time < $3 ORDER BY open_time DESC LIMIT $4";

/// Ranges are disjoint: of those that start at or before `$2`, only the last one can contain it.
pub const RANGES: &str = "SELECT start_time, end_time, state FROM coverage \
    WHERE series_id = $1 AND start_time <= $3 AND start_time >= \
        coalesce((SELECT max(start_time) FROM coverage WHERE series_id = $1 AND start_time <= $2), $2) \
    ORDER BY start_time LIMIT $4";

const SERIES_ID: &str = "SELECT id FROM series WHERE exchange = $1 AND symbol = $2 AND interval = $3";

/// A `LIMIT` without effect.
pub const NO_LIMIT: i64 = i64::MAX;

#[async_trait]
impl<S: SqlStore> CandleStore for S {
    async fn write(&self, batch: &[SeriesWrite]) -> Result<Vec<(Series, Candle)>, StoreError> {
        reject_open_candles(batch)?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        S::with_timeout(self.write_batch(batch)).await
    }

    async fn candles(&self, series: &Series, range: TimeRange, take: Take) -> Result<Vec<Candle>, StoreError> {
        S::with_timeout(async {
            let mut connection = self.reader().await?;
            let Some(id) = series_id(self, &mut connection, series).await? else { return Ok(Vec::new()) };
            read_candles::<S::Database>(&mut connection, (series, id), range, take).await
        })
        .await
    }

    async fn page(&self, series: &Series, range: TimeRange, take: Take) -> Result<StoredPage, StoreError> {
        S::with_timeout(self.read_page(series, range, take)).await
    }

    async fn coverage_page(&self, series: &Series, range: TimeRange, limit: u32) -> Result<Coverage, StoreError> {
        S::with_timeout(async {
            let mut connection = self.reader().await?;
            let Some(id) = series_id(self, &mut connection, series).await? else { return Ok(Coverage::default()) };
            let rows = read_ranges::<S::Database>(&mut connection, id, range, ledger::row_limit(limit)).await?;
            Ok(ledger::clip(rows, range, limit))
        })
        .await
    }

    async fn delete_before(&self, before: Timestamp, limit: u32) -> Result<Option<u64>, StoreError> {
        S::with_timeout(retention::delete_before(self, before, limit)).await
    }
}

/// The candles of a series, ascending: the first or the last ones of a range.
pub async fn read_candles<D: SqlDatabase>(
    connection: &mut D::Connection,
    (series, id): (&Series, i64),
    range: TimeRange,
    take: Take,
) -> Result<Vec<Candle>, StoreError> {
    let (statement, limit) = match take {
        Take::First(limit) => (FIRST, limit),
        Take::Last(limit) => (LAST, limit),
    };
    let values = page_values(id, range, i64::from(limit));
    // Streamed, because a row takes ten times the memory of its candle.
    let mut rows = D::fetch(connection, statement, &values);
    let mut candles = Vec::new();
    while let Some(row) = rows.try_next().await.map_err(store_error)? {
        candles.push(candle(series, &row)?);
    }
    if let Take::Last(_) = take {
        candles.reverse();
    }
    Ok(candles)
}

/// The first `limit` coverage ranges, ascending, from the one that contains the start of `range` to the last one that
/// starts at or before its end.
pub async fn read_ranges<D: SqlDatabase>(
    connection: &mut D::Connection,
    id: i64,
    range: TimeRange,
    limit: i64,
) -> Result<Vec<CoveredRange>, StoreError> {
    let values = page_values(id, range, limit);
    let rows: Vec<D::Row> = D::fetch(connection, RANGES, &values).try_collect().await.map_err(store_error)?;
    rows.iter().map(|row| covered_range(row, [0, 1, 2])).collect()
}

/// The values of [`FIRST`], [`LAST`] and [`RANGES`].
pub fn page_values<'a>(id: i64, range: TimeRange, limit: i64) -> [Value<'a>; 4] {
    [id.into(), range.start().into(), range.end().into(), limit.into()]
}

/// Reads a coverage range from the columns for start, end and state.
pub fn covered_range(row: &impl Columns, [start, end, state]: [usize; 3]) -> Result<CoveredRange, StoreError> {
    let read = || {
        let range = TimeRange::new(row.timestamp(start)?, row.timestamp(end)?);
        Ok(CoveredRange { range, state: row.parsed(state)? })
    };
    read().map_err(|detail: String| corrupt(format_args!("coverage: {detail}")))
}

/// Reads a candle from the columns of [`FIRST`] and [`LAST`].
pub fn candle(series: &Series, row: &impl Columns) -> Result<Candle, StoreError> {
    let read = || {
        Ok(Candle {
            timestamp: row.timestamp(0)?,
            open: row.decimal(1)?,
            high: row.decimal(2)?,
            low: row.decimal(3)?,
            close: row.decimal(4)?,
            volume: row.decimal(5)?,
            quote_volume: row.optional_decimal(6)?,
            trades: row.optional_integer(7)?.map(u64::try_from).transpose().map_err(|_| "negative number of trades")?,
            closed: true,
            revision: row.integer(8)?.try_into().map_err(|_| "invalid revision")?,
        })
    };
    read().map_err(|detail: String| corrupt(format_args!("{series}: {detail}")))
}

/// Reads a written candle: series id, open time and revision.
pub fn revision(row: &impl Columns) -> Result<(i64, Timestamp, u32), StoreError> {
    let read = || Ok((row.integer(0)?, row.timestamp(1)?, row.integer(2)?.try_into().map_err(|_| "invalid revision")?));
    read().map_err(|detail: String| corrupt(detail))
}

/// The id of a series, if it is stored.
pub async fn series_id<S: SqlStore>(
    store: &S,
    connection: &mut <S::Database as Database>::Connection,
    series: &Series,
) -> Result<Option<i64>, StoreError> {
    if let Some(id) = store.series_ids().get(series) {
        return Ok(Some(id));
    }
    let id = select_series_id::<S::Database>(connection, series).await?;
    store.series_ids().extend(id.map(|id| (series, id)));
    Ok(id)
}

/// Reads the id of a series from the database.
pub async fn select_series_id<D: SqlDatabase>(
    connection: &mut D::Connection,
    series: &Series,
) -> Result<Option<i64>, StoreError> {
    let Series { exchange, symbol, interval } = series;
    let values = [exchange.as_str(), symbol.as_str(), interval.as_str()].map(Value::from);
    let row = D::fetch(connection, SERIES_ID, &values).try_next().await.map_err(store_error)?;
    row.map(|row| row.integer(0).map_err(corrupt)).transpose()
}
