//! Telemetry of exchange listings.

use std::fmt::Display;

use metrics::counter;

use crate::model::ExchangeId;

/// A row of a listing deviates from the documented format. Logged once per market.
pub struct MalformedRow<'a> {
    pub exchange: ExchangeId,
    pub name: &'a str,
    pub reason: &'a str,
    /// Whether the market is omitted; otherwise only a price or amount increment is missing.
    pub left_out: bool,
}

impl MalformedRow<'_> {
    pub fn emit(&self) {
        let Self { exchange, name, reason, left_out } = self;
        tracing::warn!(exchange = exchange.as_str(), market = name, reason, left_out, "malformed row in the listing");
    }
}

/// Number of rows of a listing that deviate from the documented format.
pub struct MalformedRows {
    pub exchange: ExchangeId,
    pub left_out: usize,
    pub without_step: usize,
}

impl MalformedRows {
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

/// Most markets disappeared from a listing, or stopped trading, at once. The listing is not used unless it persists.
pub struct SuspiciousListing {
    pub exchange: ExchangeId,
    /// Number of markets that trade by the current listing but not by the new one.
    pub lost: usize,
    /// Number of markets that trade by the current listing.
    pub trading: usize,
}

impl SuspiciousListing {
    pub fn emit(&self) {
        let Self { exchange, lost, trading } = self;
        let exchange = exchange.as_str();
        counter!("candlewick_listing_doubts_total", "exchange" => exchange).increment(1);
        tracing::warn!(exchange, lost, trading, "listing lost most of its markets, still using the previous one");
    }
}

/// The exchange changed the id of a collected market.
pub struct MarketRenamed<'a> {
    pub exchange: ExchangeId,
    pub symbol: &'a dyn Display,
    pub from: &'a str,
    pub to: &'a str,
}

impl MarketRenamed<'_> {
    pub fn emit(&self) {
        let Self { exchange, symbol, from, to } = self;
        tracing::info!(exchange = exchange.as_str(), %symbol, from, to, "market id changed");
    }
}
