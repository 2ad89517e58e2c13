//! The listings of exchanges.

use async_trait::async_trait;

use super::columns::Columns;
use super::store::SqlStore;
use crate::model::{Contract, ExchangeId, Instrument, MarketKind, Timestamp};
use crate::store::error::StoreError;
use crate::store::instruments::{InstrumentStore, Listing};

/// One statement, so that the time belongs to the instruments. Without instruments, there is one row without them.
/// Kind and settlement asset follow from the symbol.
const SELECT: &str = "SELECT symbol, native, stream_native, price_step, amount_step, status, exchange, read_at, \
        min_notional, contract_size, expiry \
    FROM (SELECT CAST($1 AS TEXT) AS exchange) AS asked \
    LEFT JOIN (SELECT exchange, MIN(read_at) AS read_at FROM listings GROUP BY exchange) AS listed USING (exchange) \
    LEFT JOIN instruments USING (exchange)";

#[async_trait]
impl<S: SqlStore> InstrumentStore for S {
    async fn put_instruments(
        &self,
        exchange: ExchangeId,
        kind: MarketKind,
        listed: &[Instrument],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        if let Some(other) = listed.iter().find(|one| one.kind() != kind) {
            let detail = format!("the listing of the {kind} markets of {exchange} contains {}", other.symbol);
            return Err(StoreError::Corrupt(detail));
        }
        S::with_timeout(self.write_listing(exchange, kind, listed, at)).await
    }

    async fn instruments(&self, exchange: ExchangeId) -> Result<Listing, StoreError> {
        let rows = self.read_all(SELECT, &[exchange.as_str().into()], read).await?;
        let read_at = rows.first().and_then(|(read_at, _)| *read_at).unwrap_or_default();
        let mut instruments: Vec<Instrument> = rows.into_iter().filter_map(|(_, instrument)| instrument).collect();
        instruments.sort_unstable_by(|one, other| one.symbol.cmp(&other.symbol));
        Ok(Listing { instruments, read_at })
    }
}

fn read(row: &impl Columns) -> Result<(Option<Timestamp>, Option<Instrument>), String> {
    let read_at = row.optional_timestamp(7)?;
    if row.optional_text(0)?.is_none() {
        return Ok((read_at, None));
    }
    let expiry = row.optional_timestamp(10)?;
    let instrument = Instrument {
        exchange: row.parsed(6)?,
        symbol: row.parsed(0)?,
        native: row.text(1)?.to_owned(),
        stream_native: row.optional_text(2)?.map(str::to_owned),
        price_step: row.optional_decimal(3)?,
        amount_step: row.optional_decimal(4)?,
        min_notional: row.optional_decimal(8)?,
        contract: row.optional_decimal(9)?.map(|size| Contract { size, expiry }),
        status: row.parsed(5)?,
    };
    Ok((read_at, Some(instrument)))
}
