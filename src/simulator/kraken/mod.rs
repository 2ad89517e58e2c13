//! Kraken's spot dialect: REST, and version 2 of its WebSocket.
//! <https://docs.kraken.com/api/>

mod rest;
mod stream;

pub use rest::{REST_PREFIX, answer};
pub use stream::Feed;

use crate::simulator::catalog::Listing;
use crate::simulator::market::Market;
use crate::simulator::tape::{Bar, MINUTE};

/// Candle intervals in minutes, counted from the Unix epoch: weeks open on Thursday.
/// <https://docs.kraken.com/api-reference/market-data/get-ohlc-data>
const INTERVALS: [i64; 9] = [1, 5, 15, 30, 60, 240, 1_440, 10_080, 21_600];

/// Kraken's older codes of assets: `XXBT`, `ZUSD`.
fn code(asset: &str) -> &str {
    match asset {
        "BTC" => "XXBT",
        "ETH" => "XETH",
        "XRP" => "XXRP",
        "DOGE" => "XXDG",
        "USD" => "ZUSD",
        "EUR" => "ZEUR",
        other => other,
    }
}

/// Kraken's own tickers of assets: `XBT`, `XDG`.
fn ticker(asset: &str) -> &str {
    match asset {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        other => other,
    }
}

/// `XBTUSD`
fn altname(listing: &Listing) -> String {
    format!("{}{}", ticker(listing.base), ticker(listing.quote))
}

/// `XBT/USD`
fn wsname(listing: &Listing) -> String {
    format!("{}/{}", ticker(listing.base), ticker(listing.quote))
}

/// `BTC/USD`: the name on version 2 of the WebSocket, which tells upper from lower case.
fn stream_name(listing: &Listing) -> String {
    format!("{}/{}", listing.base, listing.quote)
}

/// All names of a market beside its key.
pub fn names(listing: &Listing) -> [String; 3] {
    [stream_name(listing), altname(listing), wsname(listing)]
}

/// The bar of the interval that holds `at`, as known at `now`, and its first minute.
fn bar(market: &Market, listing: &Listing, interval: i64, at: i64, now: i64) -> (i64, Option<Bar>) {
    let first = (at / MINUTE).div_euclid(interval) * interval;
    (first, market.bar(listing, first, first + interval, now))
}
