//! Listings of exchanges.

use std::collections::BTreeMap;

use sqlx::postgres::PgRow;
use sqlx::{Row, query, query_scalar};

use super::{PostgresStore, corrupt, store_error};
use crate::model::{ExchangeId, Instrument, Symbol, Timestamp};
use crate::store::{Listing, StoreError};

pub(super) async fn put(
    store: &PostgresStore,
    exchange: ExchangeId,
    listed: &[Instrument],
    at: Timestamp,
) -> Result<(), StoreError> {
    // If an exchange lists a symbol twice, the later entry wins.
    let listed: BTreeMap<&Symbol, &Instrument> = listed.iter().map(|one| (&one.symbol, one)).collect();
    let listed: Vec<&Instrument> = listed.into_values().collect();
    let mut transaction = store.pool.begin().await.map_err(store_error)?;
    // This row comes first: its lock serialises concurrent writers of the same listing.
    query(
        "INSERT INTO listings (exchange, read_at) VALUES ($1, $2) \
         ON CONFLICT (exchange) DO UPDATE SET read_at = excluded.read_at",
    )
    .bind(exchange.as_str())
    .bind(at.millis())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    query("UPDATE instruments SET status = 'delisted' WHERE exchange = $1 AND status <> 'delisted' AND NOT symbol = ANY($2)")
        .bind(exchange.as_str())
        .bind(listed.iter().map(|one| one.symbol.as_str()).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    query(
        "INSERT INTO instruments (exchange, symbol, native, stream_native, price_step, amount_step, status) \
         SELECT $1, * FROM UNNEST($2::text[], $3::text[], $4::text[], $5::numeric[], $6::numeric[], $7::text[]) \
         ON CONFLICT (exchange, symbol) DO UPDATE SET native = excluded.native, stream_native = excluded.stream_native, \
             price_step = excluded.price_step, amount_step = excluded.amount_step, status = excluded.status",
    )
    .bind(exchange.as_str())
    .bind(listed.iter().map(|one| one.symbol.as_str()).collect::<Vec<_>>())
    .bind(listed.iter().map(|one| one.native.as_str()).collect::<Vec<_>>())
    .bind(listed.iter().map(|one| one.stream_native.as_deref()).collect::<Vec<_>>())
    .bind(listed.iter().map(|one| one.price_step).collect::<Vec<_>>())
    .bind(listed.iter().map(|one| one.amount_step).collect::<Vec<_>>())
    .bind(listed.iter().map(|one| one.status.as_str()).collect::<Vec<_>>())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)
}

pub(super) async fn get(store: &PostgresStore, exchange: ExchangeId) -> Result<Listing, StoreError> {
    // One snapshot for both queries, so that they read the same listing.
    let mut snapshot =
        store.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(store_error)?;
    let read_at: Option<i64> = query_scalar("SELECT read_at FROM listings WHERE exchange = $1")
        .bind(exchange.as_str())
        .fetch_optional(&mut *snapshot)
        .await
        .map_err(store_error)?;
    let rows = query(
        "SELECT symbol, native, stream_native, price_step, amount_step, status FROM instruments \
         WHERE exchange = $1 ORDER BY symbol COLLATE \"C\"",
    )
    .bind(exchange.as_str())
    .fetch_all(&mut *snapshot)
    .await
    .map_err(store_error)?;
    snapshot.commit().await.map_err(store_error)?;
    let instruments = rows.iter().map(|row| instrument(exchange, row)).collect::<Result<_, _>>()?;
    Ok(Listing { instruments, read_at: read_at.map(Timestamp::from_millis).unwrap_or_default() })
}

fn instrument(exchange: ExchangeId, row: &PgRow) -> Result<Instrument, StoreError> {
    let symbol: &str = row.try_get(0).map_err(store_error)?;
    let status: &str = row.try_get(5).map_err(store_error)?;
    Ok(Instrument {
        exchange,
        symbol: symbol.parse().map_err(|_| corrupt(format_args!("{exchange} lists the invalid symbol `{symbol}`")))?,
        native: row.try_get(1).map_err(store_error)?,
        stream_native: row.try_get(2).map_err(store_error)?,
        price_step: row.try_get(3).map_err(store_error)?,
        amount_step: row.try_get(4).map_err(store_error)?,
        min_notional: None,
        contract: None,
        status: status
            .parse()
            .map_err(|_| corrupt(format_args!("{exchange} lists `{symbol}` with the unknown status `{status}`")))?,
    })
}
