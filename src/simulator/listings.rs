//! Generated markets for long listings, and the effect of faults on listings.

use std::borrow::Cow;
use std::sync::{LazyLock, OnceLock};

use crate::model::{ExchangeId, Timestamp};

use super::Shared;
use super::catalog::Listing;
use super::faults::FaultKind;
use super::market::Market;

/// Maximum number of markets per exchange.
pub const MAX_MARKETS: usize = 3_000;

/// A market that is not in the catalog.
#[derive(Debug)]
pub(super) struct GeneratedMarket {
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
    rows: [OnceLock<String>; 2],
}

/// Unusual asset names of real listings, each with a quote it is listed in.
const UNUSUAL_MARKETS: &[(ExchangeId, &str, &str)] = &[
    (ExchangeId::Binance, "1000SATS", "USDT"),
    (ExchangeId::Binance, "币安人生", "USDT"),
    (ExchangeId::Binance, "1INCH", "USDT"),
    (ExchangeId::Binance, "USD1", "USDT"),
    (ExchangeId::Binance, "4", "USDT"),
    (ExchangeId::Binance, "BTC", "U"),
    (ExchangeId::Binance, "XRP", "RLUSD"),
    (ExchangeId::Binance, "BTC", "USD1"),
    (ExchangeId::Binance, "BNB", "FDUSD"),
    (ExchangeId::Kraken, "AAPLx", "USD"),
    (ExchangeId::Kraken, "BTC", "PYUSD"),
    (ExchangeId::Kraken, "1INCH", "USD"),
    (ExchangeId::Kraken, "XRP", "RLUSD"),
    (ExchangeId::Coinbase, "00", "USD"),
    (ExchangeId::Coinbase, "1INCH", "USD"),
    (ExchangeId::Okx, "1INCH", "USDT"),
    (ExchangeId::Okx, "SATS", "USDT"),
    (ExchangeId::Bybit, "1INCH", "USDT"),
    (ExchangeId::Bybit, "USD1", "USDT"),
    (ExchangeId::Bybit, "XRP", "RLUSD"),
];

/// Bases of the catalog that Coinbase lists in USD and also in USDC, as aliases of the same order books.
const ALIASED: [&str; 8] = ["BTC", "ETH", "SOL", "XRP", "DOGE", "LTC", "LINK", "ADA"];

fn native(exchange: ExchangeId, base: &str, quote: &str) -> String {
    match exchange {
        ExchangeId::Binance | ExchangeId::Bybit => format!("{base}{quote}"),
        ExchangeId::Kraken => format!("{}{quote}", if base == "BTC" { "XBT" } else { base }),
        ExchangeId::Coinbase | ExchangeId::Okx => format!("{base}-{quote}"),
    }
}

fn generated_market(exchange: ExchangeId, base: &str, quote: &'static str, price: (u32, i64)) -> GeneratedMarket {
    GeneratedMarket {
        native: native(exchange, base, quote),
        base: base.to_owned(),
        quote,
        alias: None,
        halted: false,
        price,
        amount: (2, 500),
        rows: [const { OnceLock::new() }; 2],
    }
}

/// The markets of an exchange that are not in the catalog, in listing order.
pub(super) fn generated_markets(exchange: ExchangeId) -> &'static [GeneratedMarket] {
    static ALL: LazyLock<[Vec<GeneratedMarket>; ExchangeId::ALL.len()]> =
        LazyLock::new(|| ExchangeId::ALL.map(generate));
    &ALL[exchange as usize]
}

