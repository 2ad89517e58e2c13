//! Unified market symbols, as in CCXT.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::{MarketKind, Timestamp};

/// A unified market symbol in upper case, as in CCXT. Cheap to clone; ordered by its text.
///
/// | market | symbol | in URL paths |
/// |---|---|---|
/// | spot | `BTC/USDT` | `BTC-USDT` |
/// | linear perpetual contract | `BTC/USDT:USDT` | `BTC-USDT:USDT` |
/// | inverse perpetual contract | `BTC/USD:BTC` | `BTC-USD:BTC` |
/// | future | `BTC/USDT:USDT-270326` | `BTC-USDT:USDT-270326` |
///
/// After `:` is the settlement asset, then the expiry date in UTC as `YYMMDD`. A contract that settles in a third asset
/// (quanto) has no symbol: no market kind describes its profit. Neither has an option.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Arc<str>);

/// Why a text is not a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSymbol {
    #[error(
        "expected BASE/QUOTE, BASE-QUOTE or BASE_QUOTE, such as BTC/USDT; for a contract with :SETTLE or \
         :SETTLE-YYMMDD, such as BTC/USDT:USDT or BTC/USDT:USDT-270326"
    )]
    Format,
    /// The settlement asset is neither the quote nor the base asset.
    #[error(
        "the settlement asset after `:` must be the quote asset, as in BTC/USDT:USDT, or the base asset, as in \
         BTC/USD:BTC; contracts that settle in another asset are not supported"
    )]
    Settlement,
    #[error("the expiry of a contract is a date as YYMMDD, such as BTC/USDT:USDT-270326")]
    Expiry,
    #[error("options are not supported: only spot markets, perpetual contracts and futures")]
    Option,
}

/// Maximum length of an asset code, in bytes. The longest code seen on an exchange has 20.
const MAX_ASSET_BYTES: usize = 32;

/// Length of an expiry date, `YYMMDD`.
const EXPIRY_BYTES: usize = 6;

const DAY: Duration = Duration::from_hours(24);

impl Symbol {
    /// Maximum length of a symbol, in characters: three asset codes, the expiry date and three separators.
    pub const MAX_LENGTH: usize = 3 * MAX_ASSET_BYTES + EXPIRY_BYTES + 3;

    /// The symbol of a spot market, from two asset codes in any case.
    ///
    /// # Errors
    /// [`BadSymbol::Format`] if a code is empty, longer than 32 bytes, or has characters other than letters, digits,
    /// `.` and `$`.
    pub fn new(base: &str, quote: &str) -> Result<Self, BadSymbol> {
        let (base, quote) = (asset(base)?, asset(quote)?);
        Ok(Self(format!("{base}/{quote}").into()))
    }

    /// The symbol of a perpetual contract, from asset codes in any case.
    ///
    /// # Errors
    /// As [`Symbol::new`]; [`BadSymbol::Settlement`] if `settle` is neither `quote` nor `base`.
    pub fn perpetual(base: &str, quote: &str, settle: &str) -> Result<Self, BadSymbol> {
        let (base, quote, settle) = (asset(base)?, asset(quote)?, asset(settle)?);
        if settle != quote && settle != base {
            return Err(BadSymbol::Settlement);
        }
        Ok(Self(format!("{base}/{quote}:{settle}").into()))
    }

    /// The symbol of a future, from asset codes in any case and the time of its expiry.
    ///
    /// # Errors
    /// As [`Symbol::perpetual`]; [`BadSymbol::Expiry`] if the expiry is not in the years 2000 to 2099.
    pub fn future(base: &str, quote: &str, settle: &str, expiry: Timestamp) -> Result<Self, BadSymbol> {
        let date = expiry.utc().format("%y%m%d").to_string();
        let is_same_century = expiry_date(&date).is_some_and(|date| date <= expiry && expiry.since(date) < DAY);
        if !is_same_century {
            return Err(BadSymbol::Expiry);
        }
        Self::perpetual(base, quote, settle)?.with_expiry(&date)
    }

