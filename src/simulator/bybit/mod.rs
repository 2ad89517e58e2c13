//! Bybit's spot dialect, version 5.
//! <https://bybit-exchange.github.io/docs/v5/intro>

mod rest;
mod stream;

pub use rest::{REST_PREFIX, answer};
pub use stream::Feed;

use rust_decimal::Decimal;

use crate::model::Interval;
use crate::simulator::catalog::Listing;
use crate::simulator::market::Day;

/// Without trailing zeros: `65091`.
fn plain(value: Decimal) -> String {
    value.normalize().to_string()
}

/// The interval that Bybit calls so. Where weeks open is not documented; here they open on Monday.
/// <https://bybit-exchange.github.io/docs/v5/enum#interval>
fn interval(name: &str) -> Option<Interval> {
    Some(match name {
        "1" => Interval::M1,
        "3" => Interval::M3,
        "5" => Interval::M5,
        "15" => Interval::M15,
        "30" => Interval::M30,
        "60" => Interval::H1,
        "120" => Interval::H2,
        "240" => Interval::H4,
        "360" => Interval::H6,
        "720" => Interval::H12,
        "D" => Interval::D1,
        "W" => Interval::W1,
        "M" => Interval::Mo1,
        _ => return None,
    })
}

/// The members that a ticker has everywhere. The change is a fraction, with four digits.
fn statistics(listing: &Listing, day: &Day) -> String {
    let price = |ticks: i64| plain(listing.price(ticks));
    let (before, last) = (Decimal::from(day.before), Decimal::from(day.bar.close));
    let change = (last - before).checked_div(before).unwrap_or_default().round_dp(4);
    format!(
        "\"symbol\":\"{}\",\"lastPrice\":\"{}\",\"highPrice24h\":\"{}\",\"lowPrice24h\":\"{}\",\"prevPrice24h\":\"{}\",\
         \"volume24h\":\"{}\",\"turnover24h\":\"{}\",\"price24hPcnt\":\"{change}\",\"usdIndexPrice\":\"{}\"",
        listing.native,
        price(day.bar.close),
        price(day.bar.high),
        price(day.bar.low),
        price(day.before),
        plain(listing.amount(day.bar.volume)),
        plain(listing.turnover(day.bar.turnover)),
        price(day.bar.close),
    )
}
