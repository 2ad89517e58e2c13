//! Native ids of Kraken: `XBTUSD` and `XXBTZUSD` in REST, `XBT/USD` as the name of the pair, `BTC/USD` in WebSocket v2.

use crate::exchanges::{codec, markets};
use crate::model::Symbol;

/// Assets in which markets are quoted, and no others: `XBTUSD` is `BTC/USD`. A listing, where available, takes
/// precedence; a test checks this list against recorded listings.
const QUOTES: &[&str] = &[
    "RLUSD", "PYUSD", "USDT", "USDC", "USDG", "USDQ", "USDR", "EURC", "EURR", "USD", "EUR", "BTC", "XBT", "ETH", "GBP",
    "JPY", "AUD", "CAD", "CHF", "AED", "DAI", "DOT", "SOL",
];

/// Quote assets with the prefixes of Kraken's oldest ids: `Z` for currencies, `X` for coins.
const PREFIXED_QUOTES: &[&str] = &["ZUSD", "ZEUR", "ZGBP", "ZCAD", "ZAUD", "ZJPY", "XXBT", "XETH"];

/// The common name of an asset for which Kraken has its own code.
/// <https://support.kraken.com/articles/360001206766-bitcoin-currency-code-xbt-vs-btc>
fn common_name(asset: &str) -> &str {
    match asset {
        "XBT" => "BTC",
        "XDG" => "DOGE",
        other => other,
    }
}

/// Parses the name of a pair: `XBT/USD`.
pub(super) fn parse_pair(name: &str) -> Option<Symbol> {
    let (base, quote) = name.split_once('/')?;
    codec::symbol(common_name(base), common_name(quote))
}

/// The name of a pair in WebSocket v2, from its name in the listing. Case-sensitive: `AAPLx/USD`.
/// <https://docs.kraken.com/api/docs/guides/spot-ws-intro>
pub(super) fn stream_name(name: &str) -> Option<String> {
    let (base, quote) = name.split_once('/')?;
    Some(format!("{}/{}", common_name(base), common_name(quote)))
}

/// Derives the symbol from a native id of any form.
pub(super) fn guess_symbol(native: &str) -> Option<Symbol> {
    if native.contains('/') {
        return parse_pair(native);
    }
    let (base, quote) = split_prefixed(native).or_else(|| markets::split_by_quote(native, QUOTES))?;
    codec::symbol(common_name(base), common_name(quote))
}

/// Splits `XXBTZUSD`: two assets of three letters, each with a prefix; in `USDTZUSD` only the quote has one.
fn split_prefixed(native: &str) -> Option<(&str, &str)> {
    let (base, quote) = native.split_at_checked(4).filter(|(_, quote)| PREFIXED_QUOTES.contains(quote))?;
    let base = if base == "USDT" { base } else { base.strip_prefix(['X', 'Z'])? };
    Some((base, &quote[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_symbol_of_every_id_form() {
        for (native, expected) in [
            ("XXBTZUSD", "BTC/USD"),
            ("XBTUSDT", "BTC/USDT"),
            ("BTC/USD", "BTC/USD"),
            ("XBT/EUR", "BTC/EUR"),
            ("XETHXXBT", "ETH/BTC"),
            ("XDGUSD", "DOGE/USD"),
            ("XXDGZUSD", "DOGE/USD"),
            ("ZGBPZUSD", "GBP/USD"),
            ("XTZUSD", "XTZ/USD"),
            ("ADAXBT", "ADA/BTC"),
            ("USDTZUSD", "USDT/USD"),
            ("XBTUSD", "BTC/USD"),
            ("DOTUSD", "DOT/USD"),
            ("XRPRLUSD", "XRP/RLUSD"),
            ("XBTPYUSD", "BTC/PYUSD"),
            ("PYUSDUSD", "PYUSD/USD"),
            ("AAPLxUSD", "AAPLX/USD"),
            ("AAPLx/USD", "AAPLX/USD"),
            ("1INCHUSD", "1INCH/USD"),
        ] {
            assert_eq!(guess_symbol(native).map(|symbol| symbol.to_string()).as_deref(), Some(expected), "{native}");
        }
        for native in ["", "USD", "/", "PI_XBTUSD", "€€€€", "XBT/USD/X"] {
            assert_eq!(guess_symbol(native), None, "{native}");
        }
    }
}
