//! Writes listings of exchanges.

use std::collections::BTreeMap;

use sqlx::query;

use super::store::PostgresStore;
use crate::model::{ExchangeId, Instrument, MarketKind, Symbol, Timestamp};
use crate::store::error::StoreError;
use crate::store::sql::{SqlStore, store_error};

const UPSERT: &str = "\
    INSERT INTO instruments (exchange, kind, symbol, settle, native, stream_native, price_step, amount_step, \
        min_notional, contract_size, expiry, status) \
    SELECT $1, $2, * FROM UNNEST($3::text[], $4::text[], $5::text[], $6::text[], $7::numeric[], $8::numeric[], \
        $9::numeric[], $10::numeric[], $11::bigint[], $12::text[]) \
    ON CONFLICT (exchange, symbol) DO UPDATE SET native = excluded.native, stream_native = excluded.stream_native, \
        price_step = excluded.price_step, amount_step = excluded.amount_step, min_notional = excluded.min_notional, \
        contract_size = excluded.contract_size, expiry = excluded.expiry, status = excluded.status";

pub(super) async fn put(
    store: &PostgresStore,
    exchange: ExchangeId,
    kind: MarketKind,
    listed: &[Instrument],
    at: Timestamp,
) -> Result<(), StoreError> {
    // If an exchange lists a symbol twice, the later entry wins.
    let listed: BTreeMap<&Symbol, &Instrument> = listed.iter().map(|one| (&one.symbol, one)).collect();
    let listed: Vec<&Instrument> = listed.into_values().collect();
    let mut transaction = store.begin_write().await?;
    // This row comes first: its lock serialises concurrent writers of the same listing.
    query(
        "INSERT INTO listings (exchange, kind, read_at) VALUES ($1, $2, $3) \
         ON CONFLICT (exchange, kind) DO UPDATE SET read_at = excluded.read_at",
    )
    .bind(exchange.as_str())
    .bind(kind.as_str())
    .bind(at.millis())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    query(
        "UPDATE instruments SET status = 'delisted' \
         WHERE exchange = $1 AND kind = $2 AND status <> 'delisted' AND NOT symbol = ANY($3)",
    )
    .bind(exchange.as_str())
    .bind(kind.as_str())
    .bind(column(&listed, |one| one.symbol.as_str()))
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    query(UPSERT)
        .bind(exchange.as_str())
        .bind(kind.as_str())
        .bind(column(&listed, |one| one.symbol.as_str()))
        .bind(column(&listed, |one| one.symbol.settle()))
        .bind(column(&listed, |one| one.native.as_str()))
        .bind(column(&listed, |one| one.stream_native.as_deref()))
        .bind(column(&listed, |one| one.price_step))
        .bind(column(&listed, |one| one.amount_step))
        .bind(column(&listed, |one| one.min_notional))
        .bind(column(&listed, |one| one.contract.map(|contract| contract.size)))
        .bind(column(&listed, |one| one.contract.and_then(|contract| contract.expiry).map(Timestamp::millis)))
        .bind(column(&listed, |one| one.status.as_str()))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)
}

/// The values of one column.
fn column<'a, T>(listed: &[&'a Instrument], value: impl Fn(&'a Instrument) -> T) -> Vec<T> {
    listed.iter().map(|one| value(one)).collect()
}
