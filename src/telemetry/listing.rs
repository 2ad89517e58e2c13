//! What is told of listings.

use std::fmt::Display;

use metrics::counter;

use crate::model::ExchangeId;

/// A row of a listing could not be read as documented. Told once for each market.
pub struct OddRowSeen<'a> {
    pub exchange: ExchangeId,
    pub name: &'a str,
    pub reason: &'a str,
    /// Whether the market is left out; otherwise only a step is missing.
    pub left_out: bool,
}

impl OddRowSeen<'_> {
    pub fn emit(&self) {
        let Self { exchange, name, reason, left_out } = self;
        tracing::warn!(exchange = exchange.as_str(), market = name, reason, left_out, "odd row in the listing");
    }
}

/// How many rows of a listing could not be read as documented.
pub struct OddRows {
    pub exchange: ExchangeId,
    pub left_out: usize,
    pub without_step: usize,
}

impl OddRows {
    pub fn emit(&self) {
        let exchange = self.exchange.as_str();
        for (effect, rows) in [("left_out", self.left_out), ("without_step", self.without_step)] {
            if rows > 0 {
                counter!("candlewick_listing_odd_rows_total", "exchange" => exchange, "effect" => effect)
                    .increment(rows as u64);
            }
        }
    }
}

/// Most markets vanished from a listing, or stopped, at once: it is not used until it stays so.
pub struct ListingDoubted {
    pub exchange: ExchangeId,
    /// Markets that traded by the listing in use, and do not by this one.
    pub lost: usize,
    /// Markets that trade by the listing in use.
    pub trading: usize,
}

impl ListingDoubted {
    pub fn emit(&self) {
        let Self { exchange, lost, trading } = self;
        let exchange = exchange.as_str();
        counter!("candlewick_listing_doubts_total", "exchange" => exchange).increment(1);
        tracing::warn!(exchange, lost, trading, "listing lost most of its markets at once: the one before is used");
    }
}

/// The exchange gave a collected market another id.
pub struct MarketRenamed<'a> {
    pub exchange: ExchangeId,
    pub symbol: &'a dyn Display,
    pub from: &'a str,
    pub to: &'a str,
}

impl MarketRenamed<'_> {
    pub fn emit(&self) {
        let Self { exchange, symbol, from, to } = self;
        tracing::info!(exchange = exchange.as_str(), %symbol, from, to, "market has another id");
    }
}
