//! Writes listings of exchanges.

use std::collections::BTreeMap;

use sqlx::query;

use super::store::PostgresStore;
use crate::model::{ExchangeId, Instrument, Symbol, Timestamp};
use crate::store::error::StoreError;
use crate::store::sql::{SqlStore, store_error};

pub(super) async fn put(
    store: &PostgresStore,
    exchange: ExchangeId,
    listed: &[Instrument],
    at: Timestamp,
) -> Result<(), StoreError> {
    // If an exchange lists a symbol twice, the later entry wins.
    let listed: BTreeMap<&Symbol, &Instrument> = listed.iter().map(|one| (&one.symbol, one)).collect();
    let listed: Vec<&Instrument> = listed.into_values().collect();
    let mut transaction = store.begin_write().await?;
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
