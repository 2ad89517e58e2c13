//! Which markets a connection listens to, by the exchange's own id.

use std::collections::HashMap;

use super::Subscription;
use crate::model::{Channel, Symbol};

/// How many markets a session remembers that takes frames of any.
const GUESSED_MARKETS: usize = 20_000;

/// The markets of one session, each with what the session keeps of it.
pub(super) struct Markets<S> {
    by_native: HashMap<Box<str>, Market<S>>,
    /// Set where the session takes frames of any market: reads a symbol from an id.
    guess: Option<fn(&str) -> Option<Symbol>>,
}

/// One market of a session.
pub(super) struct Market<S> {
    pub symbol: Symbol,
    wanted: [bool; Channel::ALL.len()],
    /// Further symbols of the same order book, which the stream knows by one id only: Coinbase's aliases.
    aliases: Vec<(Symbol, [bool; Channel::ALL.len()])>,
    pub state: S,
}

impl<S> Market<S> {
    /// All symbols of the book whose channel is listened to.
    pub fn symbols(&self, channel: Channel) -> impl Iterator<Item = &Symbol> {
        let own = self.wanted[channel as usize].then_some(&self.symbol);
        own.into_iter()
            .chain(self.aliases.iter().filter(move |(_, wanted)| wanted[channel as usize]).map(|(one, _)| one))
    }

    fn listens(&self, channel: Channel) -> bool {
        self.symbols(channel).next().is_some()
    }

    fn wanted(&mut self, symbol: &Symbol) -> Option<&mut [bool; Channel::ALL.len()]> {
        if self.symbol == *symbol {
            return Some(&mut self.wanted);
        }
        self.aliases.iter_mut().find(|(alias, _)| alias == symbol).map(|(_, wanted)| wanted)
    }
}

impl<S: Default> Markets<S> {
    /// The markets of known subscriptions.
    pub fn listed(subscriptions: &[Subscription]) -> Self {
        let mut markets = Self { by_native: HashMap::new(), guess: None };
        for subscription in subscriptions {
            markets.add(subscription);
        }
        markets
    }

    /// Any market.
    pub fn guessed(guess: fn(&str) -> Option<Symbol>) -> Self {
        Self { by_native: HashMap::new(), guess: Some(guess) }
    }

    /// Whether this takes frames of any market.
    pub fn is_guessing(&self) -> bool {
        self.guess.is_some()
    }

    /// The market with an id, if its channel is listened to.
    pub fn get(&mut self, native: &str, channel: Channel) -> Option<&mut Market<S>> {
        if let Some(guess) = self.guess
            && !self.by_native.contains_key(native)
        {
            let (symbol, wanted) = (guess(native)?, [true; 3]);
            let market = Market { symbol, wanted, aliases: Vec::new(), state: S::default() };
            if self.by_native.len() >= GUESSED_MARKETS {
                self.by_native.clear();
            }
            self.by_native.insert(native.into(), market);
        }
        self.by_native.get_mut(native).filter(|market| market.listens(channel))
    }

    /// Listens to one more; says whether that is new.
    pub fn add(&mut self, subscription: &Subscription) -> bool {
        let (instrument, channel) = (&subscription.instrument, subscription.channel);
        let market = self.by_native.entry(instrument.stream_name().into()).or_insert_with(|| Market {
            symbol: instrument.symbol.clone(),
            wanted: [false; 3],
            aliases: Vec::new(),
            state: S::default(),
        });
        if let Some(wanted) = market.wanted(&instrument.symbol) {
            return !std::mem::replace(&mut wanted[channel as usize], true);
        }
        let mut wanted = [false; 3];
        wanted[channel as usize] = true;
        market.aliases.push((instrument.symbol.clone(), wanted));
        true
    }

    /// Listens to one no more; says whether it did.
    pub fn remove(&mut self, subscription: &Subscription) -> bool {
        let native = subscription.instrument.stream_name();
        let Some(market) = self.by_native.get_mut(native) else { return false };
        let Some(wanted) = market.wanted(&subscription.instrument.symbol) else { return false };
        let had = std::mem::replace(&mut wanted[subscription.channel as usize], false);
        market.aliases.retain(|(_, wanted)| *wanted != [false; 3]);
        if market.wanted == [false; 3] {
            match market.aliases.pop() {
                Some((symbol, wanted)) => (market.symbol, market.wanted) = (symbol, wanted),
                None => drop(self.by_native.remove(native)),
            }
        }
        had
    }

    /// Whether this one is still listened to.
    pub fn wants(&self, subscription: &Subscription) -> bool {
        let market = self.by_native.get(subscription.instrument.stream_name());
        let mut symbols = market.into_iter().flat_map(|market| market.symbols(subscription.channel));
        symbols.any(|symbol| *symbol == subscription.instrument.symbol)
    }

    /// Whether a channel of an id is listened to, under whatever symbol.
    pub fn listens(&self, native: &str, channel: Channel) -> bool {
        self.by_native.get(native).is_some_and(|market| market.listens(channel))
    }
}

