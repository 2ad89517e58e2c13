//! Binance's spot dialect.
//! <https://developers.binance.com/docs/binance-spot-api-docs>

mod rest;
mod stream;

pub use rest::{REST_PREFIX, answer};
pub use stream::Feed;

use rust_decimal::Decimal;

use super::catalog::Listing;
use super::market::{Book, Day, Market};
use super::tape::Bar;

/// A number as Binance writes it: always eight digits after the point.
fn fixed(mut value: Decimal) -> String {
    value.rescale(8);
    value.to_string()
}

fn price(listing: &Listing, ticks: i64) -> String {
    fixed(listing.price(ticks))
}

fn amount(listing: &Listing, steps: i64) -> String {
    fixed(listing.amount(steps))
}

fn turnover(listing: &Listing, units: i128) -> String {
    fixed(listing.turnover(units))
}

/// How the day went: change, change in per cent with three digits, mean price.
fn change(listing: &Listing, day: &Day) -> (String, String, String) {
    let change = listing.price(day.bar.close - day.bar.open);
    let mut percent = (change * Decimal::ONE_HUNDRED).checked_div(listing.price(day.bar.open)).unwrap_or_default();
    percent.rescale(3);
    (fixed(change), percent.to_string(), fixed(Market::mean(listing, &day.bar, 8)))
}

/// Bid, its size, ask, its size.
fn best(listing: &Listing, book: &Book) -> [String; 4] {
    [price(listing, book.bid), amount(listing, book.bid_size), price(listing, book.ask), amount(listing, book.ask_size)]
}

/// Open, high, low, close.
fn prices(listing: &Listing, bar: &Bar) -> [String; 4] {
    [bar.open, bar.high, bar.low, bar.close].map(|ticks| price(listing, ticks))
}
