//! Native ids of Binance: `BTCUSDT`, in stream names `btcusdt`.

use crate::exchanges::{codec, markets};
use crate::model::Symbol;

/// Assets in which markets are quoted, and no others: `BTCTUSD` is `BTC/TUSD`, and `ADAEUR` is `ADA/EUR`, since no market is quoted in
/// `AEUR`. A listing, where available, takes
/// precedence; a test checks this list against recorded listings.
const QUOTES: &[&str] = &[
    "FDUSD", "RLUSD", "USDT", "USDC", "BUSD", "TUSD", "USD1", "USDS", "USDP", "EURI", "GYEN", "BIDR", "IDRT", "BKRW",
    "BVND", "DOGE", "USD", "EUR", "BTC", "ETH", "BNB", "GBP", "TRY", "BRL", "JPY", "AUD", "RUB", "UAH", "NGN", "ZAR",
    "PLN", "RON", "ARS", "MXN", "COP", "CZK", "IDR", "DAI", "VAI", "PAX", "XRP", "TRX", "DOT", "SOL", "UST", "U",
];

/// Derives the symbol from a native id by known quote assets; `None` for ids of derivatives such as `BTCUSD_PERP`.
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
            ("BNBFDUSD", "BNB/FDUSD"),
            ("ADAEUR", "ADA/EUR"),
            ("BUSDUSDT", "BUSD/USDT"),
            ("1INCHTRY", "1INCH/TRY"),
            ("USDTBRL", "USDT/BRL"),
            ("BTCJPY", "BTC/JPY"),
            ("BTCTUSD", "BTC/TUSD"),
            ("BTCU", "BTC/U"),
            ("UUSDT", "U/USDT"),
            ("XRPRLUSD", "XRP/RLUSD"),
            ("BTCUSD1", "BTC/USD1"),
            ("USD1USDT", "USD1/USDT"),
            ("1000SATSFDUSD", "1000SATS/FDUSD"),
            ("币安人生USDT", "币安人生/USDT"),
        ] {
            assert_eq!(guess_symbol(native).map(|symbol| symbol.to_string()).as_deref(), Some(expected));
        }
        for native in ["", "USDT", "BTCUSD_PERP", "BTC-260925-80000-C", "BTCUSDT_260925", "nothing"] {
            assert_eq!(guess_symbol(native), None, "{native}");
        }
    }
}
