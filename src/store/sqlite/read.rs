//! Reads candles and the ledger. Every query is a primary-key range scan.

use futures_util::TryStreamExt;
use rust_decimal::Decimal;
use sqlx::sqlite::{SqliteExecutor, SqliteRow};
use sqlx::{Row, query};

use super::{SqliteStore, corrupt, store_error};
use crate::model::{Candle, Coverage, CoveredRange, Series, TimeRange, Timestamp, parse_decimal};
use crate::store::{StoreError, StoredPage, Take, ledger, page_range};

pub(super) const FIRST: &str = "SELECT open_time, open, high, low, close, volume, quote_volume, trades, revision FROM candles \
    WHERE series_id = ? AND open_time >= ? AND open_time < ? ORDER BY open_time LIMIT ?";

pub(super) const LAST: &str = "SELECT open_time, open, high, low, close, volume, quote_volume, trades, revision FROM candles \
    WHERE series_id = ? AND open_time >= ? AND open_time < ? ORDER BY open_time DESC LIMIT ?";

/// Ranges are disjoint: of those that start at or before `?2`, only the last one can contain it.
pub(super) const RANGES: &str = "SELECT start_time, end_time, state FROM coverage \
    WHERE series_id = ?1 AND start_time <= ?3 AND start_time >= \
        coalesce((SELECT max(start_time) FROM coverage WHERE series_id = ?1 AND start_time <= ?2), ?2) \
    ORDER BY start_time LIMIT ?4";

/// A `LIMIT` without effect.
pub(super) const NO_LIMIT: i64 = i64::MAX;

pub(super) async fn candles(
    store: &SqliteStore,
    series: &Series,
    range: TimeRange,
    take: Take,
) -> Result<Vec<Candle>, StoreError> {
    let Some(id) = lookup_id(store, series).await? else { return Ok(Vec::new()) };
    rows(&store.readers, (series, id), range, take).await
}

/// Both queries run in one transaction, which reads one snapshot of the write-ahead log.
pub(super) async fn page(
    store: &SqliteStore,
    series: &Series,
    range: TimeRange,
    take: Take,
) -> Result<StoredPage, StoreError> {
    let Some(id) = lookup_id(store, series).await? else { return Ok(StoredPage::default()) };
    let mut snapshot = store.readers.begin().await.map_err(store_error)?;
    let candles = rows(&mut *snapshot, (series, id), range, take).await?;
    let known = page_range(&candles, range, take);
    let coverage: Coverage = ranges(&mut *snapshot, id, known, NO_LIMIT).await?.into_iter().collect();
    snapshot.commit().await.map_err(store_error)?;
    Ok(StoredPage { candles, coverage: coverage.within(known) })
}

async fn rows(
    executor: impl SqliteExecutor<'_>,
    (series, id): (&Series, i64),
    range: TimeRange,
    take: Take,
) -> Result<Vec<Candle>, StoreError> {
    let (statement, limit) = match take {
        Take::First(limit) => (FIRST, limit),
        Take::Last(limit) => (LAST, limit),
    };
    let select = query(statement).bind(id).bind(range.start().millis()).bind(range.end().millis());
    // Streamed, because a row takes ten times the memory of its candle.
    let mut rows = select.bind(limit).fetch(executor);
    let mut candles = Vec::new();
    while let Some(row) = rows.try_next().await.map_err(store_error)? {
        candles.push(candle(&row).map_err(|detail| corrupt(format_args!("{series}: {detail}")))?);
    }
    if let Take::Last(_) = take {
        candles.reverse();
    }
    Ok(candles)
}

pub(super) async fn coverage_page(
    store: &SqliteStore,
    series: &Series,
    range: TimeRange,
    limit: u32,
) -> Result<Coverage, StoreError> {
    let Some(id) = lookup_id(store, series).await? else { return Ok(Coverage::default()) };
    let rows = ranges(&store.readers, id, range, ledger::row_limit(limit)).await?;
    Ok(ledger::clip(rows, range, limit))
}

/// The first `limit` coverage ranges, ascending, from the one that contains the start of `time` to the last one that
/// starts at or before its end.
pub(super) async fn ranges(
    executor: impl SqliteExecutor<'_>,
    id: i64,
    time: TimeRange,
    limit: i64,
) -> Result<Vec<CoveredRange>, StoreError> {
    let (start, end) = (time.start().millis(), time.end().millis());
    let rows =
        query(RANGES).bind(id).bind(start).bind(end).bind(limit).fetch_all(executor).await.map_err(store_error)?;
    rows.iter().map(covered_range).collect()
}

fn covered_range(row: &SqliteRow) -> Result<CoveredRange, StoreError> {
    let timestamp = |column| row.try_get(column).map(Timestamp::from_millis).map_err(store_error);
    let state: &str = row.try_get(2).map_err(store_error)?;
    let state = state.parse().map_err(|_| corrupt(format_args!("unknown coverage state `{state}`")))?;
    Ok(CoveredRange { range: TimeRange::new(timestamp(0)?, timestamp(1)?), state })
}

/// Decodes a candle. The error says which value is invalid.
fn candle(row: &SqliteRow) -> Result<Candle, String> {
    let message = |error: sqlx::Error| error.to_string();
    let optional = |column: usize| -> Result<Option<Decimal>, String> {
        let Some(text) = row.try_get::<Option<&str>, _>(column).map_err(message)? else { return Ok(None) };
        parse_decimal(text).map(Some).map_err(|error| format!("`{text}` is {error}"))
    };
    let number = |column| optional(column)?.ok_or_else(|| "a number is missing".to_owned());
    let trades: Option<i64> = row.try_get(7).map_err(message)?;
    Ok(Candle {
        timestamp: Timestamp::from_millis(row.try_get(0).map_err(message)?),
        open: number(1)?,
        high: number(2)?,
        low: number(3)?,
        close: number(4)?,
        volume: number(5)?,
        quote_volume: optional(6)?,
        trades: trades.map(u64::try_from).transpose().map_err(|error| error.to_string())?,
        closed: true,
        revision: row.try_get(8).map_err(message)?,
    })
}

/// The id of a series, if it is stored.
async fn lookup_id(store: &SqliteStore, series: &Series) -> Result<Option<i64>, StoreError> {
    if let Some(id) = store.ids.get(series) {
        return Ok(Some(id));
    }
    let id = select_id(&store.readers, series).await?;
    store.ids.extend(id.map(|id| (series, id)));
    Ok(id)
}

pub(super) async fn select_id(executor: impl SqliteExecutor<'_>, series: &Series) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar("SELECT id FROM series WHERE exchange = ? AND symbol = ? AND interval = ?")
        .bind(series.exchange.as_str())
        .bind(series.symbol.as_str())
        .bind(series.interval.as_str())
        .fetch_optional(executor)
        .await
        .map_err(store_error)
}
