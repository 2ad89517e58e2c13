//! Creates the market of all simulated exchanges.

use std::collections::HashSet;

use crate::model::Symbol;

use super::catalog::{CatalogRow, GeneratedMarket, Listing};
use super::exchange::SimulatedExchange;
use super::generated::generated_markets;
use super::market::Market;
use super::noise;
use super::registry::EXCHANGES;

impl Market {
    /// The market of a seed, with the listings of the catalogs.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_markets(seed, 0)
    }

    /// The market of a seed with at least `markets` listings per exchange, up to [`MAX_MARKETS`](super::MAX_MARKETS).
    #[must_use]
    pub fn with_markets(seed: u64, markets: usize) -> Self {
        Self::from_listings(listings(seed, markets))
    }
}

/// All listings, in each exchange's order: the markets of its catalog, then generated markets until the exchange lists
/// `markets`.
fn listings(seed: u64, markets: usize) -> Vec<Listing> {
    let mut all: Vec<Listing> = Vec::new();
    for exchange in EXCHANGES {
        for row in exchange.catalog().rows {
            push(&mut all, seed, *exchange, row, None);
        }
    }
    for exchange in EXCHANGES {
        let taken: HashSet<&str> = exchange.catalog().rows.iter().map(|row| row.native).collect();
        let generated = generated_markets(exchange.id(), exchange.catalog());
        let free = generated.iter().filter(|generated| !taken.contains(&*generated.native));
        for generated in free.take(markets.saturating_sub(taken.len())) {
            let row = CatalogRow {
                base: &generated.base,
                quote: generated.quote,
                native: &generated.native,
                price_scale: generated.price.0,
                amount_scale: generated.amount.0,
                base_price: generated.price.1,
                typical_amount: generated.amount.1,
                quiet_percent: 40,
                max_trades: 6,
            };
            push(&mut all, seed, *exchange, &row, Some(generated));
        }
    }
    all
}

fn push(
    all: &mut Vec<Listing>,
    seed: u64,
    exchange: &dyn SimulatedExchange,
    row: &CatalogRow,
    generated: Option<&'static GeneratedMarket>,
) {
    // All symbols of the tables are valid; a test checks that no row is skipped.
    let Ok(symbol) = Symbol::new(row.base, row.quote) else { return };
    let (exchange, catalog) = (exchange.id(), exchange.catalog());
    let drifts = !matches!(row.quote, "USD" | "USDT" | "USDC" | "EUR");
    let listing = Listing {
        index: all.len(),
        exchange,
        catalog,
        key: noise::key(seed, &format!("{exchange}:{symbol}")),
        base_key: noise::key(seed, row.base),
        quote_key: drifts.then(|| noise::key(seed, row.quote)),
        symbol,
        native: row.native,
        base: row.base,
        quote: row.quote,
        alias_of: None,
        halted: generated.is_some_and(|generated| generated.halted),
        generated,
        price_scale: row.price_scale,
        amount_scale: row.amount_scale,
        base_price: row.base_price,
        typical_amount: row.typical_amount,
        quiet_percent: row.quiet_percent,
        max_trades: row.max_trades,
    };
    let Some(quote) = generated.and_then(|generated| generated.alias) else { return all.push(listing) };
    // An alias has the trades of its original.
    let is_original =
        |listing: &&Listing| listing.exchange == exchange && listing.base == row.base && listing.quote == quote;
    if let Some(original) = all.iter().rev().find(is_original).cloned() {
        let Listing { index, symbol, native, base, quote, halted, generated, .. } = listing;
        all.push(Listing {
            index,
            symbol,
            native,
            base,
            quote,
            halted,
            generated,
            alias_of: Some(original.index),
            ..original
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ExchangeId, Timestamp};
    use crate::simulator::MAX_MARKETS;

    #[test]
    fn catalogs_are_valid() {
        let rows: usize = EXCHANGES.iter().map(|exchange| exchange.catalog().rows.len()).sum();
        assert_eq!(listings(1, 0).len(), rows);
        for (index, listing) in listings(1, 200).iter().enumerate() {
            assert_eq!(listing.index, index);
            assert!((1..=60).contains(&listing.max_trades) && (0..100).contains(&listing.quiet_percent));
            // Exchanges that write eight digits must be able to write a turnover exactly.
            assert!(listing.exchange != ExchangeId::BINANCE || listing.price_scale + listing.amount_scale <= 8);
        }
    }

    #[test]
    fn lists_requested_number_of_markets_with_unique_ids() {
        for (markets, expected) in [(0, 40), (60, 60), (MAX_MARKETS, MAX_MARKETS)] {
            let market = Market::with_markets(1, markets);
            for exchange in ExchangeId::all() {
                let natives: HashSet<&str> = market.listings(exchange).map(|listing| listing.native).collect();
                let symbols: HashSet<&str> = market.listings(exchange).map(|listing| listing.symbol.as_str()).collect();
                let listed = market.listings(exchange).count();
                assert!(listed == expected || markets == 0 && listed >= expected, "{exchange}: {listed}");
                assert_eq!((natives.len(), symbols.len()), (listed, listed), "{exchange}");
            }
        }
    }

    #[test]
    fn alias_has_trades_of_its_original() {
        let market = Market::with_markets(1, 100);
        let with_aliases = EXCHANGES.iter().find(|exchange| exchange.catalog().aliases.is_some()).unwrap();
        let exchange = with_aliases.id();
        let range =
            crate::model::TimeRange::new(Timestamp::from_secs(1_763_672_400), Timestamp::from_secs(1_763_673_000));
        let candles =
            |symbol: &str| market.candles(exchange, &symbol.parse().unwrap(), crate::model::Interval::M1, range);
        for base in ["BTC", "ADA", "Z0001"] {
            assert!(!candles(&format!("{base}/USD")).is_empty());
            assert_eq!(candles(&format!("{base}/USD")), candles(&format!("{base}/USDC")), "{base}");
        }
    }
}
