//! Requested backfills.

use sqlx::postgres::PgRow;
use sqlx::{Row, query};

use super::{PostgresStore, corrupt, store_error};
use crate::model::{Backfill, Series, TimeRange, Timestamp};
use crate::store::{BackfillFilter, MAX_STORED_BACKFILLS, StoreError};

pub(super) async fn put(store: &PostgresStore, backfill: &Backfill) -> Result<(), StoreError> {
    let mut transaction = store.pool.begin().await.map_err(store_error)?;
    query(
        "INSERT INTO backfills \
            (id, exchange, symbol, interval, start_time, end_time, state, detail, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         ON CONFLICT (id) DO UPDATE SET \
            state = excluded.state, detail = excluded.detail, updated_at = excluded.updated_at",
    )
    .bind(&backfill.id)
    .bind(backfill.series.exchange.as_str())
    .bind(backfill.series.symbol.as_str())
    .bind(backfill.series.interval.as_str())
    .bind(backfill.range.start().millis())
    .bind(backfill.range.end().millis())
    .bind(backfill.state.as_str())
    .bind(&backfill.detail)
    .bind(backfill.created_at.millis())
    .bind(backfill.updated_at.millis())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    query(
        "DELETE FROM backfills WHERE state IN ('done', 'failed') AND id NOT IN \
            (SELECT id FROM backfills ORDER BY created_at DESC, id DESC LIMIT $1)",
    )
    .bind(MAX_STORED_BACKFILLS)
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)
}

pub(super) async fn get(store: &PostgresStore, filter: BackfillFilter<'_>) -> Result<Vec<Backfill>, StoreError> {
    let select = match filter {
        BackfillFilter::Newest => query("SELECT * FROM backfills ORDER BY created_at DESC, id DESC LIMIT $1"),
        BackfillFilter::Open(_) => query(
            "SELECT * FROM backfills WHERE state IN ('waiting', 'running') AND exchange = $2 \
             ORDER BY created_at, id LIMIT $1",
        ),
        BackfillFilter::Id(_) => query("SELECT * FROM backfills WHERE id = $2 LIMIT $1"),
    };
    let select = select.bind(MAX_STORED_BACKFILLS);
    let select = match filter {
        BackfillFilter::Newest => select,
        BackfillFilter::Open(exchange) => select.bind(exchange.as_str()),
        BackfillFilter::Id(id) => select.bind(id.to_owned()),
    };
    let rows = select.fetch_all(&store.pool).await.map_err(store_error)?;
    rows.iter().map(read).collect()
}

fn read(row: &PgRow) -> Result<Backfill, StoreError> {
    let text = |name: &'static str| row.try_get::<&str, _>(name).map_err(store_error);
    let time = |name: &'static str| row.try_get(name).map(Timestamp::from_millis).map_err(store_error);
    let id = text("id")?;
    let invalid = |value: &str| corrupt(format_args!("backfill {id} has the invalid value `{value}`"));
    let (exchange, symbol, interval, state) = (text("exchange")?, text("symbol")?, text("interval")?, text("state")?);
    Ok(Backfill {
        id: id.to_owned(),
        series: Series {
            exchange: exchange.parse().map_err(|_| invalid(exchange))?,
            symbol: symbol.parse().map_err(|_| invalid(symbol))?,
            interval: interval.parse().map_err(|_| invalid(interval))?,
        },
        range: TimeRange::new(time("start_time")?, time("end_time")?),
        state: state.parse().map_err(|_| invalid(state))?,
        detail: row.try_get("detail").map_err(store_error)?,
        created_at: time("created_at")?,
        updated_at: time("updated_at")?,
    })
}
