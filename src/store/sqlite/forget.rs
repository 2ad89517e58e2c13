//! Retention: old candles go, and with them what is known of their time.

use sqlx::{Connection, SqliteConnection, query, query_as, query_scalar};

use super::{SqliteStore, corrupt, failed};
use crate::model::{Interval, Timestamp};
use crate::store::StoreError;

/// Every candle lies in a range of the ledger, so that its first range tells whether a series has anything old.
const OLD: &str = "SELECT id, interval, first FROM \
    (SELECT id, interval, (SELECT min(start_time) FROM coverage WHERE series_id = id) AS first FROM series) \
    WHERE first < ? ORDER BY id";

pub(super) async fn forget(store: &SqliteStore, before: Timestamp, most: u32) -> Result<Option<u64>, StoreError> {
    let mut writer = store.writer.acquire().await.map_err(failed)?;
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let old: Vec<(i64, String, i64)> =
        query_as(OLD).bind(before.millis()).fetch_all(&mut *transaction).await.map_err(failed)?;
    for (id, interval, first) in old {
        let interval: Interval = interval.parse().map_err(|_| corrupt(format_args!("the interval `{interval}`")))?;
        // A candle that reaches over the border stays.
        let border = interval.floor(before).millis();
        if first >= border {
            continue;
        }
        let next: Option<i64> = query_scalar(
            "SELECT open_time FROM candles WHERE series_id = ? AND open_time < ? ORDER BY open_time LIMIT 1 OFFSET ?",
        )
        .bind(id)
        .bind(border)
        .bind(most)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?;
        let border = next.unwrap_or(border);
        let gone = self::before(&mut transaction, id, border).await?;
        transaction.commit().await.map_err(failed)?;
        return Ok(Some(gone));
    }
    Ok(None)
}

/// Deletes what a series has before `border`, which lies on its grid: candles, and what the ledger says of their time. Gives
/// how many candles went.
pub(super) async fn before(tx: &mut SqliteConnection, id: i64, border: i64) -> Result<u64, StoreError> {
    let mut gone = 0;
    for statement in [
        "DELETE FROM coverage WHERE series_id = ?1 AND end_time <= ?2",
        "UPDATE coverage SET start_time = ?2 WHERE series_id = ?1 AND start_time < ?2 AND end_time > ?2",
        "DELETE FROM candles WHERE series_id = ?1 AND open_time < ?2",
    ] {
        let done = query(statement).bind(id).bind(border).execute(&mut *tx).await.map_err(failed)?;
        gone = done.rows_affected();
    }
    Ok(gone)
}
