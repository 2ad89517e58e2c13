//! Ids of exchanges.

use std::fmt;
use std::str::FromStr;

use parking_lot::RwLock;

/// An exchange, in registry order: first the exchanges that candlewick has adapters for, then the registered ones. If a
/// request does not name an exchange, candlewick uses the first enabled one that lists the symbol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(u8);

/// Id and display name of an exchange.
#[derive(Clone, Copy, Debug)]
struct Names {
    id: &'static str,
    name: &'static str,
}

macro_rules! native_exchanges {
    ($($constant:ident $id:ident $name:literal;)*) => {
        /// The exchanges of the table in `venues.rs`.
        const NATIVE: &[Names] = &[$(Names { id: stringify!($id), name: $name }),*];

        native_exchanges! { @constants 0; $($constant $name;)* }
    };
    (@constants $index:expr; $constant:ident $name:literal; $($rest:tt)*) => {
        impl ExchangeId {
            #[doc = $name]
            pub const $constant: Self = Self($index);
        }

        native_exchanges! { @constants $index + 1; $($rest)* }
    };
    (@constants $index:expr;) => {};
}

venues!(native_exchanges);

const _: () = assert!(NATIVE.len() <= ExchangeId::MAX);

/// The exchanges that were registered after the native ones.
static REGISTERED: Registry = Registry(RwLock::new(Vec::new()));

impl ExchangeId {
    /// Maximum number of exchanges.
    pub const MAX: usize = 64;

    /// Registers an exchange without a native adapter. Call it at startup, before the configuration is read.
    ///
    /// # Errors
    /// The id or the name is invalid, the id exists, or there are [`ExchangeId::MAX`] exchanges.
    pub fn register(id: &str, name: &str) -> Result<Self, RegisterError> {
        REGISTERED.add(id, name)
    }

    /// All exchanges in registry order.
    #[must_use]
    pub fn all() -> impl ExactSizeIterator<Item = Self> + DoubleEndedIterator + Clone {
        REGISTERED.all()
    }

    /// Id in URLs, configuration and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        REGISTERED.names(self).id
    }

    /// Display name.
    #[must_use]
    pub fn name(self) -> &'static str {
        REGISTERED.names(self).name
    }

    /// Position in registry order, below [`ExchangeId::MAX`].
    pub(super) fn index(self) -> usize {
        self.0.into()
    }
}

/// Why an exchange cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    #[error("`{0}` is not an exchange id: use 1 to 32 characters of a-z, 0-9, `_` and `-`")]
    InvalidId(String),
    #[error("the name of the exchange `{0}` is invalid: use 1 to 64 characters, and no control characters")]
    InvalidName(String),
    #[error("the exchange id `{0}` exists already: use another one")]
    Duplicate(String),
    #[error("the exchange `{0}` cannot be registered: there are {max} exchanges, which is the maximum", max = ExchangeId::MAX)]
    TooMany(String),
}

/// Exchanges in addition to the native ones.
struct Registry(RwLock<Vec<Names>>);

impl Registry {
    /// Adds an exchange. Its texts are never freed; [`ExchangeId::MAX`] bounds them.
    fn add(&self, id: &str, name: &str) -> Result<ExchangeId, RegisterError> {
        let is_id_character = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if !(1..=32).contains(&id.len()) || !id.bytes().all(is_id_character) {
            return Err(RegisterError::InvalidId(excerpt(id)));
        }
        if !(1..=64).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            return Err(RegisterError::InvalidName(id.to_owned()));
        }
        let mut added = self.0.write();
        if NATIVE.iter().chain(added.iter()).any(|known| known.id == id) {
            return Err(RegisterError::Duplicate(id.to_owned()));
        }
        let index = NATIVE.len() + added.len();
        let position = u8::try_from(index).ok().filter(|_| index < ExchangeId::MAX);
        let Some(position) = position else { return Err(RegisterError::TooMany(id.to_owned())) };
        added.push(Names { id: id.to_owned().leak(), name: name.to_owned().leak() });
        Ok(ExchangeId(position))
    }

    fn all(&self) -> impl ExactSizeIterator<Item = ExchangeId> + DoubleEndedIterator + Clone + use<> {
        let count = NATIVE.len() + self.0.read().len();
        (0..u8::try_from(count).unwrap_or(u8::MAX)).map(ExchangeId)
    }

    /// The names of an exchange of this registry.
    fn names(&self, exchange: ExchangeId) -> Names {
        let index = exchange.index();
        NATIVE.get(index).copied().unwrap_or_else(|| self.0.read()[index - NATIVE.len()])
    }
}

/// The text is not the id of a known exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownExchange(pub String);

impl std::error::Error for UnknownExchange {}

impl fmt::Display for UnknownExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_LISTED: usize = 20;
        let known: Vec<&str> = ExchangeId::all().take(MAX_LISTED).map(ExchangeId::as_str).collect();
        write!(f, "there is no exchange `{}`; expected one of {}", self.0, known.join(", "))?;
        match ExchangeId::all().len().checked_sub(MAX_LISTED) {
            None | Some(0) => Ok(()),
            Some(others) => write!(f, " and {others} others"),
        }
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ExchangeId {
    type Err = UnknownExchange;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::all().find(|id| id.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| UnknownExchange(excerpt(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_have_order_and_names_of_the_table() {
        assert_eq!(ExchangeId::BINANCE, ExchangeId::all().next().unwrap());
        assert!(ExchangeId::BINANCE < ExchangeId::KRAKEN);
        assert_eq!((ExchangeId::KRAKEN.as_str(), ExchangeId::KRAKEN.name()), ("kraken", "Kraken"));
        for (id, names) in ExchangeId::all().zip(NATIVE) {
            assert_eq!((id.as_str(), id.name(), names.id.parse()), (names.id, names.name, Ok(id)));
            assert_eq!(names.id.to_uppercase().parse(), Ok(id), "case is ignored");
        }
        let error = "mtgox".parse::<ExchangeId>().unwrap_err().to_string();
        assert!(error.starts_with("there is no exchange `mtgox`; expected one of binance, kraken, "), "{error}");
    }

    #[test]
    fn registers_valid_exchanges_after_the_native_ones() {
        let registry = Registry(RwLock::default());
        let added = registry.add("my-exchange_2", "My exchange").unwrap();
        assert_eq!((registry.names(added).id, registry.names(added).name), ("my-exchange_2", "My exchange"));
        assert_eq!(registry.all().next_back(), Some(added));
        assert_eq!(registry.all().len(), NATIVE.len() + 1);
    }

    #[test]
    fn rejects_invalid_ids_duplicates_and_too_many() {
        let registry = Registry(RwLock::default());
        let long = "x".repeat(33);
        for id in ["", "My", "a b", "a/b", "ä", &long] {
            assert_eq!(registry.add(id, "name"), Err(RegisterError::InvalidId(id.to_owned())));
        }
        for name in ["", "a\nb", &"x".repeat(65)] {
            assert_eq!(registry.add("id", name), Err(RegisterError::InvalidName("id".to_owned())));
        }
        assert_eq!(registry.add("kraken", "name"), Err(RegisterError::Duplicate("kraken".to_owned())));
        for number in NATIVE.len()..ExchangeId::MAX {
            registry.add(&format!("e{number}"), "name").unwrap();
        }
        assert_eq!(registry.add("e5", "name"), Err(RegisterError::Duplicate("e5".to_owned())));
        let error = registry.add("last", "name").unwrap_err();
        assert_eq!(error, RegisterError::TooMany("last".to_owned()));
        assert!(error.to_string().contains("64"), "{error}");
    }
}
