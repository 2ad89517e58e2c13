//! The listing of an exchange: read at start and refreshed, stored, and indexed by symbol.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::exchanges::{Exchange, Listing, ListingIssue, RestError, RestErrorKind};
use crate::model::{Instrument, MarketKind, Symbol, Timestamp};
use crate::store::{InstrumentStore, Listing as StoredListing, StoreError};
use crate::telemetry::collect::{ListingFailed, ListingRead};
use crate::telemetry::listing::{MalformedRow, MalformedRows, SuspiciousListing};
use crate::upstream::{RestClient, UpstreamError};

/// Time to the next attempt after a listing could not be read or was suspicious.
const RETRY_AFTER: Duration = Duration::from_mins(5);

/// A suspicious listing (most markets lost at once) is used if listings stay suspicious for this long: an exchange in
/// maintenance may list all markets as halted, or almost none.
const CONFIRM_AFTER: Duration = Duration::from_mins(10);

/// Maximum number of malformed rows that are remembered, to log each only once.
const MAX_LOGGED_ROWS: usize = 10_000;

/// The kind of the markets that collectors collect.
const KIND: MarketKind = MarketKind::Spot;

/// The instruments of an exchange by symbol.
#[derive(Debug)]
pub struct InstrumentIndex {
    by_symbol: HashMap<Symbol, Arc<Instrument>>,
    /// Instruments of past listings whose native id is not in the current one.
    formerly_listed: HashMap<Symbol, Arc<Instrument>>,
    /// When the listing was requested.
    pub read_at: Timestamp,
    /// Whether the store has this listing.
    pub stored: bool,
}

impl InstrumentIndex {
    /// Indexes the current listing; `all` are the instruments of all listings so far.
    fn new(listed: Vec<Instrument>, all: Vec<Instrument>, read_at: Timestamp, stored: bool) -> Self {
        let natives: HashSet<&str> = listed.iter().map(|instrument| &*instrument.native).collect();
        let mut formerly_listed = all;
        formerly_listed.retain(|instrument| !natives.contains(&*instrument.native));
        Self { formerly_listed: by_symbol(formerly_listed), by_symbol: by_symbol(listed), read_at, stored }
    }

    pub fn get(&self, symbol: &Symbol) -> Option<&Arc<Instrument>> {
        self.by_symbol.get(symbol)
    }

    /// The symbols of all instruments.
    pub fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.by_symbol.keys()
    }

    /// The instrument, also if it is no longer listed: the exchange may still have its history.
    pub fn get_including_former(&self, symbol: &Symbol) -> Option<&Arc<Instrument>> {
        self.get(symbol).or_else(|| self.formerly_listed.get(symbol))
    }

    /// The instrument, if it trades or is halted temporarily; otherwise the reason why it cannot be collected.
    pub fn collectable(&self, symbol: &Symbol) -> Result<&Arc<Instrument>, &'static str> {
        match self.get(symbol) {
            None => Err("the exchange does not list it"),
            Some(instrument) if instrument.is_delisted() => Err("the exchange has delisted it"),
            Some(instrument) => Ok(instrument),
        }
    }
}

/// Why a fetched listing is not used.
enum UnusableListing {
    Failed(UpstreamError),
    /// Most markets are missing or not trading.
    Suspicious,
}

/// Reads the listing of an exchange.
pub struct ListingReader {
    pub exchange: &'static dyn Exchange,
    pub rest: Arc<RestClient>,
    pub store: Arc<dyn InstrumentStore>,
    pub clock: Clock,
    /// When the first of the latest suspicious listings was read.
    suspicious_since: Option<Timestamp>,
    /// Names of malformed rows that were logged.
    logged_rows: HashSet<String>,
}

impl ListingReader {
    pub fn new(
        exchange: &'static dyn Exchange,
        rest: Arc<RestClient>,
        store: Arc<dyn InstrumentStore>,
        clock: Clock,
    ) -> Self {
        Self { exchange, rest, store, clock, suspicious_since: None, logged_rows: HashSet::new() }
    }

