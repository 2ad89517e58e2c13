//! Binance's spot protocol.
//! <https://developers.binance.com/docs/binance-spot-api-docs>

mod rest;
mod stream;

pub use rest::{REST_PREFIX, handle};
pub use stream::Feed;

use rust_decimal::Decimal;

use super::catalog::Listing;
use super::market::{DayStatistics, Market, TopOfBook};
use super::trades::Bar;

/// A decimal in Binance's format: always eight decimal places.
fn format_decimal(mut value: Decimal) -> String {
    value.rescale(8);
    value.to_string()
}

fn price(listing: &Listing, ticks: i64) -> String {
    format_decimal(listing.price(ticks))
}

fn amount(listing: &Listing, steps: i64) -> String {
    format_decimal(listing.amount(steps))
}

fn turnover(listing: &Listing, units: i128) -> String {
    format_decimal(listing.turnover(units))
}

/// Price change of the day: absolute, in percent with three decimal places, and the VWAP.
fn day_change(listing: &Listing, day: &DayStatistics) -> (String, String, String) {
    let change = listing.price(day.bar.close - day.bar.open);
    let mut percent = (change * Decimal::ONE_HUNDRED).checked_div(listing.price(day.bar.open)).unwrap_or_default();
    percent.rescale(3);
    (format_decimal(change), percent.to_string(), format_decimal(Market::vwap(listing, &day.bar, 8)))
}

/// Bid price, bid size, ask price, ask size.
fn quote_fields(listing: &Listing, book: &TopOfBook) -> [String; 4] {
    [price(listing, book.bid), amount(listing, book.bid_size), price(listing, book.ask), amount(listing, book.ask_size)]
}

/// Open, high, low and close.
fn ohlc(listing: &Listing, bar: &Bar) -> [String; 4] {
    [bar.open, bar.high, bar.low, bar.close].map(|ticks| price(listing, ticks))
}
