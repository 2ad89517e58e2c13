//! Writes candles and their coverage claims in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};

use super::store::PostgresStore;
use crate::model::{Candle, CoveredRange, Series, Timestamp};
use crate::store::candles::SeriesWrite;
use crate::store::error::StoreError;
use crate::store::ledger;
use crate::store::sql::{Columns, SqlStore, candles, corrupt, store_error};

/// Does not update equal rows. Returns only rows that existed with other values.
const UPSERT: &str = "WITH written AS ( \
    INSERT INTO candles (series_id, open_time, open, high, low, close, volume, quote_volume, trades) \
    SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[], \
        $7::numeric[], $8::numeric[], $9::bigint[]) \
    ON CONFLICT (series_id, open_time) DO UPDATE SET \
        open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, \
        volume = excluded.volume, quote_volume = excluded.quote_volume, trades = excluded.trades, \
        revision = candles.revision + 1 \
    WHERE (candles.open, candles.high, candles.low, candles.close, candles.volume, candles.quote_volume, candles.trades) \
        IS DISTINCT FROM \
        (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume, excluded.quote_volume, excluded.trades) \
    RETURNING series_id, open_time, revision) \
    SELECT series_id, open_time, revision FROM written WHERE revision > 0";

/// The ranges of many series: for each, from the one that contains `first` to the last one that starts at or before
/// `last`.
const RANGES: &str = "SELECT asked.id, known.start_time, known.end_time, known.state \
    FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[]) AS asked (id, first, last) \
    CROSS JOIN LATERAL (SELECT start_time, end_time, state FROM coverage \
        WHERE series_id = asked.id AND start_time <= asked.last AND start_time >= \
            coalesce((SELECT max(start_time) FROM coverage WHERE series_id = asked.id AND start_time <= asked.first), \
                asked.first)) AS known \
    ORDER BY asked.id, known.start_time";

/// A candle to write, with its series and series id.
type CandleRow<'a> = (i64, &'a Series, &'a Candle);

pub(super) async fn write(store: &PostgresStore, batch: &[SeriesWrite]) -> Result<Vec<(Series, Candle)>, StoreError> {
    let ids = series_ids(store, batch).await?;
    let mut rows: Vec<CandleRow<'_>> = Vec::new();
    let mut claims: BTreeMap<i64, Vec<CoveredRange>> = BTreeMap::new();
    for (part, id) in batch.iter().zip(&ids) {
        rows.extend(part.candles.iter().map(|candle| (*id, &part.series, candle)));
        claims.entry(*id).or_default().extend(&part.claims);
    }
    let mut transaction = store.begin_write().await?;
    // Serialises writers of the same series. Every writer locks in the same order, which prevents deadlocks.
    let locked: Vec<(i64, String, String, String)> =
        query_as("SELECT id, exchange, symbol, interval FROM series WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE")
            .bind(claims.keys().copied().collect::<Vec<_>>())
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
    // Cached ids may be invalid: the database was emptied, or a failover lost its latest transactions.
    let names: HashMap<i64, [&str; 3]> =
        locked.iter().map(|(id, exchange, symbol, interval)| (*id, [&**exchange, &**symbol, &**interval])).collect();
    let is_same = |(part, id): (&SeriesWrite, &i64)| {
        let Series { exchange, symbol, interval } = &part.series;
        names.get(id) == Some(&[exchange.as_str(), symbol.as_str(), interval.as_str()])
    };
    if !batch.iter().zip(&ids).all(is_same) {
        store.ids.clear();
        return Err(StoreError::Unavailable("the series ids in the database have changed".to_owned()));
    }
    let changed = put_candles(&mut transaction, rows).await?;
    put_claims(&mut transaction, &claims).await?;
    transaction.commit().await.map_err(store_error)?;
    Ok(changed)
}

/// The id of each part's series. Inserts new series outside the transaction: an id without rows is harmless.
async fn series_ids(store: &PostgresStore, batch: &[SeriesWrite]) -> Result<Vec<i64>, StoreError> {
    let unknown: BTreeSet<&Series> =
        batch.iter().map(|part| &part.series).filter(|series| store.ids.get(series).is_none()).collect();
    if !unknown.is_empty() {
        let column = |name: fn(&Series) -> &str| unknown.iter().map(|series| name(series)).collect::<Vec<_>>();
        let names = [
            column(|one| one.exchange.as_str()),
            column(|one| one.symbol.as_str()),
            column(|one| one.interval.as_str()),
        ];
        let [exchanges, symbols, intervals] = names;
        query(
            "INSERT INTO series (exchange, symbol, interval) \
             SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING",
        )
        .bind(&exchanges)
        .bind(&symbols)
        .bind(&intervals)
        .execute(&store.pool)
        .await
        .map_err(store_error)?;
        let found: Vec<i64> = query_scalar(
            "SELECT series.id FROM UNNEST($1::text[], $2::text[], $3::text[]) WITH ORDINALITY \
                 AS asked (exchange, symbol, interval, place) \
             JOIN series USING (exchange, symbol, interval) ORDER BY place",
        )
        .bind(&exchanges)
        .bind(&symbols)
        .bind(&intervals)
        .fetch_all(&store.pool)
        .await
        .map_err(store_error)?;
        if found.len() != unknown.len() {
            return Err(corrupt("a series has no id"));
        }
        store.ids.extend(unknown.into_iter().zip(found));
    }
    let id = |part: &SeriesWrite| {
        store.ids.get(&part.series).ok_or_else(|| corrupt(format_args!("the series {} has no id", part.series)))
    };
    batch.iter().map(id).collect()
}