    /// Refreshes the listing every `read_every`, forever, and sends each new one to `index`.
    pub async fn run(mut self, read_every: Duration, index: watch::Sender<Arc<InstrumentIndex>>) {
        loop {
            let before = Arc::clone(&index.borrow());
            let every = if before.stored { read_every } else { RETRY_AFTER };
            // A listing from the store, or one that failed to refresh, is read again soon.
            let soon = self.clock.now() + RETRY_AFTER.min(every);
            self.clock.sleep_until((before.read_at + every).max(soon)).await;
            match self.fetch(&before.by_symbol).await {
                Ok(new) => drop(index.send_replace(Arc::new(new))),
                Err(UnusableListing::Failed(error)) => self.log_failure(&error, true),
                Err(UnusableListing::Suspicious) => {}
            }
        }
    }

    /// Reads the listing from the exchange and stores it. If that fails or the listing is suspicious, returns the
    /// stored one; `Ok(Err(_))` if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read_initial(&mut self) -> Result<Result<InstrumentIndex, UpstreamError>, StoreError> {
        // Without the stored listing the exchange's can still be used, so an error is handled only below.
        let stored = self.stored().await;
        let known = stored.as_ref().map(|stored| by_symbol(stored.instruments.clone())).unwrap_or_default();
        let unusable = match self.fetch(&known).await {
            Ok(listed) => return Ok(Ok(listed)),
            Err(unusable) => unusable,
        };
        let stored = stored?;
        let previous_in_use = !stored.instruments.is_empty();
        if let UnusableListing::Failed(error) = unusable {
            self.log_failure(&error, previous_in_use);
            if !previous_in_use {
                return Ok(Err(error));
            }
        }
        Ok(Ok(InstrumentIndex::new(stored.instruments, Vec::new(), stored.read_at, true)))
    }

    /// The stored listing of the collected kind.
    async fn stored(&self) -> Result<StoredListing, StoreError> {
        let mut stored = self.store.instruments(self.exchange.id()).await?;
        stored.instruments.retain(|instrument| instrument.kind() == KIND);
        Ok(stored)
    }

    fn log_failure(&self, error: &dyn std::fmt::Display, previous_in_use: bool) {
        ListingFailed { exchange: self.exchange.id(), error, previous_in_use }.emit();
    }

    /// Reads the listing from the exchange and stores it.
    async fn fetch(&mut self, before: &HashMap<Symbol, Arc<Instrument>>) -> Result<InstrumentIndex, UnusableListing> {
        let exchange = self.exchange.id();
        let mut read = self.rest.call(&self.exchange.instruments()).await.map_err(UnusableListing::Failed)?;
        if read.is_empty() {
            // An empty listing means trouble at the exchange, not that all markets are delisted.
            let error = RestError::new(RestErrorKind::Unavailable, "the listing is empty");
            return Err(UnusableListing::Failed(UpstreamError::ErrorResponse { exchange, error }));
        }
        let now = self.clock.now();
        self.log_issues(&read.issues);
        keep_unreadable_markets(&mut read, before);
        self.check_losses(&read, before, now)?;
        let instruments = read.instruments;
        ListingRead { exchange, instruments: instruments.len() }.emit();
        // Collection does not wait for the store: if this fails, the listing is read and stored again soon.
        let stored = self.store.put_instruments(exchange, KIND, &instruments, now).await;
        if let Err(error) = &stored {
            self.log_failure(error, true);
        }
        let all = self.stored().await.unwrap_or_default().instruments;
        Ok(InstrumentIndex::new(instruments, all, now, stored.is_ok()))
    }

    /// Accepts a listing that did not lose most of the markets, or when listings have lost them for [`CONFIRM_AFTER`].
    fn check_losses(
        &mut self,
        read: &Listing,
        before: &HashMap<Symbol, Arc<Instrument>>,
        now: Timestamp,
    ) -> Result<(), UnusableListing> {
        let (lost, trading) = count_lost(read, before.values());
        if lost * 2 <= trading {
            self.suspicious_since = None;
            return Ok(());
        }
        let since = *self.suspicious_since.get_or_insert(now);
        if now.since(since) >= CONFIRM_AFTER {
            self.suspicious_since = None;
            return Ok(());
        }
        SuspiciousListing { exchange: self.exchange.id(), lost, trading }.emit();
        Err(UnusableListing::Suspicious)
    }

    fn log_issues(&mut self, issues: &[ListingIssue]) {
        let exchange = self.exchange.id();
        for ListingIssue { name, reason, left_out, .. } in issues {
            if self.logged_rows.len() < MAX_LOGGED_ROWS && self.logged_rows.insert(name.clone()) {
                MalformedRow { exchange, name, reason, left_out: *left_out }.emit();
            }
        }
        let left_out = issues.iter().filter(|row| row.left_out).count();
        MalformedRows { exchange, left_out, without_step: issues.len() - left_out }.emit();
    }
}

