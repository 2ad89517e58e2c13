//! What an exchange lists: read at the start and again when it is old, kept in the store, looked up by symbol.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::exchanges::{Exchange, Listing, OddRow, ReplyError, ReplyErrorKind};
use crate::model::{Instrument, Symbol, Timestamp};
use crate::store::{CandleStore, StoreError};
use crate::telemetry::collect::{ListingFailed, ListingRead};
use crate::telemetry::listing::{ListingDoubted, OddRowSeen, OddRows};
use crate::upstream::{RestClient, UpstreamError};

/// How long to wait after a listing could not be read, or was not used.
const TRY_AGAIN: Duration = Duration::from_mins(5);

/// A listing that lost most of its markets at once is used when one that was read so much later has lost them, too: an
/// exchange in maintenance lists everything as halted, or next to nothing.
const CONFIRMED_AFTER: Duration = Duration::from_mins(10);

/// How many odd rows are remembered as told.
const TOLD_ROWS: usize = 10_000;

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

    /// The instrument, if it is traded, or halted for a time; else why not.
    pub fn traded(&self, symbol: &Symbol) -> Result<&Arc<Instrument>, &'static str> {
        match self.get(symbol) {
            None => Err("the exchange does not list it"),
            Some(instrument) if instrument.is_delisted() => Err("the exchange has delisted it"),
            Some(instrument) => Ok(instrument),
        }
    }
}

/// Why a listing that was asked for is not used.
enum Unused {
    Failed(UpstreamError),
    /// It lost most of its markets at once.
    Doubted,
}

/// Reads the listing of an exchange.
pub struct Reader {
    pub exchange: &'static dyn Exchange,
    pub rest: Arc<RestClient>,
    pub store: Arc<dyn CandleStore>,
    pub clock: Clock,
    /// Since when readings have lost most of the markets.
    doubted_since: Option<Timestamp>,
    /// Odd rows that were told, by name.
    told: HashSet<String>,
}

impl Reader {
    pub fn new(
        exchange: &'static dyn Exchange,
        rest: Arc<RestClient>,
        store: Arc<dyn CandleStore>,
        clock: Clock,
    ) -> Self {
        Self { exchange, rest, store, clock, doubted_since: None, told: HashSet::new() }
    }

    /// Reads the listing again whenever it is old, for ever, and hands each new one to `listed`.
    pub async fn keep(mut self, read_every: Duration, listed: watch::Sender<Arc<Listed>>) {
        loop {
            let before = Arc::clone(&listed.borrow());
            let every = if before.stored { read_every } else { TRY_AGAIN };
            // A listing that came from the store, or that could not be read just now, is tried again soon.
            let soon = self.clock.now() + TRY_AGAIN.min(every);
            self.clock.sleep_until((before.read_at + every).max(soon)).await;
            match self.fetch(&before.by_symbol).await {
                Ok(new) => drop(listed.send_replace(Arc::new(new))),
                Err(Unused::Failed(error)) => self.failed(&error, true),
                Err(Unused::Doubted) => {}
            }
        }
    }

    /// Reads the listing from the exchange and keeps it in the store. Where the exchange does not answer, or lost most of
    /// its markets, the one that the store has serves; `Err` in `Ok` where there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn first(&mut self) -> Result<Result<Listed, UpstreamError>, StoreError> {
        // What the store cannot tell now does not keep the exchange's own listing away.
        let older = self.store.instruments(self.exchange.id()).await;
        let known = older.as_ref().map(|older| by_symbol(older.instruments.clone())).unwrap_or_default();
        let unused = match self.fetch(&known).await {
            Ok(listed) => return Ok(Ok(listed)),
            Err(unused) => unused,
        };
        let older = older?;
        let older_serves = !older.instruments.is_empty();
        if let Unused::Failed(error) = unused {
            self.failed(&error, older_serves);
            if !older_serves {
                return Ok(Err(error));
            }
        }
        Ok(Ok(Listed::new(older.instruments, Vec::new(), older.read_at, true)))
    }

    fn failed(&self, error: &dyn std::fmt::Display, older_serves: bool) {
        ListingFailed { exchange: self.exchange.id(), error, older_serves }.emit();
    }

    /// Reads the listing from the exchange and keeps it in the store.
    async fn fetch(&mut self, before: &HashMap<Symbol, Arc<Instrument>>) -> Result<Listed, Unused> {
        let exchange = self.exchange.id();
        let mut read = self.rest.call(&self.exchange.instruments()).await.map_err(Unused::Failed)?;
        if read.is_empty() {
            // An exchange that lists nothing is in trouble; what it listed before is not gone for that.
            let error = ReplyError::new(ReplyErrorKind::Unavailable, "its listing is empty");
            return Err(Unused::Failed(UpstreamError::Reply { exchange, error }));
        }
        let now = self.clock.now();
        self.tell_odd_rows(&read.odd);
        keep_unreadable(&mut read, before);
        self.check(&read, before, now)?;
        let instruments = read.instruments;
        ListingRead { exchange, instruments: instruments.len() }.emit();
        // Live data do not wait for the store: it gets the listing when it is back.
        let stored = self.store.put_instruments(exchange, &instruments, now).await;
        if let Err(error) = &stored {
            self.failed(error, true);
        }
        let all = self.store.instruments(exchange).await.unwrap_or_default().instruments;
        Ok(Listed::new(instruments, all, now, stored.is_ok()))
    }

    /// Whether a listing can be used: it has not lost most of the markets, or has for some time.
    fn check(
        &mut self,
        read: &Listing,
        before: &HashMap<Symbol, Arc<Instrument>>,
        now: Timestamp,
    ) -> Result<(), Unused> {
        let (lost, trading) = lost(read, before.values());
        if lost * 2 <= trading {
            self.doubted_since = None;
            return Ok(());
        }
        let since = *self.doubted_since.get_or_insert(now);
        if now.since(since) >= CONFIRMED_AFTER {
            self.doubted_since = None;
            return Ok(());
        }
        ListingDoubted { exchange: self.exchange.id(), lost, trading }.emit();
        Err(Unused::Doubted)
    }

    fn tell_odd_rows(&mut self, odd: &[OddRow]) {
        let exchange = self.exchange.id();
        for OddRow { name, reason, left_out, .. } in odd {
            if self.told.len() < TOLD_ROWS && self.told.insert(name.clone()) {
                OddRowSeen { exchange, name, reason, left_out: *left_out }.emit();
            }
        }
        let left_out = odd.iter().filter(|row| row.left_out).count();
        OddRows { exchange, left_out, without_step: odd.len() - left_out }.emit();
    }
}

