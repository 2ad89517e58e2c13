//! Backfills that were asked for.

use sqlx::postgres::PgRow;
use sqlx::{Row, query};

use super::{PostgresStore, corrupt, failed};
use crate::model::{Backfill, Series, TimeRange, Timestamp};
use crate::store::{Backfills, KEPT_BACKFILLS, StoreError};

pub(super) async fn put(store: &PostgresStore, backfill: &Backfill) -> Result<(), StoreError> {
    let mut transaction = store.pool.begin().await.map_err(failed)?;
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
    .map_err(failed)?;
    query(
        "DELETE FROM backfills WHERE state IN ('done', 'failed') AND id NOT IN \
            (SELECT id FROM backfills ORDER BY created_at DESC, id DESC LIMIT $1)",
    )
    .bind(KEPT_BACKFILLS)
    .execute(&mut *transaction)
    .await
    .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

pub(super) async fn get(store: &PostgresStore, which: Backfills<'_>) -> Result<Vec<Backfill>, StoreError> {
    let asked = match which {
        Backfills::Newest => query("SELECT * FROM backfills ORDER BY created_at DESC, id DESC LIMIT $1"),
        Backfills::Open(_) => query(
            "SELECT * FROM backfills WHERE state IN ('waiting', 'running') AND exchange = $2 \
             ORDER BY created_at, id LIMIT $1",
        ),
        Backfills::Id(_) => query("SELECT * FROM backfills WHERE id = $2 LIMIT $1"),
    };
    let asked = asked.bind(KEPT_BACKFILLS);
    let asked = match which {
        Backfills::Newest => asked,
        Backfills::Open(exchange) => asked.bind(exchange.as_str()),
        Backfills::Id(id) => asked.bind(id.to_owned()),
    };
    let rows = asked.fetch_all(&store.pool).await.map_err(failed)?;
    rows.iter().map(read).collect()
}

fn read(row: &PgRow) -> Result<Backfill, StoreError> {
    let text = |name: &'static str| row.try_get::<&str, _>(name).map_err(failed);
    let time = |name: &'static str| row.try_get(name).map(Timestamp::from_millis).map_err(failed);
    let id = text("id")?;
    let wrong = |what: &str| corrupt(format_args!("backfill {id} has `{what}`"));
    let (exchange, symbol, interval, state) = (text("exchange")?, text("symbol")?, text("interval")?, text("state")?);
    Ok(Backfill {
        id: id.to_owned(),
        series: Series {
            exchange: exchange.parse().map_err(|_| wrong(exchange))?,
            symbol: symbol.parse().map_err(|_| wrong(symbol))?,
            interval: interval.parse().map_err(|_| wrong(interval))?,
        },
        range: TimeRange::new(time("start_time")?, time("end_time")?),
        state: state.parse().map_err(|_| wrong(state))?,
        detail: row.try_get("detail").map_err(failed)?,
        created_at: time("created_at")?,
        updated_at: time("updated_at")?,
    })
}