/// Assets that spot markets are quoted in, for ids that name both assets without anything between them, and where that is
/// so: B is Binance, K is Kraken, Y is Bybit. The longest that fits counts: `XRPRLUSD` is `XRP/RLUSD` and not `XRPRL/USD`.
///
/// A quote stands only where it is one: on Kraken `XBTUSD` is `BTC/USD`, on Binance `BTCTUSD` is `BTC/TUSD`, and `ADAEUR`
/// is `ADA/EUR`, since nothing is quoted in `AEUR`. Where a listing is at hand it decides; a test reads recorded ones.
const QUOTES: &[(&str, &str)] = &[
    ("FDUSD", "B"),
    ("RLUSD", "BKY"),
    ("PYUSD", "K"),
    ("USDT", "BKY"),
    ("USDC", "BKY"),
    ("BUSD", "B"),
    ("TUSD", "B"),
    ("USD1", "BY"),
    ("USDE", "Y"),
    ("USDS", "B"),
    ("USDP", "B"),
    ("USDG", "K"),
    ("USDQ", "KY"),
    ("USDR", "KY"),
    ("XUSD", "Y"),
    ("EURI", "B"),
    ("EURC", "K"),
    ("EURR", "K"),
    ("GYEN", "B"),
    ("BIDR", "B"),
    ("IDRT", "B"),
    ("BKRW", "B"),
    ("BVND", "B"),
    ("DOGE", "B"),
    ("USD", "BKY"),
    ("EUR", "BKY"),
    ("BTC", "BKY"),
    ("XBT", "K"),
    ("ETH", "BKY"),
    ("BNB", "B"),
    ("GBP", "BKY"),
    ("TRY", "BY"),
    ("BRL", "BY"),
    ("JPY", "BK"),
    ("AUD", "BK"),
    ("CAD", "K"),
    ("CHF", "K"),
    ("AED", "KY"),
    ("RUB", "B"),
    ("UAH", "B"),
    ("NGN", "B"),
    ("ZAR", "B"),
    ("PLN", "BY"),
    ("RON", "B"),
    ("ARS", "B"),
    ("MXN", "B"),
    ("COP", "B"),
    ("CZK", "B"),
    ("IDR", "B"),
    ("DAI", "BKY"),
    ("VAI", "B"),
    ("PAX", "B"),
    ("XRP", "B"),
    ("TRX", "B"),
    ("DOT", "BK"),
    ("SOL", "BKY"),
    ("UST", "B"),
    ("MNT", "Y"),
    ("U", "B"),
];

/// Splits an id such as `BTCUSDT` by the quote that it ends with, as the exchange's ids are made: `B`, `K` or `Y`.
pub(super) fn split_by_quote(native: &str, exchange: char) -> Option<(&str, &'static str)> {
    let quotes = QUOTES.iter().filter(|(_, exchanges)| exchanges.contains(exchange)).map(|(quote, _)| *quote);
    let (base, quote) = quotes
        .filter_map(|quote| Some((native.strip_suffix(quote)?, quote)))
        .filter(|(base, _)| !base.is_empty())
        .max_by_key(|(_, quote)| quote.len())?;
    Some((base, quote))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchanges::testing::every_channel;
    use crate::exchanges::testing::instrument;
    use crate::model::ExchangeId;

    #[test]
    fn one_id_of_the_stream_may_serve_several_symbols() {
        let usd = every_channel(instrument(ExchangeId::Coinbase, "BTC/USD", "BTC-USD", None));
        let usdc = every_channel(instrument(ExchangeId::Coinbase, "BTC/USDC", "BTC-USDC", Some("BTC-USD")));
        let mut markets: Markets<()> = Markets::listed(&usd);
        let symbols = |markets: &mut Markets<()>| -> Vec<String> {
            let market = markets.get("BTC-USD", Channel::Trades);
            market.map(|market| market.symbols(Channel::Trades).map(ToString::to_string).collect()).unwrap_or_default()
        };
        assert_eq!(symbols(&mut markets), ["BTC/USD"]);
        assert!(usdc.iter().all(|one| markets.add(one)) && !markets.add(&usdc[0]));
        assert_eq!(symbols(&mut markets), ["BTC/USD", "BTC/USDC"]);
        assert!(usd.iter().all(|one| markets.remove(one)) && !markets.remove(&usd[0]));
        assert_eq!(symbols(&mut markets), ["BTC/USDC"], "the other one goes on");
        assert!(!markets.wants(&usd[0]) && markets.wants(&usdc[0]) && markets.listens("BTC-USD", Channel::Ticker));
        assert!(usdc.iter().all(|one| markets.remove(one)));
        assert!(symbols(&mut markets).is_empty() && !markets.listens("BTC-USD", Channel::Trades));
    }

    #[test]
    fn every_quote_stands_once_and_where_it_is_used() {
        let mut seen = std::collections::HashSet::new();
        for (quote, exchanges) in QUOTES {
            assert!(seen.insert(quote), "{quote}");
            assert!(!exchanges.is_empty() && exchanges.chars().all(|one| "BKY".contains(one)), "{quote}");
        }
    }
}
