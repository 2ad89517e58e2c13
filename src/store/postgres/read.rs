//! Reads candles and the ledger. Every query is a primary-key range scan, and one statement reads one snapshot.

use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Row, query, query_scalar};

use super::numeric::Numeric;
use super::{PostgresStore, corrupt, store_error};
use crate::model::{Candle, Coverage, CoveredRange, Series, TimeRange, Timestamp};
use crate::store::{StoreError, StoredPage, Take, ledger, page_range};

const FIRST: &str = "SELECT open_time, open, high, low, close, volume, quote_volume, trades, revision FROM candles \
    WHERE series_id = $1 AND open_time >= $2 AND open_time < $3 ORDER BY open_time LIMIT $4";

const LAST: &str = "SELECT open_time, open, high, low, close, volume, quote_volume, trades, revision FROM candles \
    WHERE series_id = $1 AND open_time >= $2 AND open_time < $3 ORDER BY open_time DESC LIMIT $4";

/// Ranges are disjoint: of those that start at or before `$2`, only the last one can contain it.
const RANGES: &str = "SELECT start_time, end_time, state FROM coverage \
    WHERE series_id = $1 AND start_time <= $3 AND start_time >= \
        coalesce((SELECT max(start_time) FROM coverage WHERE series_id = $1 AND start_time <= $2), $2) \
    ORDER BY start_time LIMIT $4";

/// The rows of [`FIRST`] or [`LAST`] and, with a non-null `state`, the rows of [`RANGES`] for the time that the page
/// covers. A full page covers the time up to its outermost candle.
macro_rules! page {
    ($order:literal, $first:expr, $last:expr) => {
        concat!(
            "(SELECT open_time, open, high, low, close, volume, quote_volume, trades, revision, NULL AS state FROM candles \
                WHERE series_id = $1 AND open_time >= $2 AND open_time < $3 ORDER BY open_time ",
            $order,
            " LIMIT $4) UNION ALL \
            SELECT start_time, NULL, NULL, NULL, NULL, NULL, NULL, end_time, NULL, state FROM coverage \
                WHERE series_id = $1 AND start_time <= ",
            $last,
            " AND start_time >= coalesce((SELECT max(start_time) FROM coverage WHERE series_id = $1 AND start_time <= ",
            $first,
            "), ",
            $first,
            ")"
        )
    };
}

const FIRST_PAGE: &str = page!(
    "",
    "$2",
    "coalesce((SELECT open_time FROM candles WHERE series_id = $1 AND open_time >= $2 AND open_time < $3 \
        ORDER BY open_time LIMIT 1 OFFSET greatest($4 - 1, 0)), $3)"
);
const LAST_PAGE: &str = page!(
    "DESC",
    "coalesce((SELECT open_time FROM candles WHERE series_id = $1 AND open_time >= $2 AND open_time < $3 \
        ORDER BY open_time DESC LIMIT 1 OFFSET greatest($4 - 1, 0)), $2)",
    "$3"
);

/// Maximum initial capacity of a page, in candles.
const INITIAL_CAPACITY: u32 = 5_000;

pub(super) async fn candles(
    store: &PostgresStore,
    series: &Series,
    range: TimeRange,
    take: Take,
) -> Result<Vec<Candle>, StoreError> {
    let Some(id) = lookup_id(store, series).await? else { return Ok(Vec::new()) };
    let (statement, limit) = match take {
        Take::First(limit) => (FIRST, limit),
        Take::Last(limit) => (LAST, limit),
    };
    let select = query(statement).bind(id).bind(range.start().millis()).bind(range.end().millis());
    let mut rows = select.bind(i64::from(limit)).fetch(&store.pool);
    let mut candles = Vec::new();
    while let Some(row) = rows.try_next().await.map_err(store_error)? {
        candles.push(candle(series, &row)?);
    }
    drop(rows);
    if let Take::Last(_) = take {
        candles.reverse();
    }
    Ok(candles)
}

