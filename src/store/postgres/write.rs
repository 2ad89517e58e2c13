//! Writing: rows and the claims that they rest on, in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::postgres::PgConnection;
use sqlx::{Row, query, query_as, query_scalar};

use super::read::covered_range;
use super::{PostgresStore, corrupt, failed};
use crate::model::{Candle, CoveredRange, Series, Timestamp};
use crate::store::{SeriesWrite, StoreError, ledger, refuse_open_candles};

/// Unchanged rows are left alone; of the others only those come back that were there before.
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

/// The ranges of many series, each from the one that holds its `first` to the last that begins by its `last`.
const RANGES: &str = "SELECT asked.id, known.start_time, known.end_time, known.state \
    FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[]) AS asked (id, first, last) \
    CROSS JOIN LATERAL (SELECT start_time, end_time, state FROM coverage \
        WHERE series_id = asked.id AND start_time <= asked.last AND start_time >= \
            coalesce((SELECT max(start_time) FROM coverage WHERE series_id = asked.id AND start_time <= asked.first), \
                asked.first)) AS known \
    ORDER BY asked.id, known.start_time";

/// A row on its way: of which series, and what.
type Written<'a> = (i64, &'a Series, &'a Candle);

pub(super) async fn write(store: &PostgresStore, batch: &[SeriesWrite]) -> Result<Vec<(Series, Candle)>, StoreError> {
    refuse_open_candles(batch)?;
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let ids = series_ids(store, batch).await?;
    let mut rows: Vec<Written<'_>> = Vec::new();
    let mut claims: BTreeMap<i64, Vec<CoveredRange>> = BTreeMap::new();
    for (part, id) in batch.iter().zip(&ids) {
        rows.extend(part.candles.iter().map(|candle| (*id, &part.series, candle)));
        claims.entry(*id).or_default().extend(&part.claims);
    }
    let mut transaction = store.pool.begin().await.map_err(failed)?;
    // Writers of the same series take turns, in the same order everywhere.
    let locked: Vec<(i64, String, String, String)> =
        query_as("SELECT id, exchange, symbol, interval FROM series WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE")
            .bind(claims.keys().copied().collect::<Vec<_>>())
            .fetch_all(&mut *transaction)
            .await
            .map_err(failed)?;
    // The database may be another than the one that gave the ids: emptied, or one that took over and lost the last of it.
    let names: HashMap<i64, [&str; 3]> =
        locked.iter().map(|(id, exchange, symbol, interval)| (*id, [&**exchange, &**symbol, &**interval])).collect();
    let is_same = |(part, id): (&SeriesWrite, &i64)| {
        let Series { exchange, symbol, interval } = &part.series;
        names.get(id) == Some(&[exchange.as_str(), symbol.as_str(), interval.as_str()])
    };
    if !batch.iter().zip(&ids).all(is_same) {
        store.ids.forget();
        return Err(StoreError::Unavailable("the database has other series than it had".to_owned()));
    }
    let changed = put_candles(&mut transaction, rows).await?;
    put_claims(&mut transaction, &claims).await?;
    transaction.commit().await.map_err(failed)?;
    Ok(changed)
}

/// The ids of the parts' series. New series are entered at once: an id without rows does no harm.
async fn series_ids(store: &PostgresStore, batch: &[SeriesWrite]) -> Result<Vec<i64>, StoreError> {
    let unknown: BTreeSet<&Series> =
        batch.iter().map(|part| &part.series).filter(|series| store.ids.get(series).is_none()).collect();
    if !unknown.is_empty() {
        let of = |name: fn(&Series) -> &str| unknown.iter().map(|series| name(series)).collect::<Vec<_>>();
        let names = [of(|one| one.exchange.as_str()), of(|one| one.symbol.as_str()), of(|one| one.interval.as_str())];
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
        .map_err(failed)?;
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
        .map_err(failed)?;
        if found.len() != unknown.len() {
            return Err(corrupt("a series has no id"));
        }
        store.ids.remember(unknown.into_iter().zip(found));
    }
    let id = |part: &SeriesWrite| {
        store.ids.get(&part.series).ok_or_else(|| corrupt(format_args!("{} has no id", part.series)))
    };
    batch.iter().map(id).collect()
}

