//! Market symbols: `BASE/QUOTE`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A market symbol in candlewick's notation, `BASE/QUOTE` in upper case, as in CCXT. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Arc<str>);

/// The text is not a symbol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected BASE/QUOTE, BASE-QUOTE or BASE_QUOTE, such as BTC/USDT")]
pub struct BadSymbol;

/// Maximum length of an asset code, in bytes. The longest code seen on an exchange has 20.
const MAX_ASSET_BYTES: usize = 32;

impl Symbol {
    /// Maximum length of a symbol, in characters: two asset codes and the separator.
    pub const MAX_LENGTH: usize = 2 * MAX_ASSET_BYTES + 1;

    /// Builds a symbol from two asset codes, in upper case.
    ///
    /// # Errors
    /// [`BadSymbol`] if a code is empty, longer than 32 bytes, or has characters other than letters, digits, `.` and
    /// `$`.
    pub fn new(base: &str, quote: &str) -> Result<Self, BadSymbol> {
        let is_valid = |asset: &str| {
            (1..=MAX_ASSET_BYTES).contains(&asset.len())
                && asset.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '$')
        };
        // The upper-case form may be longer, and a symbol must parse again from its own text: so check that form.
        let (base, quote) = (base.to_uppercase(), quote.to_uppercase());
        if !is_valid(&base) || !is_valid(&quote) {
            return Err(BadSymbol);
        }
        Ok(Self(format!("{base}/{quote}").into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The traded asset.
    #[must_use]
    pub fn base(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(base, _)| base)
    }

    /// The asset in which prices are quoted.
    #[must_use]
    pub fn quote(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, quote)| quote)
    }

    /// Notation in URL paths: `BTC-USDT`.
    #[must_use]
    pub fn dashed(&self) -> String {
        self.0.replace('/', "-")
    }
}

/// Accepts `BTC/USDT`, `BTC-USDT` and `BTC_USDT` in any case.
impl FromStr for Symbol {
    type Err = BadSymbol;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (base, quote) = text.split_once(['/', '-', '_']).ok_or(BadSymbol)?;
        Self::new(base, quote)
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rejects_invalid_symbols() {
        for text in ["", "/", "BTC", "BTC/", "/USDT", "BTC/USDT/X", "BTC-USDT-SWAP", "B C/USDT", "..\0/x", "../.%"] {
            assert!(text.parse::<Symbol>().is_err(), "{text}");
        }
        assert!(format!("{}/USDT", "A".repeat(10_000)).parse::<Symbol>().is_err());
    }

    #[test]
    fn accepts_unusual_asset_codes() {
        for (base, symbol) in [
            ("1000SATS", "1000SATS/USDT"),
            ("1inch", "1INCH/USDT"),
            ("AAPLx", "AAPLX/USDT"),
            ("币安人生", "币安人生/USDT"),
        ] {
            assert_eq!(Symbol::new(base, "USDT").unwrap().as_str(), symbol);
        }
    }

    proptest! {
        #[test]
        fn symbol_round_trips_through_text(base in "\\PC{1,12}", quote in "\\PC{1,12}") {
            if let Ok(symbol) = Symbol::new(&base, &quote) {
                prop_assert_eq!(symbol.as_str().parse::<Symbol>().unwrap(), symbol.clone());
                prop_assert_eq!(symbol.dashed().parse::<Symbol>().unwrap(), symbol);
            }
        }

        #[test]
        fn all_notations_are_equivalent(base in "[a-z0-9]{1,20}", quote in "[a-z0-9]{2,6}", sep in "[/_-]") {
            let symbol: Symbol = format!("{base}{sep}{quote}").parse().unwrap();
            prop_assert_eq!(symbol.as_str(), format!("{base}/{quote}").to_uppercase());
            prop_assert_eq!(symbol.base(), base.to_uppercase());
            prop_assert_eq!(symbol.quote(), quote.to_uppercase());
            prop_assert_eq!(symbol.dashed().parse::<Symbol>().unwrap(), symbol);
        }
    }
}
