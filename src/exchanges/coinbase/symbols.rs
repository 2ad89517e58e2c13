//! Coinbase's ids: `BTC-USD`. Those of derivatives have more parts: `BIT-26APR24-CDE`, `BTC-PERP-INTX`.

use super::super::codec;
use crate::model::Symbol;

/// Reads the id of a spot market.
pub(super) fn guess(native: &str) -> Option<Symbol> {
    codec::dashed_symbol(native)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_two_parts_is_a_spot_market() {
        for (native, expected) in [("BTC-USD", "BTC/USD"), ("00-USDC", "00/USDC"), ("1INCH-EUR", "1INCH/EUR")] {
            assert_eq!(guess(native).map(|symbol| symbol.to_string()).as_deref(), Some(expected));
        }
        for native in ["", "-", "BTC", "BTC-", "-USD", "BTCUSD", "BIT-26APR24-CDE", "BTC-PERP-INTX"] {
            assert_eq!(guess(native), None, "{native}");
        }
    }
}