/// Returns the candles that were there with other values, as they are now.
async fn put_candles(tx: &mut PgConnection, mut rows: Vec<Written<'_>>) -> Result<Vec<(Series, Candle)>, StoreError> {
    let key = |(id, _, candle): &Written<'_>| (*id, candle.timestamp);
    // Stable: of the states of one candle the later stays the later.
    rows.sort_by_key(key);
    let mut changed = Vec::new();
    while !rows.is_empty() {
        // A statement can touch a row once only.
        let mut later = Vec::new();
        let mut last = None;
        rows.retain(|row| {
            let first = last.replace(key(row)) != Some(key(row));
            if !first {
                later.push(*row);
            }
            first
        });
        changed.extend(upsert(tx, &rows).await?);
        rows = later;
    }
    Ok(changed)
}

async fn upsert(tx: &mut PgConnection, rows: &[Written<'_>]) -> Result<Vec<(Series, Candle)>, StoreError> {
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
        .map_err(failed)?;
    if changed.is_empty() {
        return Ok(Vec::new());
    }
    let written: HashMap<(i64, i64), &Written<'_>> =
        rows.iter().map(|row| ((row.0, row.2.timestamp.millis()), row)).collect();
    let mut revised = Vec::with_capacity(changed.len());
    for row in changed {
        let key = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
        let revision: i32 = row.try_get(2).map_err(failed)?;
        let revision = u32::try_from(revision).map_err(corrupt)?;
        if let Some((_, series, candle)) = written.get(&key) {
            revised.push(((*series).clone(), Candle { revision, ..**candle }));
        }
    }
    revised.sort_by(|one, other| (&one.0, one.1.timestamp).cmp(&(&other.0, other.1.timestamp)));
    Ok(revised)
}

/// Merges the claims into the ranges of the ledger that they touch, and writes back what became different.
async fn put_claims(tx: &mut PgConnection, claims: &BTreeMap<i64, Vec<CoveredRange>>) -> Result<(), StoreError> {
    let asked: Vec<_> =
        claims.iter().filter_map(|(id, claims)| ledger::touched(claims).map(|range| (*id, range))).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let found: Vec<(i64, i64, i64, String)> = query_as(RANGES)
        .bind(asked.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(asked.iter().map(|(_, range)| range.start().millis()).collect::<Vec<_>>())
        .bind(asked.iter().map(|(_, range)| range.end().millis()).collect::<Vec<_>>())
        .fetch_all(&mut *tx)
        .await
        .map_err(failed)?;
    let mut before: HashMap<i64, Vec<CoveredRange>> = HashMap::new();
    for (id, start, end, state) in found {
        before.entry(id).or_default().push(covered_range(Ok(start), Ok(end), &state)?);
    }
    let (mut gone, mut put) = (Vec::new(), Vec::new());
    for (id, _) in &asked {
        let change = ledger::merge(before.get(id).map_or(&[], Vec::as_slice), &claims[id]);
        gone.extend(change.gone.into_iter().map(|start| (*id, start)));
        put.extend(change.put.into_iter().map(|known| (*id, known)));
    }
    remove(tx, &gone).await?;
    enter(tx, &put).await
}

async fn remove(tx: &mut PgConnection, gone: &[(i64, Timestamp)]) -> Result<(), StoreError> {
    if gone.is_empty() {
        return Ok(());
    }
    query(
        "DELETE FROM coverage USING UNNEST($1::bigint[], $2::bigint[]) AS gone (id, start) \
         WHERE series_id = gone.id AND start_time = gone.start",
    )
    .bind(gone.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(gone.iter().map(|(_, start)| start.millis()).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn enter(tx: &mut PgConnection, put: &[(i64, CoveredRange)]) -> Result<(), StoreError> {
    if put.is_empty() {
        return Ok(());
    }
    query(
        "INSERT INTO coverage (series_id, start_time, end_time, state) \
         SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) \
         ON CONFLICT (series_id, start_time) DO UPDATE SET end_time = excluded.end_time, state = excluded.state",
    )
    .bind(put.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(put.iter().map(|(_, known)| known.range.start().millis()).collect::<Vec<_>>())
    .bind(put.iter().map(|(_, known)| known.range.end().millis()).collect::<Vec<_>>())
    .bind(put.iter().map(|(_, known)| known.state.as_str()).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await
    .map_err(failed)?;
    Ok(())
}