fn generate(exchange: ExchangeId) -> Vec<GeneratedMarket> {
    let unusual = UNUSUAL_MARKETS.iter().filter(|(listed_on, ..)| *listed_on == exchange);
    let mut all: Vec<GeneratedMarket> =
        unusual.map(|(_, base, quote)| generated_market(exchange, base, quote, (4, 12_000))).collect();
    let quotes: &[&'static str] = match exchange {
        ExchangeId::Binance => &["USDT", "USDC", "TRY", "FDUSD", "EUR"],
        ExchangeId::Kraken => &["USD", "EUR"],
        ExchangeId::Coinbase => &["USD", "USDC"],
        ExchangeId::Okx | ExchangeId::Bybit => &["USDT", "USDC"],
    };
    if exchange == ExchangeId::Coinbase {
        for base in ALIASED {
            all.push(GeneratedMarket { alias: Some("USD"), ..generated_market(exchange, base, "USDC", (4, 12_000)) });
        }
    }
    for number in 0..MAX_MARKETS {
        for quote in quotes {
            let (offset, base) = (i64::try_from(number).unwrap_or(0), format!("Z{number:04}"));
            let base_price = 5_000 + offset * 37 % 50_000;
            all.push(GeneratedMarket {
                alias: (exchange == ExchangeId::Coinbase && *quote == "USDC").then_some("USD"),
                halted: number % 20 == 7,
                ..generated_market(exchange, &base, quote, (4, base_price))
            });
        }
    }
    all.truncate(MAX_MARKETS);
    all
}

/// State of the listing faults at one time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ListingView {
    /// All markets are listed as halted.
    halted: bool,
    /// Most markets are missing.
    empty: bool,
    /// The listing has rows that violate the documentation.
    odd: bool,
}

impl ListingView {
    /// The listing faults that apply to a request at `now`.
    pub fn now(shared: &Shared, exchange: ExchangeId, now: i64) -> Self {
        let trigger = |kind| shared.faults.trigger(exchange, kind, Timestamp::from_millis(now));
        Self {
            halted: trigger(FaultKind::Halted),
            empty: trigger(FaultKind::EmptyListing),
            odd: trigger(FaultKind::OddListing),
        }
    }

    /// The rows of a listing. `write` writes a row, halted or not. `state` names the member with the trading state.
    /// `invalid_rows` violate the documentation.
    pub fn rows(
        self,
        market: &Market,
        exchange: ExchangeId,
        write: impl Fn(&Listing, bool) -> String,
        state: &str,
        invalid_rows: &[&'static str],
    ) -> Vec<Cow<'static, str>> {
        let listed = market.listings(exchange).filter(|listing| !self.empty || listing.index % 20 == 19);
        let mut rows: Vec<Cow<'static, str>> = listed
            .map(|listing| {
                let halted = self.halted || listing.halted;
                match listing.generated {
                    Some(generated) => {
                        generated.rows[usize::from(halted)].get_or_init(|| write(listing, halted)).as_str().into()
                    }
                    None => write(listing, halted).into(),
                }
            })
            .collect();
        if self.odd {
            // Also breaks the row of a market that may be collected.
            if let Some(second) = rows.get_mut(1)
                && let Ok(mut row) = serde_json::from_str::<serde_json::Value>(second)
            {
                row[state] = serde_json::json!([]);
                *second = row.to_string().into();
            }
            rows.extend(invalid_rows.iter().map(|row| Cow::Borrowed(*row)));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn lists_requested_number_of_markets_with_unique_ids() {
        for (markets, expected) in [(0, 40), (60, 60), (MAX_MARKETS, MAX_MARKETS)] {
            let market = Market::with_markets(1, markets);
            for exchange in ExchangeId::ALL {
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
        let range =
            crate::model::TimeRange::new(Timestamp::from_secs(1_763_672_400), Timestamp::from_secs(1_763_673_000));
        let candles = |symbol: &str| {
            market.candles(ExchangeId::Coinbase, &symbol.parse().unwrap(), crate::model::Interval::M1, range)
        };
        for base in ["BTC", "ADA", "Z0001"] {
            assert!(!candles(&format!("{base}/USD")).is_empty());
            assert_eq!(candles(&format!("{base}/USD")), candles(&format!("{base}/USDC")), "{base}");
        }
    }
}
