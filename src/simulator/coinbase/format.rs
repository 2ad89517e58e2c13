//! Formats shared by REST and streams.

use rust_decimal::Decimal;

use crate::model::Timestamp;
use crate::simulator::catalog::Listing;
use crate::simulator::market::DayStatistics;
use crate::simulator::trades::Trade;

/// Formats a decimal without trailing zeros: `65091`.
pub(super) fn format_decimal(value: Decimal) -> String {
    value.normalize().to_string()
}

/// `2026-08-09T21:05:48.167634Z`
pub(super) fn format_time(millis: i64) -> String {
    Timestamp::from_millis(millis).utc().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Price change of the last 24 hours in percent.
pub(super) fn change_percent(day: &DayStatistics) -> String {
    let (previous, last) = (Decimal::from(day.previous_price), Decimal::from(day.bar.close));
    format_decimal(((last - previous) * Decimal::ONE_HUNDRED).checked_div(previous).unwrap_or_default().round_dp(14))
}

/// A trade as JSON. `side` is the maker's side.
pub(super) fn trade_json(listing: &Listing, trade: &Trade) -> String {
    format!(
        "{{\"product_id\":\"{}\",\"trade_id\":\"{}\",\"price\":\"{}\",\"size\":\"{}\",\"time\":\"{}\",\"side\":\"{}\"}}",
        listing.native,
        trade.id,
        format_decimal(listing.price(trade.price)),
        format_decimal(listing.amount(trade.amount)),
        format_time(trade.time),
        if trade.is_buy { "SELL" } else { "BUY" },
    )
}