    /// The future with the assets of this perpetual contract.
    fn with_expiry(&self, date: &str) -> Result<Self, BadSymbol> {
        expiry_date(date).ok_or(BadSymbol::Expiry)?;
        Ok(Self(format!("{self}-{date}").into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The base asset, whose price the market determines.
    #[must_use]
    pub fn base(&self) -> &str {
        self.parts().0
    }

    /// The asset in which prices are quoted.
    #[must_use]
    pub fn quote(&self) -> &str {
        self.parts().1
    }

    /// The settlement asset; `None` for a spot market.
    #[must_use]
    pub fn settle(&self) -> Option<&str> {
        self.contract_part().map(|(settle, _)| settle)
    }

    /// The start of the expiry date, in UTC; `None` if the market does not expire.
    #[must_use]
    pub fn expiry(&self) -> Option<Timestamp> {
        self.contract_part().and_then(|(_, date)| expiry_date(date?))
    }

    #[must_use]
    pub fn kind(&self) -> MarketKind {
        match self.settle() {
            None => MarketKind::Spot,
            Some(settle) if settle == self.quote() => MarketKind::Linear,
            Some(_) => MarketKind::Inverse,
        }
    }

    /// Notation in URL paths: `BTC-USDT`, `BTC-USDT:USDT`.
    #[must_use]
    pub fn dashed(&self) -> String {
        self.0.replace('/', "-")
    }

    /// Base asset, quote asset, and what follows `:`.
    fn parts(&self) -> (&str, &str, Option<&str>) {
        let (base, rest) = self.0.split_once('/').unwrap_or((&self.0, ""));
        match rest.split_once(':') {
            Some((quote, contract)) => (base, quote, Some(contract)),
            None => (base, rest, None),
        }
    }

    /// Settlement asset and expiry date of a contract.
    fn contract_part(&self) -> Option<(&str, Option<&str>)> {
        self.parts().2.map(split_expiry)
    }
}

/// The asset code in upper case. That form is checked: it may be longer, and a symbol must parse from its own text.
fn asset(code: &str) -> Result<String, BadSymbol> {
    let code = code.to_uppercase();
    let is_valid = (1..=MAX_ASSET_BYTES).contains(&code.len())
        && code.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '$');
    if is_valid { Ok(code) } else { Err(BadSymbol::Format) }
}

fn split_expiry(contract: &str) -> (&str, Option<&str>) {
    contract.split_once('-').map_or((contract, None), |(settle, date)| (settle, Some(date)))
}

/// Midnight UTC of a date of this century, as `YYMMDD`.
fn expiry_date(date: &str) -> Option<Timestamp> {
    if date.len() != EXPIRY_BYTES || !date.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Timestamp::parse(&format!("20{}-{}-{}", &date[..2], &date[2..4], &date[4..])).ok()
}

/// Accepts `/`, `-` or `_` between base and quote asset, in any case: `BTC/USDT`, `btc_usdt`, `BTC-USDT:USDT-270326`.
impl FromStr for Symbol {
    type Err = BadSymbol;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (base, rest) = text.split_once(['/', '-', '_']).ok_or(BadSymbol::Format)?;
        let Some((quote, contract)) = rest.split_once(':') else { return Self::new(base, rest) };
        let (settle, date) = split_expiry(contract);
        let perpetual = Self::perpetual(base, quote, settle)?;
        match date {
            None => Ok(perpetual),
            // `270326-100000-C`: date, strike price, call or put.
            Some(date) if date.contains('-') => Err(BadSymbol::Option),
            Some(date) => perpetual.with_expiry(date),
        }
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
        for text in [
            "",
            "/",
            "BTC",
            "BTC/",
            "/USDT",
            "BTC/USDT/X",
            "BTC-USDT-SWAP",
            "BTC-USDT-270326",
            "B C/USDT",
            "..\0/x",
            "../.%",
            ":",
            "/:",
            "BTC:USDT",
            "BTC:BTC/USDT",
            "BTC/:USDT",
            "/USDT:USDT",
            "BTC/USDT:",
            "BTC/USDT:-270326",
            "BTC/USDT:USDT:USDT",
            "BTC/USDT:USDT_270326",
            "binance:BTC/USDT",
        ] {
            assert_eq!(text.parse::<Symbol>(), Err(BadSymbol::Format), "{text}");
        }
        assert!(format!("{}/USDT", "A".repeat(10_000)).parse::<Symbol>().is_err());
    }

    #[test]
    fn rejects_unsupported_contracts() {
        for (text, error) in [
            ("ETH/USD:BTC", BadSymbol::Settlement),
            ("BTC/USDT:1m", BadSymbol::Settlement),
            ("BTC/USDT:USDT-270326-100000-C", BadSymbol::Option),
            ("BTC-USD:BTC-270326-100000-P", BadSymbol::Option),
            ("BTC/USDT:USDT-", BadSymbol::Expiry),
            ("BTC/USDT:USDT-270230", BadSymbol::Expiry),
            ("BTC/USDT:USDT-271301", BadSymbol::Expiry),
            ("BTC/USDT:USDT-20270326", BadSymbol::Expiry),
            ("BTC/USDT:USDT-+70326", BadSymbol::Expiry),
            ("BTC/USDT:USDT-27032é", BadSymbol::Expiry),
        ] {
            assert_eq!(text.parse::<Symbol>(), Err(error), "{text}");
        }
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

    #[test]
    fn contract_has_kind_settlement_asset_and_expiry() {
        let midnight = Timestamp::parse("2027-03-26").unwrap();
        for (text, kind, settle, expiry) in [
            ("BTC/USDT", MarketKind::Spot, None, None),
            ("BTC/USDT:USDT", MarketKind::Linear, Some("USDT"), None),
            ("BTC/USD:BTC", MarketKind::Inverse, Some("BTC"), None),
            ("BTC/USDT:USDT-270326", MarketKind::Linear, Some("USDT"), Some(midnight)),
            ("BTC/USD:BTC-270326", MarketKind::Inverse, Some("BTC"), Some(midnight)),
        ] {
            let symbol: Symbol = text.parse().unwrap();
            assert_eq!((symbol.kind(), symbol.settle(), symbol.expiry()), (kind, settle, expiry), "{text}");
        }
        let afternoon = Timestamp::parse("2027-03-26T16:00:00Z").unwrap();
        assert_eq!(Symbol::future("btc", "usd", "btc", afternoon).unwrap().as_str(), "BTC/USD:BTC-270326");
        for time in ["1999-12-31", "2100-01-01"] {
            let expiry = Timestamp::parse(time).unwrap();
            assert_eq!(Symbol::future("BTC", "USD", "BTC", expiry), Err(BadSymbol::Expiry), "{time}");
        }
        assert_eq!(Symbol::perpetual("ETH", "USD", "BTC"), Err(BadSymbol::Settlement));
    }

    #[test]
    fn longest_symbol_has_documented_length() {
        let (base, quote) = ("A".repeat(MAX_ASSET_BYTES), "B".repeat(MAX_ASSET_BYTES));
        let longest = Symbol::future(&base, &quote, &quote, Timestamp::from_secs(1_763_672_400)).unwrap();
        assert_eq!(longest.as_str().len(), Symbol::MAX_LENGTH);
    }

    proptest! {
        #[test]
        fn symbol_round_trips_through_text(base in "\\PC{1,12}", quote in "\\PC{1,12}", days in 0u64..40_000) {
            let expiry = Timestamp::EPOCH + DAY * u32::try_from(days).unwrap();
            let mut built = vec![Symbol::new(&base, &quote)];
            for settle in [&base, &quote] {
                built.push(Symbol::perpetual(&base, &quote, settle));
                built.push(Symbol::future(&base, &quote, settle, expiry));
            }
            for symbol in built.into_iter().flatten() {
                prop_assert_eq!(symbol.as_str().parse::<Symbol>().unwrap(), symbol.clone());
                prop_assert_eq!(symbol.dashed().parse::<Symbol>().unwrap(), symbol);
            }
        }

        #[test]
        fn all_notations_are_equivalent(
            base in "[a-z0-9]{1,20}",
            quote in "[a-z0-9]{2,6}",
            sep in "[/_-]",
            settles in proptest::option::of(any::<bool>()),
            date in proptest::option::of("[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[0-8])"),
        ) {
            let settle = settles.map(|in_quote| if in_quote { &quote } else { &base });
            let contract = match (settle, date) {
                (None, _) => String::new(),
                (Some(settle), None) => format!(":{settle}"),
                (Some(settle), Some(date)) => format!(":{settle}-{date}"),
            };
            let symbol: Symbol = format!("{base}{sep}{quote}{contract}").parse().unwrap();
            prop_assert_eq!(symbol.as_str(), format!("{base}/{quote}{contract}").to_uppercase());
            prop_assert_eq!(symbol.base(), base.to_uppercase());
            prop_assert_eq!(symbol.quote(), quote.to_uppercase());
            prop_assert_eq!(symbol.settle().map(str::to_owned), settle.map(|settle| settle.to_uppercase()));
            prop_assert_eq!(symbol.kind() == MarketKind::Spot, settle.is_none());
            prop_assert_eq!(symbol.dashed().parse::<Symbol>().unwrap(), symbol);
        }

        #[test]
        fn never_panics_and_parses_only_what_it_writes(text in "[A-Ca-c/:_0-9é\0-]{0,24}|\\PC{0,24}") {
            if let Ok(symbol) = text.parse::<Symbol>() {
                prop_assert!(symbol.as_str().chars().count() <= Symbol::MAX_LENGTH);
                prop_assert_eq!(symbol.expiry().is_some(), symbol.as_str().contains('-'));
                prop_assert_eq!(symbol.as_str().parse::<Symbol>().unwrap(), symbol);
            }
        }
    }
}
