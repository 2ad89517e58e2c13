//! Writes candles and their coverage claims in one transaction.

use std::sync::LazyLock;

use sqlx::sqlite::{Sqlite, SqliteConnection};

use super::decimal::decimal_text;
use super::multi_row::MultiRow;
use super::store::SqliteStore;
use crate::model::{Candle, CoveredRange, Series};
use crate::store::candles::SeriesWrite;
use crate::store::error::StoreError;
use crate::store::ledger;
use crate::store::sql::{SqlStore, candles, corrupt, store_error};

/// Does not update or return equal rows. Returns new rows with revision 0.
static UPSERT: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "INSERT INTO candles (series_id, open_time, open, high, low, close, volume, quote_volume, trades)",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "ON CONFLICT (series_id, open_time) DO UPDATE SET \
            open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, \
            volume = excluded.volume, quote_volume = excluded.quote_volume, trades = excluded.trades, \
            revision = candles.revision + 1 \
         WHERE (candles.open, candles.high, candles.low, candles.close, candles.volume, candles.quote_volume, candles.trades) \
            IS NOT (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume, excluded.quote_volume, excluded.trades) \
         RETURNING series_id, open_time, revision",
    )
});

pub(super) async fn write(store: &SqliteStore, batch: &[SeriesWrite]) -> Result<Vec<(Series, Candle)>, StoreError> {
    let mut transaction = store.begin_write().await?;
    let mut ids = Vec::with_capacity(batch.len());
    for part in batch {
        ids.push(series_id(store, &mut transaction, &part.series).await?);
    }
    let changed = put_candles(&mut transaction, batch, &ids).await?;
    for (part, id) in batch.iter().zip(&ids) {
        put_claims(&mut transaction, *id, &part.claims).await?;
    }
    let enforced = match &store.candle_limit {
        Some(candle_limit) => {
            let written = batch.iter().map(|part| part.candles.len()).sum();
            Some((candle_limit, candle_limit.enforce(&mut transaction, written).await?))
        }
        None => None,
    };
    transaction.commit().await.map_err(store_error)?;
    if let Some((candle_limit, estimate)) = enforced {
        candle_limit.set_estimate(estimate);
    }
    // Only after the commit: an id from a transaction that was rolled back would be invalid.
    store.ids.extend(batch.iter().map(|part| &part.series).zip(ids));
    Ok(changed)
}

async fn series_id(store: &SqliteStore, tx: &mut SqliteConnection, series: &Series) -> Result<i64, StoreError> {
    if let Some(id) = store.ids.get(series) {
        return Ok(id);
    }
    let names = [series.exchange.as_str(), series.symbol.as_str(), series.interval.as_str()];
    let mut insert =
        sqlx::query("INSERT INTO series (exchange, symbol, interval) VALUES (?, ?, ?) ON CONFLICT DO NOTHING");
    for name in names {
        insert = insert.bind(name);
    }
    insert.execute(&mut *tx).await.map_err(store_error)?;
    let id = candles::select_series_id::<Sqlite>(tx, series).await?;
    id.ok_or_else(|| corrupt(format_args!("the series {series} has no id")))
}

/// Returns the candles that replaced stored ones with other values, with their new revision.
async fn put_candles(
    tx: &mut SqliteConnection,
    batch: &[SeriesWrite],
    ids: &[i64],
) -> Result<Vec<(Series, Candle)>, StoreError> {
    let rows: Vec<(i64, &Series, &Candle)> = batch
        .iter()
        .zip(ids)
        .flat_map(|(part, id)| part.candles.iter().map(move |candle| (*id, &part.series, candle)))
        .collect();
    let mut changed = Vec::new();
    for (statement, chunk) in UPSERT.chunks(&rows) {
        let mut upsert = sqlx::query(statement);
        for (id, _, candle) in chunk {
            upsert = upsert
                .bind(id)
                .bind(candle.timestamp.millis())
                .bind(decimal_text(candle.open))
                .bind(decimal_text(candle.high))
                .bind(decimal_text(candle.low))
                .bind(decimal_text(candle.close))
                .bind(decimal_text(candle.volume))
                .bind(candle.quote_volume.map(decimal_text))
                .bind(candle.trades.map(|count| i64::try_from(count).unwrap_or(i64::MAX)));
        }
        for row in upsert.fetch_all(&mut *tx).await.map_err(store_error)? {
            let (id, at, revision) = candles::revision(&row)?;
            if revision == 0 {
                continue;
            }
            let written = chunk.iter().rfind(|(series_id, _, candle)| (*series_id, candle.timestamp) == (id, at));
            changed.extend(written.map(|(_, series, candle)| ((*series).clone(), Candle { revision, ..**candle })));
        }
    }
    Ok(changed)
}

/// Merges the claims into the adjacent and overlapping ranges of the ledger and writes the changed ranges.
async fn put_claims(tx: &mut SqliteConnection, id: i64, claims: &[CoveredRange]) -> Result<(), StoreError> {
    let Some(touched_range) = ledger::touched_range(claims) else { return Ok(()) };
    let before = candles::read_ranges::<Sqlite>(tx, id, touched_range, candles::NO_LIMIT).await?;
    let change = ledger::merge(&before, claims);
    for start in change.removed {
        sqlx::query("DELETE FROM coverage WHERE series_id = ? AND start_time = ?")
            .bind(id)
            .bind(start.millis())
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
    }
    for new in change.upserted {
        sqlx::query(
            "INSERT INTO coverage (series_id, start_time, end_time, state) VALUES (?, ?, ?, ?) \
             ON CONFLICT (series_id, start_time) DO UPDATE SET end_time = excluded.end_time, state = excluded.state",
        )
        .bind(id)
        .bind(new.range.start().millis())
        .bind(new.range.end().millis())
        .bind(new.state.as_str())
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
    }
    Ok(())
}
