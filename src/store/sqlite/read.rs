//! Reading candles and the ledger. Every question is a range of a primary key.

use futures_util::TryStreamExt;
use rust_decimal::Decimal;
use sqlx::sqlite::{SqliteExecutor, SqliteRow};
use sqlx::{Row, query};

use super::{SqliteStore, corrupt, failed};
use crate::model::{Candle, Coverage, CoveredRange, Series, TimeRange, Timestamp, parse_decimal};
use crate::store::{StoreError, StoredPage, Take, known_time, ledger};

pub(super) const FIRST: &str = "SELECT open_time, open, high, low, close, volume, quote_volume, trades, revision FROM candles \
    WHERE series_id = ? AND open_time >= ? AND open_time < ? ORDER BY open_time LIMIT ?";

pub(super) const LAST: &str = "SELECT open_time, open, high, low, close, volume, quote_volume, trades, revision FROM candles \
    WHERE series_id = ? AND open_time >= ? AND open_time < ? ORDER BY open_time DESC LIMIT ?";

/// Ranges are disjoint, so only the last one that begins by the asked start can reach over it.
pub(super) const RANGES: &str = "SELECT start_time, end_time, state FROM coverage \
    WHERE series_id = ?1 AND start_time <= ?3 AND start_time >= \
        coalesce((SELECT max(start_time) FROM coverage WHERE series_id = ?1 AND start_time <= ?2), ?2) \
    ORDER BY start_time LIMIT ?4";

/// For a range of the ledger without a bound.
pub(super) const ALL: i64 = i64::MAX;

pub(super) async fn candles(
    store: &SqliteStore,
    series: &Series,
    range: TimeRange,
    take: Take,
) -> Result<Vec<Candle>, StoreError> {
    let Some(id) = known_id(store, series).await? else { return Ok(Vec::new()) };
    rows(&store.readers, (series, id), range, take).await
}

/// Both questions see the same moment: a transaction reads one snapshot of the write-ahead log.
pub(super) async fn page(
    store: &SqliteStore,
    series: &Series,
    range: TimeRange,
    take: Take,
) -> Result<StoredPage, StoreError> {
    let Some(id) = known_id(store, series).await? else { return Ok(StoredPage::default()) };
    let mut moment = store.readers.begin().await.map_err(failed)?;
    let candles = rows(&mut *moment, (series, id), range, take).await?;
    let known = known_time(&candles, range, take);
    let coverage: Coverage = ranges(&mut *moment, id, known, ALL).await?.into_iter().collect();
    moment.commit().await.map_err(failed)?;
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
    let asked = query(statement).bind(id).bind(range.start().millis()).bind(range.end().millis());
    // A row takes ten times the memory of its candle.
    let mut rows = asked.bind(limit).fetch(executor);
    let mut candles = Vec::new();
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        candles.push(candle(&row).map_err(|what| corrupt(format_args!("{series}: {what}")))?);
    }
    if let Take::Last(_) = take {
        candles.reverse();
    }
    Ok(candles)
}

pub(super) async fn ledger(
    store: &SqliteStore,
    series: &Series,
    range: TimeRange,
    most: u32,
) -> Result<Coverage, StoreError> {
    let Some(id) = known_id(store, series).await? else { return Ok(Coverage::default()) };
    let rows = ranges(&store.readers, id, range, ledger::rows(most)).await?;
    Ok(ledger::cut(rows, range, most))
}

/// The ranges of the ledger from the one that holds the start of `time` to the last that begins by its end, ascending: the
/// first `most` of them.
pub(super) async fn ranges(
    executor: impl SqliteExecutor<'_>,
    id: i64,
    time: TimeRange,
    most: i64,
) -> Result<Vec<CoveredRange>, StoreError> {
    let (start, end) = (time.start().millis(), time.end().millis());
    let rows = query(RANGES).bind(id).bind(start).bind(end).bind(most).fetch_all(executor).await.map_err(failed)?;
    rows.iter().map(covered_range).collect()
}

fn covered_range(row: &SqliteRow) -> Result<CoveredRange, StoreError> {
    let bound = |column| row.try_get(column).map(Timestamp::from_millis).map_err(failed);
    let state: &str = row.try_get(2).map_err(failed)?;
    let state = state.parse().map_err(|_| corrupt(format_args!("the ledger's state `{state}`")))?;
    Ok(CoveredRange { range: TimeRange::new(bound(0)?, bound(1)?), state })
}

/// The candle of a row, or what is wrong with it.
fn candle(row: &SqliteRow) -> Result<Candle, String> {
    let text = |error: sqlx::Error| error.to_string();
    let optional = |column: usize| -> Result<Option<Decimal>, String> {
        let Some(text) = row.try_get::<Option<&str>, _>(column).map_err(text)? else { return Ok(None) };
        parse_decimal(text).map(Some).map_err(|error| format!("`{text}` is {error}"))
    };
    let number = |column| optional(column)?.ok_or_else(|| "a number is missing".to_owned());
    let trades: Option<i64> = row.try_get(7).map_err(text)?;
    Ok(Candle {
        timestamp: Timestamp::from_millis(row.try_get(0).map_err(text)?),
        open: number(1)?,
        high: number(2)?,
        low: number(3)?,
        close: number(4)?,
        volume: number(5)?,
        quote_volume: optional(6)?,
        trades: trades.map(u64::try_from).transpose().map_err(|error| error.to_string())?,
        closed: true,
        revision: row.try_get(8).map_err(text)?,
    })
}

/// The id of a series, if the store has any of it.
async fn known_id(store: &SqliteStore, series: &Series) -> Result<Option<i64>, StoreError> {
    if let Some(id) = store.ids.get(series) {
        return Ok(Some(id));
    }
    let id = find_id(&store.readers, series).await?;
    store.ids.remember(id.map(|id| (series, id)));
    Ok(id)
}

pub(super) async fn find_id(executor: impl SqliteExecutor<'_>, series: &Series) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar("SELECT id FROM series WHERE exchange = ? AND symbol = ? AND interval = ?")
        .bind(series.exchange.as_str())
        .bind(series.symbol.as_str())
        .bind(series.interval.as_str())
        .fetch_optional(executor)
        .await
        .map_err(failed)
}
