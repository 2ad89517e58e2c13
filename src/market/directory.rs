//! The listings of all exchanges in memory, read again from the store when a collector says that there is a new one.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::model::{ExchangeId, Instrument, Symbol, Timestamp};
use crate::store::{CandleStore, StoreError};

/// One exchange's listing, with what was listed once and is not any more.
#[derive(Debug, Default)]
pub struct Listing {
    by_symbol: HashMap<Symbol, Arc<Instrument>>,
    by_native: HashMap<String, Arc<Instrument>>,
    /// By symbol, ascending.
    pub all: Vec<Arc<Instrument>>,
}

impl Listing {
    fn new(mut instruments: Vec<Instrument>) -> Self {
        instruments.sort_by(|a, b| a.symbol.cmp(&b.symbol));
        let mut listing = Self::default();
        for instrument in instruments.into_iter().map(Arc::new) {
            let native = instrument.native.to_uppercase();
            // An id belongs to what is listed under it now, not to what was.
            if !instrument.is_delisted() || !listing.by_native.contains_key(&native) {
                listing.by_native.insert(native, Arc::clone(&instrument));
            }
            listing.by_symbol.insert(instrument.symbol.clone(), Arc::clone(&instrument));
            listing.all.push(instrument);
        }
        // The stream may know several markets by the id of one of them.
        for instrument in &listing.all {
            let name = instrument.stream_name().to_uppercase();
            listing.by_native.entry(name).or_insert_with(|| Arc::clone(instrument));
        }
        listing
    }

    /// Finds an instrument by its symbol, or else by the exchange's own id in any case.
    pub fn find(&self, symbol: Option<&Symbol>, text: &str) -> Option<&Arc<Instrument>> {
        symbol.and_then(|symbol| self.by_symbol.get(symbol)).or_else(|| self.by_native.get(&text.to_uppercase()))
    }

    /// Up to five symbols that may have been meant.
    pub fn near(&self, text: &str) -> Vec<&str> {
        near(self.all.iter().map(|instrument| &instrument.symbol), text)
    }
}

/// Up to five of `symbols` that may have been meant by a text that is none of them.
#[must_use]
pub fn near<'a>(symbols: impl Iterator<Item = &'a Symbol>, text: &str) -> Vec<&'a str> {
    let wanted: String = text.to_uppercase().chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let (mut letters, mut row) = (Vec::new(), Vec::new());
    let mut near: Vec<(usize, &str)> = symbols
        .map(Symbol::as_str)
        .filter_map(|symbol| {
            letters.clear();
            letters.extend(symbol.bytes().filter(|byte| *byte != b'/'));
            let same_base = symbol.split('/').next() == wanted.get(..3);
            let distance = distance(wanted.as_bytes(), &letters, &mut row);
            distance.or(same_base.then_some(FAR + 1)).map(|distance| (distance, symbol))
        })
        .collect();
    near.sort_unstable();
    near.into_iter().take(5).map(|(_, symbol)| symbol).collect()
}

/// A symbol of which more letters must change was not meant.
const FAR: usize = 2;

/// How many letters must change to make one text of the other; `None` if more than [`FAR`]. `row` is used again and again.
fn distance(a: &[u8], b: &[u8], row: &mut Vec<usize>) -> Option<usize> {
    if a.len().abs_diff(b.len()) > FAR {
        return None;
    }
    row.clear();
    row.extend(0..=b.len());
    for (i, from) in a.iter().enumerate() {
        let mut corner = i;
        let mut least = i + 1;
        row[0] = least;
        for (j, to) in b.iter().enumerate() {
            let change = corner + usize::from(from != to);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
            least = least.min(row[j + 1]);
        }
        // It never becomes less.
        if least > FAR {
            return None;
        }
    }
    row.last().copied().filter(|distance| *distance <= FAR)
}

/// Which listing of an exchange is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    simulated: bool,
    read_at: Timestamp,
}

/// All listings.
#[derive(Default)]
pub struct Directory {
    known: RwLock<HashMap<ExchangeId, (Version, Arc<Listing>)>>,
    /// One reads from the store; who asks for the same waits for it.
    reading: tokio::sync::Mutex<()>,
}

