//! What an exchange lists: read at the start, kept in the store, looked up by symbol.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::exchanges::Exchange;
use crate::model::{Instrument, Symbol, Timestamp};
use crate::store::{CandleStore, StoreError};
use crate::telemetry::collect::{ListingFailed, ListingRead};
use crate::upstream::{Backoff, RestClient};

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

/// Reads the listing from the exchange and keeps it in the store. While the exchange does not answer, the one that the
/// store has serves; where there is none, this waits until the exchange answers, and `on_trouble` is told why.
///
/// # Errors
/// [`StoreError`].
pub async fn read(
    exchange: &'static dyn Exchange,
    rest: &RestClient,
    store: &dyn CandleStore,
    clock: &Clock,
    mut on_trouble: impl AsyncFnMut(String),
) -> Result<Listed, StoreError> {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        let error = match rest.call(&exchange.instruments()).await {
            Ok(instruments) => {
                let now = clock.now();
                ListingRead { exchange: exchange.id(), instruments: instruments.len() }.emit();
                store.put_instruments(exchange.id(), &instruments, now).await?;
                return Ok(Listed::new(instruments, now));
            }
            Err(error) => error,
        };
        let older = store.instruments(exchange.id()).await?;
        let pause = backoff.next(clock).max(error.retry_at().map_or(Duration::ZERO, |at| at.since(clock.now())));
        let older_serves = !older.instruments.is_empty();
        ListingFailed { exchange: exchange.id(), error: &error, pause, older_serves }.emit();
        if older_serves {
            return Ok(Listed::new(older.instruments, older.read_at));
        }
        on_trouble(error.to_string()).await;
        clock.sleep(pause).await;
    }
}
