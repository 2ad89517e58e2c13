//! Native ids of OKX: `BTC-USDT`.

use crate::exchanges::codec;
use crate::model::Symbol;

/// Derives the symbol from a native id; `None` for ids of derivatives, which have more parts: `BTC-USD-SWAP`,
/// `BTC-USD-230331`.
pub(super) fn guess_symbol(native: &str) -> Option<Symbol> {
    codec::parse_dashed_symbol(native)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_symbol_of_ids_with_two_parts() {
        for (native, expected) in [("BTC-USDT", "BTC/USDT"), ("ETH-BTC", "ETH/BTC"), ("1INCH-EUR", "1INCH/EUR")] {
            assert_eq!(guess_symbol(native).map(|symbol| symbol.to_string()).as_deref(), Some(expected));
        }
        for native in
            ["", "-", "BTC", "BTC-", "-USDT", "BTCUSDT", "BTC-USD-SWAP", "BTC-USD-230331", "BTC-USD-230331-9000-C"]
        {
            assert_eq!(guess_symbol(native), None, "{native}");
        }
    }
}
