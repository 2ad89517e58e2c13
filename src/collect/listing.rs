//! What an exchange lists: read at the start and again when it is old, kept in the store, looked up by symbol.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::exchanges::{Exchange, ReplyError, ReplyErrorKind};
use crate::model::{Instrument, Symbol, Timestamp};
use crate::store::{CandleStore, StoreError};
use crate::telemetry::collect::{ListingFailed, ListingRead};
use crate::upstream::{RestClient, UpstreamError};

/// How long to wait after a listing could not be read.
const TRY_AGAIN: Duration = Duration::from_mins(5);

/// The instruments of an exchange by symbol.
#[derive(Debug)]
pub struct Listed {
    by_symbol: HashMap<Symbol, Arc<Instrument>>,
    /// What was listed once, under ids that mean nothing else now.
    gone: HashMap<Symbol, Arc<Instrument>>,
    /// When the exchange was asked.
    pub read_at: Timestamp,
    /// Whether the store has it, too.
    pub stored: bool,
}

impl Listed {
    /// What the exchange lists, among `all` that it listed at any time.
    fn new(listed: Vec<Instrument>, all: Vec<Instrument>, read_at: Timestamp, stored: bool) -> Self {
        let by_symbol = |some: Vec<Instrument>| -> HashMap<Symbol, Arc<Instrument>> {
            some.into_iter().map(|one| (one.symbol.clone(), Arc::new(one))).collect()
        };
        let natives: HashSet<&str> = listed.iter().map(|one| &*one.native).collect();
        let mut gone = all;
        gone.retain(|one| !natives.contains(&*one.native));
        Self { gone: by_symbol(gone), by_symbol: by_symbol(listed), read_at, stored }
    }

    pub fn get(&self, symbol: &Symbol) -> Option<&Arc<Instrument>> {
        self.by_symbol.get(symbol)
    }

    /// The symbols of all instruments.
    pub fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.by_symbol.keys()
    }

    /// The instrument, also if it was only listed once: the exchange may still give its past.
    pub fn get_or_gone(&self, symbol: &Symbol) -> Option<&Arc<Instrument>> {
        self.get(symbol).or_else(|| self.gone.get(symbol))
    }

    /// The instrument, if it is traded now; else why not.
    pub fn traded(&self, symbol: &Symbol) -> Result<&Arc<Instrument>, &'static str> {
        match self.get(symbol) {
            None => Err("the exchange does not list it"),
            Some(instrument) if !instrument.active => {
                Err("the exchange lists it, but does not trade it now, or only under another symbol")
            }
            Some(instrument) => Ok(instrument),
        }
    }
}

/// Reads the listing again whenever it is old, for ever, and hands each new one to `listed`.
pub async fn keep(
    exchange: &'static dyn Exchange,
    rest: Arc<RestClient>,
    store: Arc<dyn CandleStore>,
    clock: Clock,
    read_every: Duration,
    listed: watch::Sender<Arc<Listed>>,
) {
    loop {
        let Listed { read_at, stored, .. } = **listed.borrow();
        let read_every = if stored { read_every } else { TRY_AGAIN };
        // A listing that came from the store, or that could not be read just now, is tried again soon.
        clock.sleep_until((read_at + read_every).max(clock.now() + TRY_AGAIN.min(read_every))).await;
        match fetch(exchange, &rest, &*store, &clock).await {
            Ok(Ok(new)) => drop(listed.send_replace(Arc::new(new))),
            Ok(Err(error)) => ListingFailed { exchange: exchange.id(), error: &error, older_serves: true }.emit(),
            Err(error) => ListingFailed { exchange: exchange.id(), error: &error, older_serves: true }.emit(),
        }
    }
}

/// Reads the listing from the exchange and keeps it in the store.
async fn fetch(
    exchange: &'static dyn Exchange,
    rest: &RestClient,
    store: &dyn CandleStore,
    clock: &Clock,
) -> Result<Result<Listed, UpstreamError>, StoreError> {
    let instruments = match rest.call(&exchange.instruments()).await {
        Ok(instruments) => instruments,
        Err(error) => return Ok(Err(error)),
    };
    if instruments.is_empty() {
        // An exchange that lists nothing is in trouble; what it listed before is not gone for that.
        let error = ReplyError::new(ReplyErrorKind::Unavailable, "its listing is empty");
        return Ok(Err(UpstreamError::Reply { exchange: exchange.id(), error }));
    }
    let now = clock.now();
    ListingRead { exchange: exchange.id(), instruments: instruments.len() }.emit();
    // Live data do not wait for the store: it gets the listing when it is back.
    let stored = store.put_instruments(exchange.id(), &instruments, now).await;
    if let Err(error) = &stored {
        ListingFailed { exchange: exchange.id(), error, older_serves: true }.emit();
    }
    let all = store.instruments(exchange.id()).await.unwrap_or_default().instruments;
    Ok(Ok(Listed::new(instruments, all, now, stored.is_ok())))
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
    let error = match fetch(exchange, rest, store, clock).await? {
        Ok(listed) => return Ok(Ok(listed)),
        Err(error) => error,
    };
    let older = store.instruments(exchange.id()).await?;
    let older_serves = !older.instruments.is_empty();
    ListingFailed { exchange: exchange.id(), error: &error, older_serves }.emit();
    Ok(if older_serves { Ok(Listed::new(older.instruments, Vec::new(), older.read_at, true)) } else { Err(error) })
}
