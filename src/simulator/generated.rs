//! Generated markets, for long listings.

use std::sync::OnceLock;

use crate::model::{ExchangeId, PerExchange};

use super::catalog::{Catalog, GeneratedMarket};

/// Maximum number of markets per exchange.
pub const MAX_MARKETS: usize = 3_000;

/// The markets of an exchange that are not in its catalog, in listing order.
pub(super) fn generated_markets(exchange: ExchangeId, catalog: &Catalog) -> &'static [GeneratedMarket] {
    static ALL: PerExchange<OnceLock<Vec<GeneratedMarket>>> =
        PerExchange::new([const { OnceLock::new() }; ExchangeId::MAX]);
    ALL[exchange].get_or_init(|| generate(catalog))
}

fn generate(catalog: &Catalog) -> Vec<GeneratedMarket> {
    let market = |base: &str, quote, price| GeneratedMarket {
        native: (catalog.native)(base, quote),
        base: base.to_owned(),
        quote,
        alias: None,
        halted: false,
        price,
        amount: (2, 500),
        rows: [const { OnceLock::new() }; 2],
    };
    let mut all: Vec<GeneratedMarket> =
        catalog.unusual.iter().map(|(base, quote)| market(base, quote, (4, 12_000))).collect();
    if let Some(aliases) = &catalog.aliases {
        for base in aliases.bases {
            let alias = Some(aliases.original);
            all.push(GeneratedMarket { alias, ..market(base, aliases.quote, (4, 12_000)) });
        }
    }
    for number in 0..MAX_MARKETS {
        for quote in catalog.quotes {
            let (offset, base) = (i64::try_from(number).unwrap_or(0), format!("Z{number:04}"));
            let base_price = 5_000 + offset * 37 % 50_000;
            let alias = catalog.aliases.filter(|aliases| aliases.quote == *quote).map(|aliases| aliases.original);
            all.push(GeneratedMarket { alias, halted: number % 20 == 7, ..market(&base, quote, (4, base_price)) });
        }
    }
    all.truncate(MAX_MARKETS);
    all
}
