//! Writes listings of exchanges.

use std::sync::LazyLock;

use sqlx::query;

use super::decimal::decimal_text;
use super::multi_row::MultiRow;
use super::store::SqliteStore;
use crate::model::{ExchangeId, Instrument, MarketKind, Timestamp};
use crate::store::error::StoreError;
use crate::store::sql::{SqlStore, store_error};

/// If an exchange lists a symbol twice, the later entry wins.
static INSERT: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "INSERT OR REPLACE INTO instruments \
            (exchange, symbol, kind, settle, native, stream_native, price_step, amount_step, min_notional, \
             contract_size, expiry, status)",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "",
    )
});

pub(super) async fn put(
    store: &SqliteStore,
    exchange: ExchangeId,
    kind: MarketKind,
    listed: &[Instrument],
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut transaction = store.begin_write().await?;
    query("UPDATE instruments SET status = 'delisted' WHERE exchange = ? AND kind = ?")
        .bind(exchange.as_str())
        .bind(kind.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    for (statement, chunk) in INSERT.chunks(listed) {
        let mut insert = query(statement);
        for instrument in chunk {
            insert = insert
                .bind(exchange.as_str())
                .bind(instrument.symbol.as_str())
                .bind(kind.as_str())
                .bind(instrument.symbol.settle())
                .bind(&instrument.native)
                .bind(&instrument.stream_native)
                .bind(instrument.price_step.map(decimal_text))
                .bind(instrument.amount_step.map(decimal_text))
                .bind(instrument.min_notional.map(decimal_text))
                .bind(instrument.contract.map(|contract| decimal_text(contract.size)))
                .bind(instrument.contract.and_then(|contract| contract.expiry).map(Timestamp::millis))
                .bind(instrument.status.as_str());
        }
        insert.execute(&mut *transaction).await.map_err(store_error)?;
    }
    query(
        "INSERT INTO listings (exchange, kind, read_at) VALUES (?, ?, ?) \
         ON CONFLICT (exchange, kind) DO UPDATE SET read_at = excluded.read_at",
    )
    .bind(exchange.as_str())
    .bind(kind.as_str())
    .bind(at.millis())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)
}
