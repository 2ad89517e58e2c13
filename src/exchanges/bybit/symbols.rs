//! Bybit's ids: `BTCUSDT`.

use super::super::codec;
use crate::model::Symbol;

/// Assets that spot markets are quoted in, longest first.
const QUOTES: &[&str] = &[
    "RLUSD", "USDT", "USDC", "USDE", "USDQ", "USDR", "USD1", "XUSD", "EUR", "BTC", "BRL", "GBP", "AED", "PLN", "TRY",
    "ETH", "SOL", "DAI", "MNT", "USD",
];

/// Splits an id by the known quotes.
pub(super) fn guess(native: &str) -> Option<Symbol> {
    let (base, quote) = codec::split_by_quote(native, QUOTES)?;
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
        assert!(QUOTES.is_sorted_by(|a, b| a.len() >= b.len()));
    }
}