impl Directory {
    /// The listing that the exchange's collector read at `read_at`.
    ///
    /// # Errors
    /// [`StoreError`] if it must be read from the store and that fails.
    pub async fn get(
        &self,
        exchange: ExchangeId,
        store: &dyn CandleStore,
        simulated: bool,
        read_at: Timestamp,
    ) -> Result<Arc<Listing>, StoreError> {
        let version = Version { simulated, read_at };
        if let Some(listing) = self.known(exchange, version) {
            return Ok(listing);
        }
        let _reading = self.reading.lock().await;
        if let Some(listing) = self.known(exchange, version) {
            return Ok(listing);
        }
        let read = match store.instruments(exchange).await {
            Ok(read) => read,
            // The one before serves until the store is back.
            Err(error) => {
                let all = self.known.read();
                let older = all.get(&exchange).filter(|(known, _)| known.simulated == simulated);
                return older.map(|(_, listing)| Arc::clone(listing)).ok_or(error);
            }
        };
        // Thousands of entries are sorted apart from the threads that serve connections.
        let sorted = tokio::task::spawn_blocking(|| Arc::new(Listing::new(read.instruments))).await;
        let listing = sorted.map_err(|error| StoreError::Corrupt(format!("a listing could not be sorted: {error}")))?;
        self.known.write().insert(exchange, (version, Arc::clone(&listing)));
        Ok(listing)
    }

    fn known(&self, exchange: ExchangeId, version: Version) -> Option<Arc<Listing>> {
        let all = self.known.read();
        all.get(&exchange).filter(|(known, _)| *known == version).map(|(_, listing)| Arc::clone(listing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InstrumentStatus;

    fn listing() -> Listing {
        let instrument = |symbol: &str, native: &str| Instrument {
            exchange: ExchangeId::Kraken,
            symbol: symbol.parse().unwrap(),
            native: native.to_owned(),
            stream_native: Some(symbol.to_owned()),
            price_step: None,
            amount_step: None,
            status: InstrumentStatus::Trading,
        };
        Listing::new(vec![
            instrument("BTC/USDT", "XBTUSDT"),
            instrument("BTC/EUR", "XXBTZEUR"),
            instrument("ETH/USDT", "ETHUSDT"),
        ])
    }

    #[test]
    fn finds_by_symbol_and_by_native_id() {
        let listing = listing();
        for text in ["BTC/USDT", "btc-usdt", "BTC_usdt", "xbtusdt", "XBTUSDT"] {
            assert_eq!(listing.find(text.parse().ok().as_ref(), text).unwrap().symbol.as_str(), "BTC/USDT", "{text}");
        }
        assert!(listing.find(None, "BTC").is_none());
    }

    #[test]
    fn an_id_belongs_to_what_is_traded_under_it_now() {
        let mut all: Vec<Instrument> = listing().all.iter().map(|one| (**one).clone()).collect();
        all[0].status = InstrumentStatus::Delisted;
        for symbol in ["AAA/USDT", "ZZZ/USDT"] {
            let status = if symbol < "B" { InstrumentStatus::Halted } else { InstrumentStatus::Delisted };
            all.push(Instrument { symbol: symbol.parse().unwrap(), status, ..all[0].clone() });
        }
        let listing = Listing::new(all);
        assert_eq!(listing.find(None, "XXBTZEUR").unwrap().symbol.as_str(), "AAA/USDT");
        assert!(listing.find("BTC/EUR".parse().ok().as_ref(), "").unwrap().is_delisted(), "found by its own symbol");
    }

    #[test]
    fn names_what_may_have_been_meant() {
        let listing = listing();
        assert_eq!(listing.near("BTC/USD")[0], "BTC/USDT");
        assert!(listing.near("BTC/USD").contains(&"BTC/EUR"));
        assert_eq!(listing.near("ETH-USTD"), ["ETH/USDT"]);
        assert!(listing.near("SHIB/TRY").is_empty() && listing.near("").is_empty());
    }
}
