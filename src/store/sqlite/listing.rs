//! Listings of exchanges.

use std::sync::LazyLock;

use rust_decimal::Decimal;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row, query};

use super::{MultiRow, SqliteStore, corrupt, decimal_text, store_error};
use crate::model::{ExchangeId, Instrument, Timestamp, parse_decimal};
use crate::store::{Listing, StoreError};

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
    let mut writer = store.writer.acquire().await.map_err(store_error)?;
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)?;
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

pub(super) async fn get(store: &SqliteStore, exchange: ExchangeId) -> Result<Listing, StoreError> {
    // One transaction for both queries, so that they read the same listing.
    let mut snapshot = store.readers.begin().await.map_err(store_error)?;
    let read_at: Option<i64> = sqlx::query_scalar("SELECT read_at FROM listings WHERE exchange = ?")
        .bind(exchange.as_str())
        .fetch_optional(&mut *snapshot)
        .await
        .map_err(store_error)?;
    let rows = query(
        "SELECT symbol, native, stream_native, price_step, amount_step, status FROM instruments \
         WHERE exchange = ? ORDER BY symbol",
    )
    .bind(exchange.as_str())
    .fetch_all(&mut *snapshot)
    .await
    .map_err(store_error)?;
    snapshot.rollback().await.map_err(store_error)?;
    let instruments = rows.iter().map(|row| instrument(exchange, row)).collect::<Result<_, _>>()?;
    Ok(Listing { instruments, read_at: read_at.map(Timestamp::from_millis).unwrap_or_default() })
}

fn instrument(exchange: ExchangeId, row: &SqliteRow) -> Result<Instrument, StoreError> {
    let symbol: &str = row.try_get(0).map_err(store_error)?;
    let invalid = |text: &str| corrupt(format_args!("{exchange} lists `{symbol}` with the invalid value `{text}`"));
    let step = |column: usize| -> Result<Option<Decimal>, StoreError> {
        let text: Option<&str> = row.try_get(column).map_err(store_error)?;
        text.map(|text| parse_decimal(text).map_err(|_| invalid(text))).transpose()
    };
    Ok(Instrument {
        exchange,
        symbol: symbol.parse().map_err(|_| invalid(symbol))?,
        native: row.try_get(1).map_err(store_error)?,
        stream_native: row.try_get(2).map_err(store_error)?,
        price_step: step(3)?,
        amount_step: step(4)?,
        min_notional: None,
        contract: None,
        status: {
            let text: &str = row.try_get(5).map_err(store_error)?;
            text.parse().map_err(|_| invalid(text))?
        },
    })
}