fn by_symbol(instruments: Vec<Instrument>) -> HashMap<Symbol, Arc<Instrument>> {
    instruments.into_iter().map(|instrument| (instrument.symbol.clone(), Arc::new(instrument))).collect()
}

/// Keeps the previous instrument of each market whose row is unreadable. An unreadable row without an id may be any
/// missing market.
fn keep_unreadable_markets(read: &mut Listing, before: &HashMap<Symbol, Arc<Instrument>>) {
    let unreadable: HashSet<&str> = read.issues.iter().filter(|row| row.left_out).map(|row| &*row.name).collect();
    if unreadable.is_empty() {
        return;
    }
    let any = read.issues.iter().any(|row| row.left_out && !row.has_id);
    let readable: HashSet<&str> = read.instruments.iter().map(|instrument| &*instrument.native).collect();
    let kept = before.values().filter(|instrument| {
        !instrument.is_delisted()
            && (any || unreadable.contains(&*instrument.native))
            && !readable.contains(&*instrument.native)
    });
    let kept: Vec<Instrument> = kept.map(|instrument| (**instrument).clone()).collect();
    read.instruments.extend(kept);
}

/// Of the markets that traded before: how many no longer trade, and how many there are.
fn count_lost<'a>(read: &Listing, before: impl Iterator<Item = &'a Arc<Instrument>>) -> (usize, usize) {
    let trading: HashSet<&str> =
        read.iter().filter(|instrument| instrument.is_trading()).map(|instrument| &*instrument.native).collect();
    before
        .filter(|instrument| instrument.is_trading())
        .fold((0, 0), |(lost, all), instrument| (lost + usize::from(!trading.contains(&*instrument.native)), all + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ExchangeId, InstrumentStatus};

    fn market(native: &str, status: InstrumentStatus) -> Instrument {
        Instrument { status, ..Instrument::new(ExchangeId::BINANCE, format!("{native}/USDT").parse().unwrap(), native) }
    }

    #[test]
    fn markets_that_stopped_trading_count_as_lost() {
        use InstrumentStatus::{Delisted, Halted, Trading};
        let before = [("A", Trading), ("B", Trading), ("C", Trading), ("D", Halted), ("E", Delisted)];
        let before = by_symbol(before.map(|(native, status)| market(native, status)).into());
        for (now, expected) in [
            (vec![("A", Trading), ("B", Trading), ("C", Trading)], 0),
            (vec![("A", Trading), ("B", Halted)], 2),
            (vec![("D", Trading), ("E", Trading), ("F", Trading)], 3),
        ] {
            let instruments = now.into_iter().map(|(native, status)| market(native, status)).collect();
            let read = Listing { instruments, issues: Vec::new() };
            assert_eq!(count_lost(&read, before.values()), (expected, 3));
        }
    }

    #[test]
    fn unreadable_row_keeps_previous_instrument() {
        let before = by_symbol(vec![
            market("A", InstrumentStatus::Halted),
            market("B", InstrumentStatus::Trading),
            market("C", InstrumentStatus::Delisted),
        ]);
        let issue =
            |name: &str, has_id| ListingIssue { name: name.into(), reason: String::new(), left_out: true, has_id };
        for issues in [vec![issue("A", true), issue("C", true), issue("NEW", true)], vec![issue("row 1", false)]] {
            let mut read = Listing { instruments: vec![market("B", InstrumentStatus::Trading)], issues };
            keep_unreadable_markets(&mut read, &before);
            let kept: Vec<_> = read.iter().map(|instrument| (&*instrument.native, instrument.status)).collect();
            assert_eq!(kept, [("B", InstrumentStatus::Trading), ("A", InstrumentStatus::Halted)]);
        }
    }
}
