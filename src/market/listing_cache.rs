//! Listings of all exchanges in memory, reloaded from the store when a collector reports a new one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::model::{ExchangeId, Instrument, Symbol, Timestamp};
use crate::store::{InstrumentStore, StoreError};

/// The listing of one exchange, delisted instruments included, indexed by symbol and id.
#[derive(Debug, Default)]
pub struct ListingIndex {
    by_symbol: HashMap<Symbol, Arc<Instrument>>,
    by_native: HashMap<String, Arc<Instrument>>,
    /// By symbol, ascending.
    pub all: Vec<Arc<Instrument>>,
}

impl ListingIndex {
    fn new(mut instruments: Vec<Instrument>) -> Self {
        instruments.sort_by(|a, b| a.symbol.cmp(&b.symbol));
        let mut listing = Self::default();
        for instrument in instruments.into_iter().map(Arc::new) {
            match listing.by_native.entry(instrument.native.to_uppercase()) {
                Entry::Vacant(entry) => drop(entry.insert(Arc::clone(&instrument))),
                Entry::Occupied(mut entry) if takes_id(&instrument, entry.get()) => {
                    entry.insert(Arc::clone(&instrument));
                }
                Entry::Occupied(_) => {}
            }
            listing.by_symbol.insert(instrument.symbol.clone(), Arc::clone(&instrument));
            listing.all.push(instrument);
        }
        // The stream may use the id of one market for several markets.
        for instrument in &listing.all {
            let name = instrument.stream_name().to_uppercase();
            listing.by_native.entry(name).or_insert_with(|| Arc::clone(instrument));
        }
        listing
    }

    /// Finds an instrument by its symbol, otherwise by the exchange's own id, case-insensitively.
    pub fn find(&self, symbol: Option<&Symbol>, text: &str) -> Option<&Arc<Instrument>> {
        symbol.and_then(|symbol| self.by_symbol.get(symbol)).or_else(|| self.by_native.get(&text.to_uppercase()))
    }

    /// Up to five symbols that are similar to the text.
    pub fn similar(&self, text: &str) -> Vec<&str> {
        similar_symbols(self.all.iter().map(|instrument| &instrument.symbol), text)
    }
}

/// Whether an id belongs to `new` rather than to `old`: an id that was reused belongs to the listed instrument, and an
/// id of markets of several kinds, such as `BTCUSDT`, to the spot market.
fn takes_id(new: &Instrument, old: &Instrument) -> bool {
    let rank = |one: &Instrument| (one.is_delisted(), one.kind());
    rank(new) < rank(old) || (rank(new) == rank(old) && !new.is_delisted())
}

/// Up to five of `symbols` that are similar to the text, most similar first.
#[must_use]
pub fn similar_symbols<'a>(symbols: impl Iterator<Item = &'a Symbol>, text: &str) -> Vec<&'a str> {
    let target: String = text.to_uppercase().chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let mut letters = String::new();
    let mut similar_with_distance: Vec<(usize, &str)> = symbols
        .map(Symbol::as_str)
        .filter_map(|symbol| {
            letters.clear();
            letters.extend(symbol.chars().filter(|letter| !['/', ':', '-'].contains(letter)));
            let same_base = symbol.split('/').next() == target.get(..3);
            distance(&target, &letters).or(same_base.then_some(MAX_DISTANCE + 1)).map(|distance| (distance, symbol))
        })
        .collect();
    similar_with_distance.sort_unstable();
    similar_with_distance.into_iter().take(5).map(|(_, symbol)| symbol).collect()
}

/// Maximum edit distance of a similar symbol.
const MAX_DISTANCE: usize = 2;

/// The edit (Levenshtein) distance; `None` if more than [`MAX_DISTANCE`].
fn distance(a: &str, b: &str) -> Option<usize> {
    // The difference in length is a lower bound, and cheap.
    if a.len().abs_diff(b.len()) > MAX_DISTANCE {
        return None;
    }
    Some(strsim::levenshtein(a, b)).filter(|distance| *distance <= MAX_DISTANCE)
}

/// Identifies a listing of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    simulated: bool,
    read_at: Timestamp,
}

/// The listings of all exchanges.
#[derive(Default)]
pub struct ListingCache {
    cached: RwLock<HashMap<ExchangeId, (Version, Arc<ListingIndex>)>>,
    /// Allows one load at a time; concurrent callers wait and then use its result.
    load_lock: tokio::sync::Mutex<()>,
}

