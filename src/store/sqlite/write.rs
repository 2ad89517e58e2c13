//! Writing: rows and the claims that they rest on, in one transaction.

use std::sync::LazyLock;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::{MultiRow, SqliteStore, corrupt, decimal_text, failed, read};
use crate::model::{Candle, CoveredRange, Series};
use crate::store::{SeriesWrite, StoreError, ledger, refuse_open_candles};

/// Unchanged rows are left alone and not returned; new ones come back with revision 0.
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
    refuse_open_candles(batch)?;
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let mut writer = store.writer.acquire().await.map_err(failed)?;
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let mut ids = Vec::with_capacity(batch.len());
    for part in batch {
        ids.push(series_id(store, &mut transaction, &part.series).await?);
    }
    let changed = put_candles(&mut transaction, batch, &ids).await?;
    for (part, id) in batch.iter().zip(&ids) {
        put_claims(&mut transaction, *id, &part.claims).await?;
    }
    let room = match &store.bound {
        Some(bound) => {
            let written = batch.iter().map(|part| part.candles.len()).sum();
            Some((bound, bound.enforce(&mut transaction, written).await?))
        }
        None => None,
    };
    transaction.commit().await.map_err(failed)?;
    if let Some((bound, estimate)) = room {
        bound.committed(estimate);
    }
    // Only now: an id of a transaction that was rolled back would be nobody's.
    store.ids.remember(batch.iter().map(|part| &part.series).zip(ids));
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
    insert.execute(&mut *tx).await.map_err(failed)?;
    read::find_id(&mut *tx, series).await?.ok_or_else(|| corrupt(format_args!("{series} has no id")))
}

/// Returns the candles that were there with other values, as they are now.
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
        for row in upsert.fetch_all(&mut *tx).await.map_err(failed)? {
            let revision: u32 = row.try_get(2).map_err(failed)?;
            if revision == 0 {
                continue;
            }
            let (id, at): (i64, i64) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
            let written = chunk.iter().rfind(|(of, _, candle)| (*of, candle.timestamp.millis()) == (id, at));
            changed.extend(written.map(|(_, series, candle)| ((*series).clone(), Candle { revision, ..**candle })));
        }
    }
    Ok(changed)
}

/// Merges the claims into the ranges of the ledger that they touch, and writes back what became different.
async fn put_claims(tx: &mut SqliteConnection, id: i64, claims: &[CoveredRange]) -> Result<(), StoreError> {
    let Some(touched) = ledger::touched(claims) else { return Ok(()) };
    let before = read::ranges(&mut *tx, id, touched, read::ALL).await?;
    let change = ledger::merge(&before, claims);
    for start in change.gone {
        sqlx::query("DELETE FROM coverage WHERE series_id = ? AND start_time = ?")
            .bind(id)
            .bind(start.millis())
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
    }
    for new in change.put {
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
        .map_err(failed)?;
    }
    Ok(())
}
