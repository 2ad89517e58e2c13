//! Formats shared by REST and streams.

use crate::simulator::catalog::Listing;
use crate::simulator::market::Market;
use crate::simulator::trades::{Bar, MINUTE};

/// Candle intervals in minutes, aligned to the Unix epoch: weeks open on Thursday.
/// <https://docs.kraken.com/api-reference/market-data/get-ohlc-data>
pub(super) const INTERVALS: [i64; 9] = [1, 5, 15, 30, 60, 240, 1_440, 10_080, 21_600];

/// Kraken's name of an asset: `XXBT`, `ZUSD`.
pub(super) fn asset_name(asset: &str) -> &str {
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

/// Kraken's alternate name of an asset: `XBT`, `XDG`.
pub(super) fn asset_altname(asset: &str) -> &str {
    match asset {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        other => other,
    }
}

/// `XBTUSD`
pub(super) fn altname(listing: &Listing) -> String {
    format!("{}{}", asset_altname(listing.base), asset_altname(listing.quote))
}

/// `XBT/USD`
pub(super) fn wsname(listing: &Listing) -> String {
    format!("{}/{}", asset_altname(listing.base), asset_altname(listing.quote))
}

/// `BTC/USD`: the case-sensitive symbol of WebSocket version 2.
pub(super) fn stream_name(listing: &Listing) -> String {
    format!("{}/{}", listing.base, listing.quote)
}

/// All names of a market except its id.
pub(super) fn names(listing: &Listing) -> [String; 3] {
    [stream_name(listing), altname(listing), wsname(listing)]
}

/// The first minute and the bar of the interval that contains `at`, as known at `now`.
pub(super) fn bar(market: &Market, listing: &Listing, interval: i64, at: i64, now: i64) -> (i64, Option<Bar>) {
    let first = (at / MINUTE).div_euclid(interval) * interval;
    (first, market.bar(listing, first, first + interval, now))
}
