//! Formats shared by REST and streams.

use rust_decimal::Decimal;

use crate::simulator::catalog::Listing;
use crate::simulator::market::{DayStatistics, Market, TopOfBook};
use crate::simulator::trades::Bar;

/// A decimal in Binance's format: always eight decimal places.
pub(super) fn format_decimal(mut value: Decimal) -> String {
    value.rescale(8);
    value.to_string()
}

pub(super) fn price(listing: &Listing, ticks: i64) -> String {
    format_decimal(listing.price(ticks))
}

pub(super) fn amount(listing: &Listing, steps: i64) -> String {
    format_decimal(listing.amount(steps))
}

pub(super) fn turnover(listing: &Listing, units: i128) -> String {
    format_decimal(listing.turnover(units))
}

/// Price change of the day: absolute, in percent with three decimal places, and the VWAP.
pub(super) fn day_change(listing: &Listing, day: &DayStatistics) -> (String, String, String) {
    let change = listing.price(day.bar.close - day.bar.open);
    let mut percent = (change * Decimal::ONE_HUNDRED).checked_div(listing.price(day.bar.open)).unwrap_or_default();
    percent.rescale(3);
    (format_decimal(change), percent.to_string(), format_decimal(Market::vwap(listing, &day.bar, 8)))
}

/// Bid price, bid size, ask price, ask size.
pub(super) fn quote_fields(listing: &Listing, book: &TopOfBook) -> [String; 4] {
    [price(listing, book.bid), amount(listing, book.bid_size), price(listing, book.ask), amount(listing, book.ask_size)]
}

/// Open, high, low and close.
pub(super) fn ohlc(listing: &Listing, bar: &Bar) -> [String; 4] {
    [bar.open, bar.high, bar.low, bar.close].map(|ticks| price(listing, ticks))
}
