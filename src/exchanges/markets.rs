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
    pub state: S,
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
            let market = Market { symbol: guess(native)?, wanted: [true; 3], state: S::default() };
            if self.by_native.len() >= GUESSED_MARKETS {
                self.by_native.clear();
            }
            self.by_native.insert(native.into(), market);
        }
        self.by_native.get_mut(native).filter(|market| market.wanted[channel as usize])
    }

    /// Listens to one more; says whether that is new.
    pub fn add(&mut self, subscription: &Subscription) -> bool {
        let instrument = &subscription.instrument;
        let market = self.by_native.entry(instrument.stream_name().into()).or_insert_with(|| Market {
            symbol: instrument.symbol.clone(),
            wanted: [false; 3],
            state: S::default(),
        });
        !std::mem::replace(&mut market.wanted[subscription.channel as usize], true)
    }

    /// Listens to one no more; says whether it did.
    pub fn remove(&mut self, subscription: &Subscription) -> bool {
        let native = subscription.instrument.stream_name();
        let Some(market) = self.by_native.get_mut(native) else { return false };
        let had = std::mem::replace(&mut market.wanted[subscription.channel as usize], false);
        if market.wanted == [false; 3] {
            self.by_native.remove(native);
        }
        had
    }

    /// Whether this one is still listened to.
    pub fn wants(&self, subscription: &Subscription) -> bool {
        self.by_native
            .get(subscription.instrument.stream_name())
            .is_some_and(|market| market.wanted[subscription.channel as usize])
    }
}
