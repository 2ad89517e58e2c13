//! Native ids of Bybit: `BTCUSDT`.

use crate::exchanges::{codec, markets};
use crate::model::Symbol;

/// Assets in which markets are quoted, and no others. A listing, where available, takes
/// precedence; a test checks this list against recorded listings.
const QUOTES: &[&str] = &[
    "RLUSD", "USDT", "USDC", "USD1", "USDE", "USDQ", "USDR", "XUSD", "USD", "EUR", "BTC", "ETH", "GBP", "TRY", "BRL",
    "AED", "PLN", "DAI", "SOL", "MNT",
];

/// Derives the symbol from a native id by known quote assets; `None` for ids of derivatives such as `BTC-26SEP25`.
pub(super) fn guess_symbol(native: &str) -> Option<Symbol> {
    let (base, quote) = markets::split_by_quote(native, QUOTES)?;
    codec::symbol(base, quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_symbol_by_longest_quote() {
        for (native, expected) in [
            ("BTCUSDT", "BTC/USDT"),
            ("ETHBTC", "ETH/BTC"),
            ("XRPRLUSD", "XRP/RLUSD"),
            ("1INCHUSDC", "1INCH/USDC"),
            ("USDTBRL", "USDT/BRL"),
        ] {
            assert_eq!(guess_symbol(native).map(|symbol| symbol.to_string()).as_deref(), Some(expected));
        }
        for native in ["", "USDT", "BTC-26SEP25", "BTCUSDT-26SEP25", "nothing", "BTCPERP"] {
            assert_eq!(guess_symbol(native), None, "{native}");
        }
    }
}
