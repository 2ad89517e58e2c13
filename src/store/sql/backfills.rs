//! Requested backfills.

use async_trait::async_trait;

use super::columns::Columns;
use super::database::Value;
use super::store::SqlStore;
use crate::model::{Backfill, Series, TimeRange};
use crate::store::backfills::{BackfillFilter, BackfillStore, MAX_STORED_BACKFILLS};
use crate::store::error::StoreError;

const UPSERT: &str = "INSERT INTO backfills \
        (id, exchange, symbol, interval, start_time, end_time, state, detail, created_at, updated_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
    ON CONFLICT (id) DO UPDATE SET \
        state = excluded.state, detail = excluded.detail, updated_at = excluded.updated_at";

const DELETE_OLD: &str = "DELETE FROM backfills WHERE state IN ('done', 'failed') AND id NOT IN \
    (SELECT id FROM backfills ORDER BY created_at DESC, id DESC LIMIT $1)";

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, exchange, symbol, interval, start_time, end_time, state, detail, created_at, updated_at \
             FROM backfills ",
            $rest
        )
    };
}

const NEWEST: &str = select!("ORDER BY created_at DESC, id DESC LIMIT $1");
const OPEN: &str = select!("WHERE state IN ('waiting', 'running') AND exchange = $2 ORDER BY created_at, id LIMIT $1");
const BY_ID: &str = select!("WHERE id = $2 LIMIT $1");

#[async_trait]
impl<S: SqlStore> BackfillStore for S {
    async fn put_backfill(&self, backfill: &Backfill) -> Result<(), StoreError> {
        let Series { exchange, symbol, interval } = &backfill.series;
        let values: [Value<'_>; 10] = [
            (&*backfill.id).into(),
            exchange.as_str().into(),
            symbol.as_str().into(),
            interval.as_str().into(),
            backfill.range.start().into(),
            backfill.range.end().into(),
            backfill.state.as_str().into(),
            Value::Text(backfill.detail.as_deref()),
            backfill.created_at.into(),
            backfill.updated_at.into(),
        ];
        self.write_all(&[(UPSERT, &values), (DELETE_OLD, &[Value::from(MAX_STORED_BACKFILLS)])]).await?;
        Ok(())
    }

    async fn backfills(&self, filter: BackfillFilter<'_>) -> Result<Vec<Backfill>, StoreError> {
        let limit = Value::from(MAX_STORED_BACKFILLS);
        match filter {
            BackfillFilter::Newest => self.read_all(NEWEST, &[limit], read).await,
            BackfillFilter::Open(exchange) => self.read_all(OPEN, &[limit, exchange.as_str().into()], read).await,
            BackfillFilter::Id(id) => self.read_all(BY_ID, &[limit, id.into()], read).await,
        }
    }
}

fn read(row: &impl Columns) -> Result<Backfill, String> {
    Ok(Backfill {
        id: row.text(0)?.to_owned(),
        series: Series { exchange: row.parsed(1)?, symbol: row.parsed(2)?, interval: row.parsed(3)? },
        range: TimeRange::new(row.timestamp(4)?, row.timestamp(5)?),
        state: row.parsed(6)?,
        detail: row.optional_text(7)?.map(str::to_owned),
        created_at: row.timestamp(8)?,
        updated_at: row.timestamp(9)?,
    })
}
