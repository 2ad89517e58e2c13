//! Binance's ids: `BTCUSDT`, in streams `btcusdt`.

use super::super::codec;
use crate::model::Symbol;

/// Assets that spot markets are quoted in, longest first. `AEUR` is not among them: `ADAEUR` is `ADA/EUR`.
const QUOTES: &[&str] = &[
    "FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USDP", "USDS", "USD1", "GYEN", "EURI", "BIDR", "IDRT", "BKRW", "BVND",
    "DOGE", "BTC", "ETH", "BNB", "EUR", "GBP", "TRY", "BRL", "JPY", "AUD", "RUB", "UAH", "NGN", "ZAR", "PLN", "RON",
    "ARS", "MXN", "COP", "CZK", "IDR", "DAI", "VAI", "PAX", "XRP", "TRX", "DOT", "SOL", "UST", "USD",
];

/// Splits an id by the known quotes. Those of derivatives, such as `BTCUSD_PERP`, are no spot market's.
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
            ("BNBFDUSD", "BNB/FDUSD"),
            ("ADAEUR", "ADA/EUR"),
            ("BUSDUSDT", "BUSD/USDT"),
            ("1INCHTRY", "1INCH/TRY"),
            ("USDTBRL", "USDT/BRL"),
            ("BTCJPY", "BTC/JPY"),
            ("BTCTUSD", "BTC/TUSD"),
        ] {
            assert_eq!(guess(native).map(|symbol| symbol.to_string()).as_deref(), Some(expected));
        }
        for native in ["", "USDT", "BTCUSD_PERP", "BTC-260925-80000-C", "BTCUSDT_260925", "nothing"] {
            assert_eq!(guess(native), None, "{native}");
        }
        assert!(QUOTES.is_sorted_by(|a, b| a.len() >= b.len()));
    }
}
