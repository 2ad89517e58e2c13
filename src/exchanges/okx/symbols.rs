//! OKX's ids: `BTC-USDT`. Those of derivatives have more parts: `BTC-USD-SWAP`, `BTC-USD-230331`.

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
        for (native, expected) in [("BTC-USDT", "BTC/USDT"), ("ETH-BTC", "ETH/BTC"), ("1INCH-EUR", "1INCH/EUR")] {
            assert_eq!(guess(native).map(|symbol| symbol.to_string()).as_deref(), Some(expected));
        }
        for native in
            ["", "-", "BTC", "BTC-", "-USDT", "BTCUSDT", "BTC-USD-SWAP", "BTC-USD-230331", "BTC-USD-230331-9000-C"]
        {
            assert_eq!(guess(native), None, "{native}");
        }
    }
}
