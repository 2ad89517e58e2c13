//! Formats shared by REST and streams.

use rust_decimal::Decimal;

use crate::model::Interval;
use crate::simulator::catalog::Listing;
use crate::simulator::market::DayStatistics;

/// Formats a decimal without trailing zeros: `65091`.
pub(super) fn format_decimal(value: Decimal) -> String {
    value.normalize().to_string()
}

/// The interval with this name on Bybit. The open time of weeks is not documented; the simulator uses Monday.
/// <https://bybit-exchange.github.io/docs/v5/enum#interval>
pub(super) fn parse_interval(name: &str) -> Option<Interval> {
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

/// The ticker members common to REST and stream. The change is a fraction with four decimal places.
pub(super) fn ticker_fields(listing: &Listing, day: &DayStatistics) -> String {
    let price = |ticks: i64| format_decimal(listing.price(ticks));
    let (before, last) = (Decimal::from(day.previous_price), Decimal::from(day.bar.close));
    let change = (last - before).checked_div(before).unwrap_or_default().round_dp(4);
    format!(
        "\"symbol\":\"{}\",\"lastPrice\":\"{}\",\"highPrice24h\":\"{}\",\"lowPrice24h\":\"{}\",\"prevPrice24h\":\"{}\",\
         \"volume24h\":\"{}\",\"turnover24h\":\"{}\",\"price24hPcnt\":\"{change}\",\"usdIndexPrice\":\"{}\"",
        listing.native,
        price(day.bar.close),
        price(day.bar.high),
        price(day.bar.low),
        price(day.previous_price),
        format_decimal(listing.amount(day.bar.volume)),
        format_decimal(listing.turnover(day.bar.turnover)),
        price(day.bar.close),
    )
}