impl ListingCache {
    /// The listing that the exchange's collector read at `read_at`.
    ///
    /// # Errors
    /// [`StoreError`] if loading from the store fails and no older listing is cached.
    pub async fn get(
        &self,
        exchange: ExchangeId,
        store: &dyn InstrumentStore,
        simulated: bool,
        read_at: Timestamp,
    ) -> Result<Arc<ListingIndex>, StoreError> {
        let version = Version { simulated, read_at };
        if let Some(listing) = self.cached(exchange, version) {
            return Ok(listing);
        }
        let _guard = self.load_lock.lock().await;
        if let Some(listing) = self.cached(exchange, version) {
            return Ok(listing);
        }
        let loaded = match store.instruments(exchange).await {
            Ok(loaded) => loaded,
            // The previous listing is used until the store is available again.
            Err(error) => {
                let all = self.cached.read();
                let older = all.get(&exchange).filter(|(cached, _)| cached.simulated == simulated);
                return older.map(|(_, listing)| Arc::clone(listing)).ok_or(error);
            }
        };
        // Sorting thousands of entries would block a thread that serves connections.
        let sorted = tokio::task::spawn_blocking(|| Arc::new(ListingIndex::new(loaded.instruments))).await;
        let listing = sorted.map_err(|error| StoreError::Corrupt(format!("a listing could not be sorted: {error}")))?;
        self.cached.write().insert(exchange, (version, Arc::clone(&listing)));
        Ok(listing)
    }

    fn cached(&self, exchange: ExchangeId, version: Version) -> Option<Arc<ListingIndex>> {
        let all = self.cached.read();
        all.get(&exchange).filter(|(cached, _)| *cached == version).map(|(_, listing)| Arc::clone(listing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InstrumentStatus;

    fn listing() -> ListingIndex {
        let instrument = |symbol: &str, native: &str| Instrument {
            stream_native: Some(symbol.to_owned()),
            ..Instrument::new(ExchangeId::KRAKEN, symbol.parse().unwrap(), native)
        };
        ListingIndex::new(vec![
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
    fn id_of_several_kinds_belongs_to_spot_market() {
        let instrument = |symbol: &str| Instrument::new(ExchangeId::BINANCE, symbol.parse().unwrap(), "BTCUSDT");
        let listing = ListingIndex::new(vec![instrument("BTC/USDT:USDT"), instrument("BTC/USDT")]);
        for (text, found) in [
            ("BTCUSDT", "BTC/USDT"),
            ("btc-usdt", "BTC/USDT"),
            ("btc-usdt:usdt", "BTC/USDT:USDT"),
            ("BTC/USDT:USDT", "BTC/USDT:USDT"),
        ] {
            assert_eq!(listing.find(text.parse().ok().as_ref(), text).unwrap().symbol.as_str(), found, "{text}");
        }
        let spot = Instrument { status: InstrumentStatus::Delisted, ..instrument("BTC/USDT") };
        let listing = ListingIndex::new(vec![instrument("BTC/USDT:USDT"), spot]);
        assert_eq!(listing.find(None, "BTCUSDT").unwrap().symbol.as_str(), "BTC/USDT:USDT", "listed before delisted");
    }

    #[test]
    fn reused_id_belongs_to_listed_instrument() {
        let mut all: Vec<Instrument> = listing().all.iter().map(|one| (**one).clone()).collect();
        all[0].status = InstrumentStatus::Delisted;
        for symbol in ["AAA/USDT", "ZZZ/USDT"] {
            let status = if symbol < "B" { InstrumentStatus::Halted } else { InstrumentStatus::Delisted };
            all.push(Instrument { symbol: symbol.parse().unwrap(), status, ..all[0].clone() });
        }
        let listing = ListingIndex::new(all);
        assert_eq!(listing.find(None, "XXBTZEUR").unwrap().symbol.as_str(), "AAA/USDT");
        assert!(listing.find("BTC/EUR".parse().ok().as_ref(), "").unwrap().is_delisted(), "found by its own symbol");
    }

    #[test]
    fn suggests_similar_symbols() {
        let listing = listing();
        assert_eq!(listing.similar("BTC/USD")[0], "BTC/USDT");
        assert!(listing.similar("BTC/USD").contains(&"BTC/EUR"));
        assert_eq!(listing.similar("ETH-USTD"), ["ETH/USDT"]);
        assert!(listing.similar("SHIB/TRY").is_empty() && listing.similar("").is_empty());
    }
}