fn by_symbol(instruments: Vec<Instrument>) -> HashMap<Symbol, Arc<Instrument>> {
    instruments.into_iter().map(|one| (one.symbol.clone(), Arc::new(one))).collect()
}

/// A market whose row cannot be read is listed all the same: it stays as it was. A row without a name may be of any market
/// that is missing.
fn keep_unreadable(read: &mut Listing, before: &HashMap<Symbol, Arc<Instrument>>) {
    let unreadable: HashSet<&str> = read.odd.iter().filter(|row| row.left_out).map(|row| &*row.name).collect();
    if unreadable.is_empty() {
        return;
    }
    let any = read.odd.iter().any(|row| row.left_out && !row.is_named);
    let readable: HashSet<&str> = read.instruments.iter().map(|one| &*one.native).collect();
    let kept = before.values().filter(|one| {
        !one.is_delisted() && (any || unreadable.contains(&*one.native)) && !readable.contains(&*one.native)
    });
    let kept: Vec<Instrument> = kept.map(|one| (**one).clone()).collect();
    read.instruments.extend(kept);
}

/// How many markets that traded before do not any more, and how many traded.
fn lost<'a>(read: &Listing, before: impl Iterator<Item = &'a Arc<Instrument>>) -> (usize, usize) {
    let trading: HashSet<&str> = read.iter().filter(|one| one.is_trading()).map(|one| &*one.native).collect();
    before
        .filter(|one| one.is_trading())
        .fold((0, 0), |(lost, all), one| (lost + usize::from(!trading.contains(&*one.native)), all + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ExchangeId, InstrumentStatus};

    fn market(native: &str, status: InstrumentStatus) -> Instrument {
        Instrument {
            exchange: ExchangeId::Binance,
            symbol: format!("{native}/USDT").parse().unwrap(),
            native: native.to_owned(),
            stream_native: None,
            price_step: None,
            amount_step: None,
            status,
        }
    }

    #[test]
    fn what_traded_and_does_not_any_more_is_lost() {
        use InstrumentStatus::{Delisted, Halted, Trading};
        let before = [("A", Trading), ("B", Trading), ("C", Trading), ("D", Halted), ("E", Delisted)];
        let before = by_symbol(before.map(|(native, status)| market(native, status)).into());
        for (now, expected) in [
            (vec![("A", Trading), ("B", Trading), ("C", Trading)], 0),
            (vec![("A", Trading), ("B", Halted)], 2),
            (vec![("D", Trading), ("E", Trading), ("F", Trading)], 3),
        ] {
            let instruments = now.into_iter().map(|(native, status)| market(native, status)).collect();
            let read = Listing { instruments, odd: Vec::new() };
            assert_eq!(lost(&read, before.values()), (expected, 3));
        }
    }

    #[test]
    fn a_market_whose_row_cannot_be_read_stays_as_it_was() {
        let before = by_symbol(vec![
            market("A", InstrumentStatus::Halted),
            market("B", InstrumentStatus::Trading),
            market("C", InstrumentStatus::Delisted),
        ]);
        let odd = |name: &str, is_named| OddRow { name: name.into(), reason: String::new(), left_out: true, is_named };
        for odd in [vec![odd("A", true), odd("C", true), odd("NEW", true)], vec![odd("row 1", false)]] {
            let mut read = Listing { instruments: vec![market("B", InstrumentStatus::Trading)], odd };
            keep_unreadable(&mut read, &before);
            let kept: Vec<_> = read.iter().map(|one| (&*one.native, one.status)).collect();
            assert_eq!(kept, [("B", InstrumentStatus::Trading), ("A", InstrumentStatus::Halted)]);
        }
    }
}
