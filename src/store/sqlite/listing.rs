//! Writes listings of exchanges.

use std::sync::LazyLock;

use sqlx::query;

use super::decimal::decimal_text;
use super::multi_row::MultiRow;
use super::store::SqliteStore;
use crate::model::{ExchangeId, Instrument, Timestamp};
use crate::store::error::StoreError;
use crate::store::sql::{SqlStore, store_error};

/// If an exchange lists a symbol twice, the later entry wins.
static INSERT: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "INSERT OR REPLACE INTO instruments \
            (exchange, symbol, native, stream_native, price_step, amount_step, status)",
        "(?, ?, ?, ?, ?, ?, ?)",
        "",
    )
});

pub(super) async fn put(
    store: &SqliteStore,
    exchange: ExchangeId,
    listed: &[Instrument],
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut transaction = store.begin_write().await?;
    query("UPDATE instruments SET status = 'delisted' WHERE exchange = ?")
        .bind(exchange.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    for (statement, chunk) in INSERT.chunks(listed) {
        let mut insert = query(statement);
        for instrument in chunk {
            insert = insert
                .bind(exchange.as_str())
                .bind(instrument.symbol.as_str())
                .bind(&instrument.native)
                .bind(&instrument.stream_native)
                .bind(instrument.price_step.map(decimal_text))
                .bind(instrument.amount_step.map(decimal_text))
                .bind(instrument.status.as_str());
        }
        insert.execute(&mut *transaction).await.map_err(store_error)?;
    }
    query(
        "INSERT INTO listings (exchange, read_at) VALUES (?, ?) \
         ON CONFLICT (exchange) DO UPDATE SET read_at = excluded.read_at",
    )
    .bind(exchange.as_str())
    .bind(at.millis())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)
}
