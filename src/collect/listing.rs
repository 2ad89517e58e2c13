//! What an exchange lists: read at the start, kept in the store, looked up by symbol.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::exchanges::Exchange;
use crate::model::{Instrument, Symbol, Timestamp};
use crate::store::{CandleStore, StoreError};
use crate::telemetry::collect::{ListingFailed, ListingRead};
use crate::upstream::{RestClient, UpstreamError};

/// The instruments of an exchange by symbol.
#[derive(Debug)]
pub struct Listed {
    by_symbol: HashMap<Symbol, Arc<Instrument>>,
    /// When the exchange was asked.
    pub read_at: Timestamp,
}

impl Listed {
    fn new(instruments: Vec<Instrument>, read_at: Timestamp) -> Self {
        let by_symbol = instruments.into_iter().map(|one| (one.symbol.clone(), Arc::new(one))).collect();
        Self { by_symbol, read_at }
    }

    pub fn get(&self, symbol: &Symbol) -> Option<&Arc<Instrument>> {
        self.by_symbol.get(symbol)
    }
}

/// Reads the listing from the exchange and keeps it in the store. Where the exchange does not answer, the one that the
/// store has serves; `Err` in `Ok` where there is none.
///
/// # Errors
/// [`StoreError`].
pub async fn read(
    exchange: &'static dyn Exchange,
    rest: &RestClient,
    store: &dyn CandleStore,
    clock: &Clock,
) -> Result<Result<Listed, UpstreamError>, StoreError> {
    let error = match rest.call(&exchange.instruments()).await {
        Ok(instruments) => {
            let now = clock.now();
            ListingRead { exchange: exchange.id(), instruments: instruments.len() }.emit();
            store.put_instruments(exchange.id(), &instruments, now).await?;
            return Ok(Ok(Listed::new(instruments, now)));
        }
        Err(error) => error,
    };
    let older = store.instruments(exchange.id()).await?;
    let older_serves = !older.instruments.is_empty();
    ListingFailed { exchange: exchange.id(), error: &error, older_serves }.emit();
    Ok(if older_serves { Ok(Listed::new(older.instruments, older.read_at)) } else { Err(error) })
}
