//! Reads a page: candles and coverage of one snapshot, because one statement reads both.

use futures_util::TryStreamExt;
use sqlx::Postgres;

use super::store::PostgresStore;
use crate::model::{Candle, Coverage, Series, TimeRange};
use crate::store::candles::{StoredPage, Take, page_range};
use crate::store::error::StoreError;
use crate::store::sql::{Columns, SqlDatabase, SqlStore, candles, corrupt, store_error};

/// The rows of [`candles::FIRST`] or [`candles::LAST`] and, with a non-null `state`, the rows of [`candles::RANGES`] for
/// the time that the page covers. A full page covers the time up to its outermost candle.
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

/// The column of the coverage state.
const STATE: usize = 9;

/// Maximum initial capacity of a page, in candles.
const INITIAL_CAPACITY: u32 = 5_000;

pub(super) async fn page(
    store: &PostgresStore,
    series: &Series,
    range: TimeRange,
    take: Take,
) -> Result<StoredPage, StoreError> {
    let mut connection = store.reader().await?;
    let Some(id) = candles::series_id(store, &mut connection, series).await? else { return Ok(StoredPage::default()) };
    let (statement, limit) = match take {
        Take::First(limit) => (FIRST_PAGE, limit),
        Take::Last(limit) => (LAST_PAGE, limit),
    };
    let mut rows = Postgres::fetch(&mut connection, statement, &candles::page_values(id, range, limit.into()));
    let (mut page, mut known) = (Vec::with_capacity(limit.min(INITIAL_CAPACITY) as usize), Coverage::default());
    while let Some(row) = rows.try_next().await.map_err(store_error)? {
        match row.optional_text(STATE).map_err(corrupt)? {
            None => page.push(candles::candle(series, &row)?),
            Some(_) => known.add(candles::covered_range(&row, [0, 7, STATE])?),
        }
    }
    // `UNION ALL` guarantees no order, although the rows mostly arrive in order.
    page.sort_unstable_by_key(|candle: &Candle| candle.timestamp);
    let coverage = known.within(page_range(&page, range, take));
    Ok(StoredPage { candles: page, coverage })
}
