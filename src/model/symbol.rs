//! Market symbols: `BASE/QUOTE`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A market in candlewick's own spelling, `BASE/QUOTE` in upper case, as in CCXT.
/// Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Arc<str>);

/// The text does not name a market.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a symbol is written BASE/QUOTE, BASE-QUOTE or BASE_QUOTE, such as BTC/USDT")]
pub struct BadSymbol;

/// The longest name of an asset, in bytes. The longest seen on an exchange has 20.
const MAX_ASSET_BYTES: usize = 32;

impl Symbol {
    /// The longest text that may name a market, in characters: two assets and what joins them.
    pub const MAX_LENGTH: usize = 2 * MAX_ASSET_BYTES + 1;

    /// From two asset codes; both are made upper case.
    ///
    /// # Errors
    /// [`BadSymbol`] if one is empty, longer than 32 bytes, or has other characters than letters, digits, `.` and `$`.
    pub fn new(base: &str, quote: &str) -> Result<Self, BadSymbol> {
        let fits = |asset: &str| {
            (1..=MAX_ASSET_BYTES).contains(&asset.len())
                && asset.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '$')
        };
        // Upper case may be longer, and a symbol must be one as it is written.
        let (base, quote) = (base.to_uppercase(), quote.to_uppercase());
        if !fits(&base) || !fits(&quote) {
            return Err(BadSymbol);
        }
        Ok(Self(format!("{base}/{quote}").into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is bought and sold.
    #[must_use]
    pub fn base(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(base, _)| base)
    }

    /// What it is paid with; prices are in this.
    #[must_use]
    pub fn quote(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, quote)| quote)
    }

    /// The spelling for paths: `BTC-USDT`.
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
    fn refuses_what_names_no_market() {
        for text in ["", "/", "BTC", "BTC/", "/USDT", "BTC/USDT/X", "BTC-USDT-SWAP", "B C/USDT", "..\0/x", "../.%"] {
            assert!(text.parse::<Symbol>().is_err(), "{text}");
        }
        assert!(format!("{}/USDT", "A".repeat(10_000)).parse::<Symbol>().is_err());
    }

    #[test]
    fn real_names_of_assets_are_symbols() {
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
        fn a_symbol_reads_as_it_is_written(base in "\\PC{1,12}", quote in "\\PC{1,12}") {
            if let Ok(symbol) = Symbol::new(&base, &quote) {
                prop_assert_eq!(symbol.as_str().parse::<Symbol>().unwrap(), symbol.clone());
                prop_assert_eq!(symbol.dashed().parse::<Symbol>().unwrap(), symbol);
            }
        }

        #[test]
        fn every_spelling_means_the_same(base in "[a-z0-9]{1,20}", quote in "[a-z0-9]{2,6}", sep in "[/_-]") {
            let symbol: Symbol = format!("{base}{sep}{quote}").parse().unwrap();
            prop_assert_eq!(symbol.as_str(), format!("{base}/{quote}").to_uppercase());
            prop_assert_eq!(symbol.base(), base.to_uppercase());
            prop_assert_eq!(symbol.quote(), quote.to_uppercase());
            prop_assert_eq!(symbol.dashed().parse::<Symbol>().unwrap(), symbol);
        }
    }
}
