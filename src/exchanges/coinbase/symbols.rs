//! Native ids of Coinbase: `BTC-USD`.

use crate::exchanges::codec;
use crate::model::Symbol;

/// Derives the symbol from a native id; `None` for ids of derivatives, which have more parts: `BIT-26APR24-CDE`,
/// `BTC-PERP-INTX`.
pub(super) fn guess_symbol(native: &str) -> Option<Symbol> {
    codec::parse_dashed_symbol(native)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_symbol_of_ids_with_two_parts() {
        for (native, expected) in [("BTC-USD", "BTC/USD"), ("00-USDC", "00/USDC"), ("1INCH-EUR", "1INCH/EUR")] {
            assert_eq!(guess_symbol(native).map(|symbol| symbol.to_string()).as_deref(), Some(expected));
        }
        for native in ["", "-", "BTC", "BTC-", "-USD", "BTCUSD", "BIT-26APR24-CDE", "BTC-PERP-INTX"] {
            assert_eq!(guess_symbol(native), None, "{native}");
        }
    }
}
