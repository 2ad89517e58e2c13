//! Long listings with the names that real ones have, and how a listing looks while a fault lasts.

use std::borrow::Cow;
use std::sync::{LazyLock, OnceLock};

use crate::model::{ExchangeId, Timestamp};

use super::Shared;
use super::catalog::Listing;
use super::faults::FaultKind;
use super::market::Market;

/// The most markets that an exchange lists here.
pub const MAX_MARKETS: usize = 3_000;

/// A market that is listed beside those of the catalog.
#[derive(Debug)]
pub(super) struct Extra {
    pub base: String,
    pub quote: &'static str,
    pub native: String,
    /// Another market whose order book this one is a name of, by its quote.
    pub alias: Option<&'static str>,
    /// Listed as halted, although its streams go on.
    pub halted: bool,
    /// Digits after the point of a price, and the level in ticks.
    pub price: (u32, i64),
    /// Digits after the point of an amount, and a usual one in steps.
    pub amount: (u32, i64),
    /// Its row in the listing, as it is and halted. The same for every seed.
    rows: [OnceLock<String>; 2],
}

/// Names that real listings have, each with the quotes that it has.
const ODD: &[(ExchangeId, &str, &str)] = &[
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

/// Coinbase lists most markets in dollars once more in USDC, as other names of the same books.
const ALIASED: [&str; 8] = ["BTC", "ETH", "SOL", "XRP", "DOGE", "LTC", "LINK", "ADA"];

fn native(exchange: ExchangeId, base: &str, quote: &str) -> String {
    match exchange {
        ExchangeId::Binance | ExchangeId::Bybit => format!("{base}{quote}"),
        ExchangeId::Kraken => format!("{}{quote}", if base == "BTC" { "XBT" } else { base }),
        ExchangeId::Coinbase | ExchangeId::Okx => format!("{base}-{quote}"),
    }
}

fn extra(exchange: ExchangeId, base: &str, quote: &'static str, price: (u32, i64)) -> Extra {
    Extra {
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

/// What an exchange lists beside the catalog, in its order.
pub(super) fn extras(exchange: ExchangeId) -> &'static [Extra] {
    static ALL: LazyLock<[Vec<Extra>; ExchangeId::ALL.len()]> = LazyLock::new(|| ExchangeId::ALL.map(make));
    &ALL[exchange as usize]
}

fn make(exchange: ExchangeId) -> Vec<Extra> {
    let odd = ODD.iter().filter(|(of, ..)| *of == exchange);
    let mut all: Vec<Extra> = odd.map(|(_, base, quote)| extra(exchange, base, quote, (4, 12_000))).collect();
    let quotes: &[&'static str] = match exchange {
        ExchangeId::Binance => &["USDT", "USDC", "TRY", "FDUSD", "EUR"],
        ExchangeId::Kraken => &["USD", "EUR"],
        ExchangeId::Coinbase => &["USD", "USDC"],
        ExchangeId::Okx | ExchangeId::Bybit => &["USDT", "USDC"],
    };
    if exchange == ExchangeId::Coinbase {
        for base in ALIASED {
            all.push(Extra { alias: Some("USD"), ..extra(exchange, base, "USDC", (4, 12_000)) });
        }
    }
    for number in 0..MAX_MARKETS {
        for quote in quotes {
            let (place, base) = (i64::try_from(number).unwrap_or(0), format!("Z{number:04}"));
            let level = 5_000 + place * 37 % 50_000;
            all.push(Extra {
                alias: (exchange == ExchangeId::Coinbase && *quote == "USDC").then_some("USD"),
                halted: number % 20 == 7,
                ..extra(exchange, &base, quote, (4, level))
            });
        }
    }
    all.truncate(MAX_MARKETS);
    all
}

/// How a listing looks now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct View {
    /// Everything is listed as halted.
    halted: bool,
    /// Most markets are missing.
    empty: bool,
    /// There are rows that cannot be read as documented.
    odd: bool,
}

impl View {
    /// What the faults make of the listing that is asked for now.
    pub fn now(shared: &Shared, exchange: ExchangeId, now: i64) -> Self {
        let strikes = |kind| shared.faults.strikes(exchange, kind, Timestamp::from_millis(now));
        Self {
            halted: strikes(FaultKind::Halted),
            empty: strikes(FaultKind::EmptyListing),
            odd: strikes(FaultKind::OddListing),
        }
    }

    /// The rows of a listing. `write` writes one, halted or not; `state` is the member that says so; `odd` are rows that
    /// cannot be read as documented.
    pub fn rows(
        self,
        market: &Market,
        exchange: ExchangeId,
        write: impl Fn(&Listing, bool) -> String,
        state: &str,
        odd: &[&'static str],
    ) -> Vec<Cow<'static, str>> {
        let shown = market.listings(exchange).filter(|listing| !self.empty || listing.index % 20 == 19);
        let mut rows: Vec<Cow<'static, str>> = shown
            .map(|listing| {
                let halted = self.halted || listing.halted;
                match listing.extra {
                    Some(extra) => {
                        extra.rows[usize::from(halted)].get_or_init(|| write(listing, halted)).as_str().into()
                    }
                    None => write(listing, halted).into(),
                }
            })
            .collect();
        if self.odd {
            // One that may be collected is among them.
            if let Some(second) = rows.get_mut(1)
                && let Ok(mut row) = serde_json::from_str::<serde_json::Value>(second)
            {
                row[state] = serde_json::json!([]);
                *second = row.to_string().into();
            }
            rows.extend(odd.iter().map(|row| Cow::Borrowed(*row)));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_exchange_lists_as_many_markets_as_asked_for_each_with_its_own_id() {
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
    fn another_name_of_a_book_tells_the_same_trades() {
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
