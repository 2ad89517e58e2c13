//! The markets of a connection, by native id, and their subscribed channels.

use std::collections::HashMap;

use super::feed::Subscription;
use crate::model::{Channel, Symbol};

/// Maximum number of markets of a session that accepts any market.
const MAX_GUESSED_MARKETS: usize = 20_000;

/// The markets of one session, each with its merged state.
pub(super) struct Markets<S> {
    by_native: HashMap<Box<str>, Market<S>>,
    /// Derives the symbol from a native id; set if the session accepts any market.
    guess_symbol: Option<fn(&str) -> Option<Symbol>>,
}

/// Whether each channel is subscribed, by [`Channel`].
type Channels = [bool; Channel::ALL.len()];

/// One market of a session.
pub(super) struct Market<S> {
    pub symbol: Symbol,
    channels: Channels,
    /// Other symbols of the same order book, which has only one id on the stream: aliases.
    aliases: Vec<(Symbol, Channels)>,
    pub state: S,
}

impl<S> Market<S> {
    /// All symbols of the order book that are subscribed to `channel`.
    pub fn symbols(&self, channel: Channel) -> impl Iterator<Item = &Symbol> {
        let own = self.channels[channel as usize].then_some(&self.symbol);
        own.into_iter()
            .chain(self.aliases.iter().filter(move |(_, channels)| channels[channel as usize]).map(|(one, _)| one))
    }

    fn has_channel(&self, channel: Channel) -> bool {
        self.symbols(channel).next().is_some()
    }

    fn channels_mut(&mut self, symbol: &Symbol) -> Option<&mut Channels> {
        if self.symbol == *symbol {
            return Some(&mut self.channels);
        }
        self.aliases.iter_mut().find(|(alias, _)| alias == symbol).map(|(_, channels)| channels)
    }
}

impl<S: Default> Markets<S> {
    /// The markets of `subscriptions`.
    pub fn subscribed(subscriptions: &[Subscription]) -> Self {
        let mut markets = Self { by_native: HashMap::new(), guess_symbol: None };
        for subscription in subscriptions {
            markets.add(subscription);
        }
        markets
    }

    /// Any market, with all channels.
    pub fn any(guess_symbol: fn(&str) -> Option<Symbol>) -> Self {
        Self { by_native: HashMap::new(), guess_symbol: Some(guess_symbol) }
    }

    /// Whether any market is accepted, without a subscription.
    pub fn accepts_any(&self) -> bool {
        self.guess_symbol.is_some()
    }

    /// The market with a native id, if `channel` is subscribed.
    pub fn get(&mut self, native: &str, channel: Channel) -> Option<&mut Market<S>> {
        if let Some(guess_symbol) = self.guess_symbol
            && !self.by_native.contains_key(native)
        {
            let (symbol, channels) = (guess_symbol(native)?, [true; 3]);
            let market = Market { symbol, channels, aliases: Vec::new(), state: S::default() };
            if self.by_native.len() >= MAX_GUESSED_MARKETS {
                self.by_native.clear();
            }
            self.by_native.insert(native.into(), market);
        }
        self.by_native.get_mut(native).filter(|market| market.has_channel(channel))
    }

    /// Adds a subscription; returns whether it is new.
    pub fn add(&mut self, subscription: &Subscription) -> bool {
        let (instrument, channel) = (&subscription.instrument, subscription.channel);
        let market = self.by_native.entry(instrument.stream_name().into()).or_insert_with(|| Market {
            symbol: instrument.symbol.clone(),
            channels: [false; 3],
            aliases: Vec::new(),
            state: S::default(),
        });
        if let Some(channels) = market.channels_mut(&instrument.symbol) {
            return !std::mem::replace(&mut channels[channel as usize], true);
        }
        let mut channels = [false; 3];
        channels[channel as usize] = true;
        market.aliases.push((instrument.symbol.clone(), channels));
        true
    }

    /// Removes a subscription; returns whether it existed.
    pub fn remove(&mut self, subscription: &Subscription) -> bool {
        let native = subscription.instrument.stream_name();
        let Some(market) = self.by_native.get_mut(native) else { return false };
        let Some(channels) = market.channels_mut(&subscription.instrument.symbol) else { return false };
        let existed = std::mem::replace(&mut channels[subscription.channel as usize], false);
        market.aliases.retain(|(_, channels)| *channels != [false; 3]);
        if market.channels == [false; 3] {
            match market.aliases.pop() {
                Some((symbol, channels)) => (market.symbol, market.channels) = (symbol, channels),
                None => drop(self.by_native.remove(native)),
            }
        }
        existed
    }

    /// Whether a subscription exists.
    pub fn is_subscribed(&self, subscription: &Subscription) -> bool {
        let market = self.by_native.get(subscription.instrument.stream_name());
        let mut symbols = market.into_iter().flat_map(|market| market.symbols(subscription.channel));
        symbols.any(|symbol| *symbol == subscription.instrument.symbol)
    }

    /// Whether a channel of a native id is subscribed, for any of its symbols.
    pub fn has_channel(&self, native: &str, channel: Channel) -> bool {
        self.by_native.get(native).is_some_and(|market| market.has_channel(channel))
    }
}

/// Splits a native id without a separator before its quote asset: `BTCUSDT`. The longest of `quotes` that matches counts:
/// `XRPRLUSD` is `XRP/RLUSD` and not `XRPRL/USD`.
pub(super) fn split_by_quote<'a>(native: &'a str, quotes: &[&'static str]) -> Option<(&'a str, &'static str)> {
    let (base, quote) = quotes
        .iter()
        .filter_map(|quote| Some((native.strip_suffix(quote)?, *quote)))
        .filter(|(base, _)| !base.is_empty())
        .max_by_key(|(_, quote)| quote.len())?;
    Some((base, quote))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchanges::testing::{all_channels, instrument};
    use crate::model::ExchangeId;

    #[test]
    fn aliases_share_stream_id() {
        let usd = all_channels(instrument(ExchangeId::KRAKEN, "BTC/USD", "BTC-USD", None));
        let usdc = all_channels(instrument(ExchangeId::KRAKEN, "BTC/USDC", "BTC-USDC", Some("BTC-USD")));
        let mut markets: Markets<()> = Markets::subscribed(&usd);
        let symbols = |markets: &mut Markets<()>| -> Vec<String> {
            let market = markets.get("BTC-USD", Channel::Trades);
            market.map(|market| market.symbols(Channel::Trades).map(ToString::to_string).collect()).unwrap_or_default()
        };
        assert_eq!(symbols(&mut markets), ["BTC/USD"]);
        assert!(usdc.iter().all(|one| markets.add(one)) && !markets.add(&usdc[0]));
        assert_eq!(symbols(&mut markets), ["BTC/USD", "BTC/USDC"]);
        assert!(usd.iter().all(|one| markets.remove(one)) && !markets.remove(&usd[0]));
        assert_eq!(symbols(&mut markets), ["BTC/USDC"], "the alias stays subscribed");
        assert!(
            !markets.is_subscribed(&usd[0])
                && markets.is_subscribed(&usdc[0])
                && markets.has_channel("BTC-USD", Channel::Ticker)
        );
        assert!(usdc.iter().all(|one| markets.remove(one)));
        assert!(symbols(&mut markets).is_empty() && !markets.has_channel("BTC-USD", Channel::Trades));
    }
}
