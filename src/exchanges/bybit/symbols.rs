//! Bybit's ids: `BTCUSDT`.

use super::super::{codec, markets};
use crate::model::Symbol;

/// Splits an id by the known quotes.
pub(super) fn guess(native: &str) -> Option<Symbol> {
    let (base, quote) = markets::split_by_quote(native, 'Y')?;
    codec::symbol(base, quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_split_by_the_longest_quote() {
        for (native, expected) in [
            ("BTCUSDT", "BTC/USDT"),
            ("ETHBTC", "ETH/BTC"),
            ("XRPRLUSD", "XRP/RLUSD"),
            ("1INCHUSDC", "1INCH/USDC"),
            ("USDTBRL", "USDT/BRL"),
        ] {
            assert_eq!(guess(native).map(|symbol| symbol.to_string()).as_deref(), Some(expected));
        }
        for native in ["", "USDT", "BTC-26SEP25", "BTCUSDT-26SEP25", "nothing", "BTCPERP"] {
            assert_eq!(guess(native), None, "{native}");
        }
    }
}
