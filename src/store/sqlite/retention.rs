//! Retention: deletes old candles and their coverage.

use sqlx::{Connection, SqliteConnection, query, query_as, query_scalar};

use super::{SqliteStore, corrupt, store_error};
use crate::model::{Interval, Timestamp};
use crate::store::StoreError;

/// Every candle lies in a coverage range, so the first range shows whether a series has data before a time.
const OLD_SERIES: &str = "SELECT id, interval, first FROM \
    (SELECT id, interval, (SELECT min(start_time) FROM coverage WHERE series_id = id) AS first FROM series) \
    WHERE first < ? ORDER BY id";

pub(super) async fn delete_before(
    store: &SqliteStore,
    before: Timestamp,
    limit: u32,
) -> Result<Option<u64>, StoreError> {
    let mut writer = store.writer.acquire().await.map_err(store_error)?;
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)?;
    let old_series: Vec<(i64, String, i64)> =
        query_as(OLD_SERIES).bind(before.millis()).fetch_all(&mut *transaction).await.map_err(store_error)?;
    for (id, interval, first) in old_series {
        let interval: Interval =
            interval.parse().map_err(|_| corrupt(format_args!("unknown interval `{interval}`")))?;
        // A candle that spans `before` is not deleted.
        let cutoff = interval.floor(before).millis();
        if first >= cutoff {
            continue;
        }
        let next: Option<i64> = query_scalar(
            "SELECT open_time FROM candles WHERE series_id = ? AND open_time < ? ORDER BY open_time LIMIT 1 OFFSET ?",
        )
        .bind(id)
        .bind(cutoff)
        .bind(limit)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?;
        let cutoff = next.unwrap_or(cutoff);
        let deleted = delete_series_before(&mut transaction, id, cutoff).await?;
        transaction.commit().await.map_err(store_error)?;
        return Ok(Some(deleted));
    }
    Ok(None)
}

/// Deletes the candles and the coverage of a series before `cutoff`, which lies on its grid. Returns the number of
/// deleted candles.
pub(super) async fn delete_series_before(tx: &mut SqliteConnection, id: i64, cutoff: i64) -> Result<u64, StoreError> {
    let mut deleted = 0;
    for statement in [
        "DELETE FROM coverage WHERE series_id = ?1 AND end_time <= ?2",
        "UPDATE coverage SET start_time = ?2 WHERE series_id = ?1 AND start_time < ?2 AND end_time > ?2",
        "DELETE FROM candles WHERE series_id = ?1 AND open_time < ?2",
    ] {
        let done = query(statement).bind(id).bind(cutoff).execute(&mut *tx).await.map_err(store_error)?;
        deleted = done.rows_affected();
    }
    Ok(deleted)
}
