//! Reading candles and the ledger. Every question is a range of a primary key, and one statement sees one moment.

use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Row, query, query_scalar};

use super::numeric::Numeric;
use super::{PostgresStore, corrupt, failed};
use crate::model::{Candle, Coverage, CoveredRange, Series, TimeRange, Timestamp};
use crate::store::{StoreError, StoredPage, Take, known_time, ledger};

const FIRST: &str = "SELECT open_time, open, high, low, close, volume, quote_volume, trades, revision FROM candles \
    WHERE series_id = $1 AND open_time >= $2 AND open_time < $3 ORDER BY open_time LIMIT $4";

const LAST: &str = "SELECT open_time, open, high, low, close, volume, quote_volume, trades, revision FROM candles \
    WHERE series_id = $1 AND open_time >= $2 AND open_time < $3 ORDER BY open_time DESC LIMIT $4";

/// Ranges are disjoint, so only the last one that begins by the asked start can reach over it.
const RANGES: &str = "SELECT start_time, end_time, state FROM coverage \
    WHERE series_id = $1 AND start_time <= $3 AND start_time >= \
        coalesce((SELECT max(start_time) FROM coverage WHERE series_id = $1 AND start_time <= $2), $2) \
    ORDER BY start_time LIMIT $4";

/// The rows of [`FIRST`] or [`LAST`], and after them, with a state, those of [`RANGES`] for the time that the page knows. A
/// full page knows no more than up to its outermost candle.
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

/// For so many candles a page has room from the beginning.
const AT_FIRST: u32 = 5_000;

pub(super) async fn candles(
    store: &PostgresStore,
    series: &Series,
    range: TimeRange,
    take: Take,
) -> Result<Vec<Candle>, StoreError> {
    let Some(id) = known_id(store, series).await? else { return Ok(Vec::new()) };
    let (statement, limit) = match take {
        Take::First(limit) => (FIRST, limit),
        Take::Last(limit) => (LAST, limit),
    };
    let asked = query(statement).bind(id).bind(range.start().millis()).bind(range.end().millis());
    let mut rows = asked.bind(i64::from(limit)).fetch(&store.pool);
    let mut candles = Vec::new();
    while let Some(row) = rows.try_next().await.map_err(failed)? {
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
    let Some(id) = known_id(store, series).await? else { return Ok(StoredPage::default()) };
    let (statement, limit) = match take {
        Take::First(limit) => (FIRST_PAGE, limit),
        Take::Last(limit) => (LAST_PAGE, limit),
    };
    let asked = query(statement).bind(id).bind(range.start().millis()).bind(range.end().millis());
    let mut rows = asked.bind(i64::from(limit)).fetch(&store.pool);
    let (mut candles, mut known) = (Vec::with_capacity(limit.min(AT_FIRST) as usize), Coverage::default());
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        match row.try_get_unchecked::<Option<&str>, _>(9).map_err(failed)? {
            None => candles.push(candle(series, &row)?),
            Some(state) => known.add(covered_range(row.try_get(0), row.try_get(7), state)?),
        }
    }
    drop(rows);
    // The order of a union is nobody's promise; mostly it is right already.
    candles.sort_unstable_by_key(|candle| candle.timestamp);
    let coverage = known.within(known_time(&candles, range, take));
    Ok(StoredPage { candles, coverage })
}

pub(super) async fn ledger(
    store: &PostgresStore,
    series: &Series,
    range: TimeRange,
    most: u32,
) -> Result<Coverage, StoreError> {
    let Some(id) = known_id(store, series).await? else { return Ok(Coverage::default()) };
    let asked = query(RANGES).bind(id).bind(range.start().millis()).bind(range.end().millis());
    let rows = asked.bind(ledger::rows(most)).fetch_all(&store.pool).await.map_err(failed)?;
    let known = |row: &PgRow| covered_range(row.try_get(0), row.try_get(1), row.try_get(2).map_err(failed)?);
    Ok(ledger::cut(rows.iter().map(known).collect::<Result<Vec<_>, _>>()?, range, most))
}

pub(super) fn covered_range(
    start: Result<i64, sqlx::Error>,
    end: Result<i64, sqlx::Error>,
    state: &str,
) -> Result<CoveredRange, StoreError> {
    let state = state.parse().map_err(|_| corrupt(format_args!("the ledger's state `{state}`")))?;
    let bound = |bound: Result<i64, sqlx::Error>| bound.map(Timestamp::from_millis).map_err(failed);
    Ok(CoveredRange { range: TimeRange::new(bound(start)?, bound(end)?), state })
}

fn candle(series: &Series, row: &PgRow) -> Result<Candle, StoreError> {
    read_candle(row).map_err(|what| corrupt(format_args!("{series}: {what}")))
}

/// The candle of a row, or what is wrong with it. The statement's columns have these types: no need to look at each value.
fn read_candle(row: &PgRow) -> Result<Candle, String> {
    let text = |error: sqlx::Error| error.to_string();
    let number = |column: usize| row.try_get_unchecked::<Numeric, _>(column).map(|number| number.0).map_err(text);
    let quote_volume: Option<Numeric> = row.try_get_unchecked(6).map_err(text)?;
    let trades: Option<i64> = row.try_get_unchecked(7).map_err(text)?;
    let revision: i32 = row.try_get_unchecked(8).map_err(text)?;
    Ok(Candle {
        timestamp: Timestamp::from_millis(row.try_get_unchecked(0).map_err(text)?),
        open: number(1)?,
        high: number(2)?,
        low: number(3)?,
        close: number(4)?,
        volume: number(5)?,
        quote_volume: quote_volume.map(|number| number.0),
        trades: trades.map(u64::try_from).transpose().map_err(|error| error.to_string())?,
        closed: true,
        revision: revision.try_into().map_err(|_| format!("the revision {revision}"))?,
    })
}

/// The id of a series, if the store has any of it.
async fn known_id(store: &PostgresStore, series: &Series) -> Result<Option<i64>, StoreError> {
    if let Some(id) = store.ids.get(series) {
        return Ok(Some(id));
    }
    let id = find_id(&store.pool, series).await?;
    store.ids.remember(id.map(|id| (series, id)));
    Ok(id)
}

async fn find_id(executor: impl PgExecutor<'_>, series: &Series) -> Result<Option<i64>, StoreError> {
    query_scalar("SELECT id FROM series WHERE exchange = $1 AND symbol = $2 AND interval = $3")
        .bind(series.exchange.as_str())
        .bind(series.symbol.as_str())
        .bind(series.interval.as_str())
        .fetch_optional(executor)
        .await
        .map_err(failed)
}