pub(super) async fn page(
    store: &PostgresStore,
    series: &Series,
    range: TimeRange,
    take: Take,
) -> Result<StoredPage, StoreError> {
    let Some(id) = lookup_id(store, series).await? else { return Ok(StoredPage::default()) };
    let (statement, limit) = match take {
        Take::First(limit) => (FIRST_PAGE, limit),
        Take::Last(limit) => (LAST_PAGE, limit),
    };
    let select = query(statement).bind(id).bind(range.start().millis()).bind(range.end().millis());
    let mut rows = select.bind(i64::from(limit)).fetch(&store.pool);
    let (mut candles, mut known) = (Vec::with_capacity(limit.min(INITIAL_CAPACITY) as usize), Coverage::default());
    while let Some(row) = rows.try_next().await.map_err(store_error)? {
        match row.try_get_unchecked::<Option<&str>, _>(9).map_err(store_error)? {
            None => candles.push(candle(series, &row)?),
            Some(state) => known.add(covered_range(row.try_get(0), row.try_get(7), state)?),
        }
    }
    drop(rows);
    // `UNION ALL` guarantees no order, although the rows mostly arrive in order.
    candles.sort_unstable_by_key(|candle| candle.timestamp);
    let coverage = known.within(page_range(&candles, range, take));
    Ok(StoredPage { candles, coverage })
}

pub(super) async fn coverage_page(
    store: &PostgresStore,
    series: &Series,
    range: TimeRange,
    limit: u32,
) -> Result<Coverage, StoreError> {
    let Some(id) = lookup_id(store, series).await? else { return Ok(Coverage::default()) };
    let select = query(RANGES).bind(id).bind(range.start().millis()).bind(range.end().millis());
    let rows = select.bind(ledger::row_limit(limit)).fetch_all(&store.pool).await.map_err(store_error)?;
    let known = |row: &PgRow| covered_range(row.try_get(0), row.try_get(1), row.try_get(2).map_err(store_error)?);
    Ok(ledger::clip(rows.iter().map(known).collect::<Result<Vec<_>, _>>()?, range, limit))
}

pub(super) fn covered_range(
    start: Result<i64, sqlx::Error>,
    end: Result<i64, sqlx::Error>,
    state: &str,
) -> Result<CoveredRange, StoreError> {
    let state = state.parse().map_err(|_| corrupt(format_args!("unknown coverage state `{state}`")))?;
    let timestamp = |timestamp: Result<i64, sqlx::Error>| timestamp.map(Timestamp::from_millis).map_err(store_error);
    Ok(CoveredRange { range: TimeRange::new(timestamp(start)?, timestamp(end)?), state })
}

fn candle(series: &Series, row: &PgRow) -> Result<Candle, StoreError> {
    read_candle(row).map_err(|detail| corrupt(format_args!("{series}: {detail}")))
}

/// Decodes a candle. Unchecked, because the statement fixes the column types. The error says which value is invalid.
fn read_candle(row: &PgRow) -> Result<Candle, String> {
    let message = |error: sqlx::Error| error.to_string();
    let number = |column: usize| row.try_get_unchecked::<Numeric, _>(column).map(|number| number.0).map_err(message);
    let quote_volume: Option<Numeric> = row.try_get_unchecked(6).map_err(message)?;
    let trades: Option<i64> = row.try_get_unchecked(7).map_err(message)?;
    let revision: i32 = row.try_get_unchecked(8).map_err(message)?;
    Ok(Candle {
        timestamp: Timestamp::from_millis(row.try_get_unchecked(0).map_err(message)?),
        open: number(1)?,
        high: number(2)?,
        low: number(3)?,
        close: number(4)?,
        volume: number(5)?,
        quote_volume: quote_volume.map(|number| number.0),
        trades: trades.map(u64::try_from).transpose().map_err(|error| error.to_string())?,
        closed: true,
        revision: revision.try_into().map_err(|_| format!("invalid revision {revision}"))?,
    })
}

/// The id of a series, if it is stored.
async fn lookup_id(store: &PostgresStore, series: &Series) -> Result<Option<i64>, StoreError> {
    if let Some(id) = store.ids.get(series) {
        return Ok(Some(id));
    }
    let id = select_id(&store.pool, series).await?;
    store.ids.extend(id.map(|id| (series, id)));
    Ok(id)
}

async fn select_id(executor: impl PgExecutor<'_>, series: &Series) -> Result<Option<i64>, StoreError> {
    query_scalar("SELECT id FROM series WHERE exchange = $1 AND symbol = $2 AND interval = $3")
        .bind(series.exchange.as_str())
        .bind(series.symbol.as_str())
        .bind(series.interval.as_str())
        .fetch_optional(executor)
        .await
        .map_err(store_error)
}
