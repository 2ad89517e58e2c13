//! Retention: deletes old candles and their coverage.

use futures_util::TryStreamExt;

use super::columns::Columns;
use super::database::{SqlDatabase, Value};
use super::error::{corrupt, store_error};
use super::store::SqlStore;
use crate::model::{Interval, Timestamp};
use crate::store::error::StoreError;

/// The interval is first, because it is what can be invalid. Every candle lies in a coverage range, so the first range
/// shows whether a series has data before a time.
const OLD_SERIES: &str = "SELECT interval, id, first FROM \
    (SELECT id, interval, (SELECT min(start_time) FROM coverage WHERE series_id = id) AS first FROM series) AS known \
    WHERE first < $1 ORDER BY id";

/// The open time of the first candle after the oldest `$3` of those before `$2`.
const AFTER_LIMIT: &str =
    "SELECT open_time FROM candles WHERE series_id = $1 AND open_time < $2 ORDER BY open_time LIMIT 1 OFFSET $3";

/// See [`CandleStore::delete_before`](crate::store::CandleStore::delete_before).
pub async fn delete_before<S: SqlStore>(store: &S, before: Timestamp, limit: u32) -> Result<Option<u64>, StoreError> {
    let old_series = store
        .read_all(OLD_SERIES, &[before.into()], |row| {
            Ok((row.parsed::<Interval>(0)?, row.integer(1)?, row.timestamp(2)?))
        })
        .await?;
    // A candle that spans `before` is not deleted.
    let mut old_series = old_series.into_iter().map(|(interval, id, first)| (id, first, interval.floor(before)));
    let Some((id, _, cutoff)) = old_series.find(|(_, first, cutoff)| first < cutoff) else { return Ok(None) };
    let mut transaction = store.begin_write().await?;
    select_integer::<S::Database>(&mut transaction, S::LOCK_SERIES, &[id]).await?;
    let values = [id, cutoff.millis(), limit.into()];
    let after_limit = select_integer::<S::Database>(&mut transaction, AFTER_LIMIT, &values).await?;
    let cutoff = after_limit.map_or(cutoff, Timestamp::from_millis);
    let deleted = delete_series_before::<S::Database>(&mut transaction, id, cutoff).await?;
    transaction.commit().await.map_err(store_error)?;
    Ok(Some(deleted))
}

/// Deletes the candles and the coverage of a series before `cutoff`, which lies on its grid. Returns the number of
/// deleted candles.
pub async fn delete_series_before<D: SqlDatabase>(
    connection: &mut D::Connection,
    id: i64,
    cutoff: Timestamp,
) -> Result<u64, StoreError> {
    let mut deleted = 0;
    for statement in [
        "DELETE FROM coverage WHERE series_id = $1 AND end_time <= $2",
        "UPDATE coverage SET start_time = $2 WHERE series_id = $1 AND start_time < $2 AND end_time > $2",
        "DELETE FROM candles WHERE series_id = $1 AND open_time < $2",
    ] {
        deleted = D::execute(connection, statement, &[id.into(), cutoff.into()]).await.map_err(store_error)?;
    }
    Ok(deleted)
}

async fn select_integer<D: SqlDatabase>(
    connection: &mut D::Connection,
    statement: &'static str,
    values: &[i64],
) -> Result<Option<i64>, StoreError> {
    let values: Vec<Value<'_>> = values.iter().copied().map(Value::from).collect();
    let row = D::fetch(connection, statement, &values).try_next().await.map_err(store_error)?;
    row.map(|row| row.integer(0).map_err(corrupt)).transpose()
}