/// Returns the candles that replaced stored ones with other values, with their new revision.
async fn put_candles(tx: &mut PgConnection, mut rows: Vec<CandleRow<'_>>) -> Result<Vec<(Series, Candle)>, StoreError> {
    let key = |(id, _, candle): &CandleRow<'_>| (*id, candle.timestamp);
    // A stable sort keeps the order of several versions of the same candle.
    rows.sort_by_key(key);
    let mut changed = Vec::new();
    while !rows.is_empty() {
        // `ON CONFLICT DO UPDATE` can affect a row only once per statement.
        let mut duplicates = Vec::new();
        let mut last = None;
        rows.retain(|row| {
            let is_first = last.replace(key(row)) != Some(key(row));
            if !is_first {
                duplicates.push(*row);
            }
            is_first
        });
        changed.extend(upsert(tx, &rows).await?);
        rows = duplicates;
    }
    Ok(changed)
}

async fn upsert(tx: &mut PgConnection, rows: &[CandleRow<'_>]) -> Result<Vec<(Series, Candle)>, StoreError> {
    let decimals = |value: fn(&Candle) -> rust_decimal::Decimal| {
        rows.iter().map(|(_, _, candle)| value(candle)).collect::<Vec<_>>()
    };
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let changed = query(UPSERT)
        .bind(rows.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, candle)| candle.timestamp.millis()).collect::<Vec<_>>())
        .bind(decimals(|candle| candle.open))
        .bind(decimals(|candle| candle.high))
        .bind(decimals(|candle| candle.low))
        .bind(decimals(|candle| candle.close))
        .bind(decimals(|candle| candle.volume))
        .bind(rows.iter().map(|(_, _, candle)| candle.quote_volume).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, candle)| candle.trades.map(count)).collect::<Vec<_>>())
        .fetch_all(&mut *tx)
        .await
        .map_err(store_error)?;
    if changed.is_empty() {
        return Ok(Vec::new());
    }
    let written: HashMap<(i64, Timestamp), &CandleRow<'_>> =
        rows.iter().map(|row| ((row.0, row.2.timestamp), row)).collect();
    let mut revised = Vec::with_capacity(changed.len());
    for row in changed {
        let (id, at, revision) = candles::revision(&row)?;
        if let Some((_, series, candle)) = written.get(&(id, at)) {
            revised.push(((*series).clone(), Candle { revision, ..**candle }));
        }
    }
    revised.sort_by(|one, other| (&one.0, one.1.timestamp).cmp(&(&other.0, other.1.timestamp)));
    Ok(revised)
}

/// Merges the claims into the adjacent and overlapping ranges of the ledger and writes the changed ranges.
async fn put_claims(tx: &mut PgConnection, claims: &BTreeMap<i64, Vec<CoveredRange>>) -> Result<(), StoreError> {
    let touched: Vec<_> =
        claims.iter().filter_map(|(id, claims)| ledger::touched_range(claims).map(|range| (*id, range))).collect();
    if touched.is_empty() {
        return Ok(());
    }
    let found = query(RANGES)
        .bind(touched.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(touched.iter().map(|(_, range)| range.start().millis()).collect::<Vec<_>>())
        .bind(touched.iter().map(|(_, range)| range.end().millis()).collect::<Vec<_>>())
        .fetch_all(&mut *tx)
        .await
        .map_err(store_error)?;
    let mut before: HashMap<i64, Vec<CoveredRange>> = HashMap::new();
    for row in found {
        let id = row.integer(0).map_err(corrupt)?;
        before.entry(id).or_default().push(candles::covered_range(&row, [1, 2, 3])?);
    }
    let (mut removed, mut upserted) = (Vec::new(), Vec::new());
    for (id, _) in &touched {
        let change = ledger::merge(before.get(id).map_or(&[], Vec::as_slice), &claims[id]);
        removed.extend(change.removed.into_iter().map(|start| (*id, start)));
        upserted.extend(change.upserted.into_iter().map(|known| (*id, known)));
    }
    delete_ranges(tx, &removed).await?;
    upsert_ranges(tx, &upserted).await
}

async fn delete_ranges(tx: &mut PgConnection, removed: &[(i64, Timestamp)]) -> Result<(), StoreError> {
    if removed.is_empty() {
        return Ok(());
    }
    query(
        "DELETE FROM coverage USING UNNEST($1::bigint[], $2::bigint[]) AS gone (id, start) \
         WHERE series_id = gone.id AND start_time = gone.start",
    )
    .bind(removed.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(removed.iter().map(|(_, start)| start.millis()).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

async fn upsert_ranges(tx: &mut PgConnection, upserted: &[(i64, CoveredRange)]) -> Result<(), StoreError> {
    if upserted.is_empty() {
        return Ok(());
    }
    query(
        "INSERT INTO coverage (series_id, start_time, end_time, state) \
         SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) \
         ON CONFLICT (series_id, start_time) DO UPDATE SET end_time = excluded.end_time, state = excluded.state",
    )
    .bind(upserted.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(upserted.iter().map(|(_, known)| known.range.start().millis()).collect::<Vec<_>>())
    .bind(upserted.iter().map(|(_, known)| known.range.end().millis()).collect::<Vec<_>>())
    .bind(upserted.iter().map(|(_, known)| known.state.as_str()).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await
    .map_err(store_error)?;
    Ok(())
}
