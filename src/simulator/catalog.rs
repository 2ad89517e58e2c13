//! Markets of the simulated exchanges. Prices are integer ticks, amounts are integer steps.

use std::sync::OnceLock;

use rust_decimal::Decimal;

use crate::model::{ExchangeId, Symbol};

/// The markets of a simulated exchange, and what it publishes about them.
#[derive(Debug)]
pub struct Catalog {
    /// Markets that are always listed.
    pub rows: &'static [CatalogRow],
    /// Unusual asset names of real listings, as base and quote. The first generated markets.
    pub unusual: &'static [(&'static str, &'static str)],
    /// Quotes of the other generated markets.
    pub quotes: &'static [&'static str],
    /// Markets that share the order books of others.
    pub aliases: Option<Aliases>,
    /// The native id of a generated market, from base and quote.
    pub native: fn(&str, &str) -> String,
    /// Names that requests may use in place of the native id.
    pub other_names: fn(&Listing) -> Vec<String>,
    pub candle_fields: CandleFields,
}

/// Generated markets that share the order books of others with the same base.
#[derive(Clone, Copy, Debug)]
pub struct Aliases {
    /// Quote of the aliases.
    pub quote: &'static str,
    /// Quote of the markets whose order books they share.
    pub original: &'static str,
    /// Bases of markets in `rows` that have an alias. All generated markets in `original` have one.
    pub bases: &'static [&'static str],
}

/// What an exchange publishes about its candles.
#[derive(Clone, Copy, Debug)]
pub struct CandleFields {
    /// Whether an interval without a trade has a candle.
    pub empty_intervals: bool,
    pub quote_volume: bool,
    /// Number of trades.
    pub trades: bool,
    /// Column of the volume in REST rows that are arrays.
    pub volume_column: usize,
}

/// A market of a catalog; see [`rows`].
#[derive(Debug)]
pub struct CatalogRow {
    pub base: &'static str,
    pub quote: &'static str,
    pub native: &'static str,
    pub price_scale: u32,
    pub amount_scale: u32,
    pub base_price: i64,
    pub typical_amount: i64,
    pub quiet_percent: i64,
    pub max_trades: u64,
}

/// The rows of a catalog: base, quote, native id; price scale @ base price in ticks; amount scale @ typical amount in
/// steps; percentage of minutes without a trade; maximum number of trades per minute.
macro_rules! rows {
    (
        $($base:literal $quote:literal $native:literal, $price_scale:literal @ $base_price:literal,
        $amount_scale:literal @ $typical_amount:literal, $quiet_percent:literal, $max_trades:literal;)*
    ) => {
        &[$($crate::simulator::catalog::CatalogRow {
            base: $base, quote: $quote, native: $native, price_scale: $price_scale, base_price: $base_price,
            amount_scale: $amount_scale, typical_amount: $typical_amount, quiet_percent: $quiet_percent,
            max_trades: $max_trades,
        }),*]
    };
}
pub(super) use rows;

/// A market that is not in the catalog.
#[derive(Debug)]
pub struct GeneratedMarket {
    pub base: String,
    pub quote: &'static str,
    pub native: String,
    /// Quote of the market with the same base whose order book this market shares.
    pub alias: Option<&'static str>,
    /// Listed as halted although its streams continue.
    pub halted: bool,
    /// Decimal places of a price, and the base price in ticks.
    pub price: (u32, i64),
    /// Decimal places of an amount, and a typical amount in steps.
    pub amount: (u32, i64),
    /// Cached listing rows: as listed, and halted. They do not depend on the seed.
    pub rows: [OnceLock<String>; 2],
}

/// A market of a simulated exchange.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Position among the listings of all exchanges, from 0 without gaps.
    pub index: usize,
    pub exchange: ExchangeId,
    pub(super) catalog: &'static Catalog,
    pub symbol: Symbol,
    /// Market id of the exchange's REST API: `BTCUSDT`, `XXBTZUSD`.
    pub native: &'static str,
    /// The assets in the exchange's spelling; case can be significant.
    pub(super) base: &'static str,
    pub(super) quote: &'static str,
    /// Index of the market whose order book this market shares.
    pub(super) alias_of: Option<usize>,
    /// Listed as halted.
    pub(super) halted: bool,
    /// Set for generated markets, `None` for markets of the catalog.
    pub(super) generated: Option<&'static GeneratedMarket>,
    /// Decimal places of a price; a tick is one unit of the last place.
    pub price_scale: u32,
    /// Decimal places of an amount; a step is one unit of the last place.
    pub amount_scale: u32,
    /// Price around which the market fluctuates, in ticks.
    pub(super) base_price: i64,
    /// Typical small amount, in steps.
    pub(super) typical_amount: i64,
    /// Percentage of minutes without a trade.
    pub(super) quiet_percent: i64,
    /// Maximum number of trades per minute.
    pub(super) max_trades: u64,
    pub(super) key: u64,
    pub(super) base_key: u64,
    /// `None` if the quote is a fiat currency or stablecoin, whose value is constant.
    pub(super) quote_key: Option<u64>,
}

impl Listing {
    /// A price from ticks.
    #[must_use]
    pub fn price(&self, ticks: i64) -> Decimal {
        Decimal::new(ticks, self.price_scale)
    }

    /// An amount from steps.
    #[must_use]
    pub fn amount(&self, steps: i64) -> Decimal {
        Decimal::new(steps, self.amount_scale)
    }

    /// A sum of price times amount, from ticks times steps.
    #[must_use]
    pub fn turnover(&self, units: i128) -> Decimal {
        Decimal::try_from_i128_with_scale(units, self.price_scale + self.amount_scale).unwrap_or_default()
    }
}
