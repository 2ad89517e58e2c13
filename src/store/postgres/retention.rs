//! Retention: deletes old candles and their coverage.

use sqlx::{query, query_as, query_scalar};

use super::{PostgresStore, corrupt, store_error};
use crate::model::{Interval, Timestamp};
use crate::store::StoreError;

/// Every candle lies in a coverage range, so the first range shows whether a series has data before a time.
const OLD_SERIES: &str = "SELECT id, interval, known.first FROM series CROSS JOIN LATERAL \
    (SELECT min(start_time) AS first FROM coverage WHERE series_id = id) AS known \
    WHERE known.first < $1 ORDER BY id";

pub(super) async fn delete_before(
    store: &PostgresStore,
    before: Timestamp,
    limit: u32,
) -> Result<Option<u64>, StoreError> {
    let old_series: Vec<(i64, String, i64)> =
        query_as(OLD_SERIES).bind(before.millis()).fetch_all(&store.pool).await.map_err(store_error)?;
    for (id, interval, first) in old_series {
        let interval: Interval =
            interval.parse().map_err(|_| corrupt(format_args!("unknown interval `{interval}`")))?;
        // A candle that spans `before` is not deleted.
        let cutoff = interval.floor(before).millis();
        if first >= cutoff {
            continue;
        }
        let mut transaction = store.pool.begin().await.map_err(store_error)?;
        query("SELECT FROM series WHERE id = $1 FOR NO KEY UPDATE")
            .bind(id)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        let next: Option<i64> = query_scalar(
            "SELECT open_time FROM candles WHERE series_id = $1 AND open_time < $2 ORDER BY open_time LIMIT 1 OFFSET $3",
        )
        .bind(id)
        .bind(cutoff)
        .bind(i64::from(limit))
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?;
        let cutoff = next.unwrap_or(cutoff);
        let mut deleted = 0;
        for statement in [
            "DELETE FROM coverage WHERE series_id = $1 AND end_time <= $2",
            "UPDATE coverage SET start_time = $2 WHERE series_id = $1 AND start_time < $2 AND end_time > $2",
            "DELETE FROM candles WHERE series_id = $1 AND open_time < $2",
        ] {
            let done = query(statement).bind(id).bind(cutoff).execute(&mut *transaction).await.map_err(store_error)?;
            deleted = done.rows_affected();
        }
        transaction.commit().await.map_err(store_error)?;
        return Ok(Some(deleted));
    }
    Ok(None)
}
