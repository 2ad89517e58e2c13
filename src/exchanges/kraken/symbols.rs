//! Kraken's ids: `XBTUSD` and `XXBTZUSD` in REST, `XBT/USD` as the name of the pair, `BTC/USD` in WebSocket v2.

use super::super::{codec, markets};
use crate::model::Symbol;

/// Currencies that Kraken's oldest ids mark with a `Z`, and coins that it marks with an `X`.
const MARKED_QUOTES: &[&str] = &["ZUSD", "ZEUR", "ZGBP", "ZCAD", "ZAUD", "ZJPY", "XXBT", "XETH"];

/// Kraken's own code of an asset in the usual spelling.
/// <https://support.kraken.com/articles/360001206766-bitcoin-currency-code-xbt-vs-btc>
fn usual(asset: &str) -> &str {
    match asset {
        "XBT" => "BTC",
        "XDG" => "DOGE",
        other => other,
    }
}

/// Reads the name of a pair: `XBT/USD`.
pub(super) fn of_pair(name: &str) -> Option<Symbol> {
    let (base, quote) = name.split_once('/')?;
    codec::symbol(usual(base), usual(quote))
}

/// The name that the WebSocket takes for a pair that the listing names so. It tells upper from lower case: `AAPLx/USD`.
/// <https://docs.kraken.com/api/docs/guides/spot-ws-intro>
pub(super) fn stream_name(name: &str) -> Option<String> {
    let (base, quote) = name.split_once('/')?;
    Some(format!("{}/{}", usual(base), usual(quote)))
}

/// Reads any of the ids without the listing.
pub(super) fn guess(native: &str) -> Option<Symbol> {
    if native.contains('/') {
        return of_pair(native);
    }
    let (base, quote) = marked(native).or_else(|| markets::split_by_quote(native, 'K'))?;
    codec::symbol(usual(base), usual(quote))
}

/// `XXBTZUSD`: two assets of three letters, each with its mark; in `USDTZUSD` only the second has one.
fn marked(native: &str) -> Option<(&str, &str)> {
    let (base, quote) = native.split_at_checked(4).filter(|(_, quote)| MARKED_QUOTES.contains(quote))?;
    let base = if base == "USDT" { base } else { base.strip_prefix(['X', 'Z'])? };
    Some((base, &quote[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_id_is_read() {
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
            assert_eq!(guess(native).map(|symbol| symbol.to_string()).as_deref(), Some(expected), "{native}");
        }
        for native in ["", "USD", "/", "PI_XBTUSD", "€€€€", "XBT/USD/X"] {
            assert_eq!(guess(native), None, "{native}");
        }
    }
}
