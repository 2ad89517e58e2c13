//! Coinbase's dialect: the public market data of Advanced Trade.
//! <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/overview>

mod rest;
mod stream;

pub use rest::{REST_PREFIX, answer};
pub use stream::Feed;

use rust_decimal::Decimal;

use crate::model::Timestamp;
use crate::simulator::catalog::Listing;
use crate::simulator::market::Day;
use crate::simulator::tape::Trade;

/// Without trailing zeros: `65091`.
fn plain(value: Decimal) -> String {
    value.normalize().to_string()
}

/// `2026-08-09T21:05:48.167634Z`
fn time(millis: i64) -> String {
    Timestamp::from_millis(millis).utc().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// How the last 24 hours moved the price, in per cent.
fn change(day: &Day) -> String {
    let (before, last) = (Decimal::from(day.before), Decimal::from(day.bar.close));
    plain(((last - before) * Decimal::ONE_HUNDRED).checked_div(before).unwrap_or_default().round_dp(14))
}

/// A trade; its side is the maker's.
fn trade(listing: &Listing, trade: &Trade) -> String {
    format!(
        "{{\"product_id\":\"{}\",\"trade_id\":\"{}\",\"price\":\"{}\",\"size\":\"{}\",\"time\":\"{}\",\"side\":\"{}\"}}",
        listing.native,
        trade.id,
        plain(listing.price(trade.price)),
        plain(listing.amount(trade.amount)),
        time(trade.time),
        if trade.buy { "SELL" } else { "BUY" },
    )
}
