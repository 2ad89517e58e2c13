//! What the simulated exchanges list. Prices are counted in ticks and amounts in steps, both integers.

use rust_decimal::Decimal;

use crate::model::{ExchangeId, Symbol};

use super::noise;

/// A market of a simulated exchange.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Its place among all listings, dense from 0.
    pub index: usize,
    pub exchange: ExchangeId,
    pub symbol: Symbol,
    /// The id that the exchange's REST interface gives it: `BTCUSDT`, `XXBTZUSD`.
    pub native: &'static str,
    /// Digits after the point of a price; a tick is one in the last.
    pub price_scale: u32,
    /// Digits after the point of an amount; a step is one in the last.
    pub amount_scale: u32,
    /// The price that the market walks around, in ticks.
    pub(super) level: i64,
    /// A usual small amount, in steps.
    pub(super) lot: i64,
    /// How many of 100 minutes have no trade.
    pub(super) quiet: i64,
    /// The most trades of a minute.
    pub(super) busy: u64,
    pub(super) key: u64,
    pub(super) base_key: u64,
    /// `None` where the quote is money, which does not drift.
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

    /// A sum of prices times amounts.
    #[must_use]
    pub fn turnover(&self, units: i128) -> Decimal {
        Decimal::try_from_i128_with_scale(units, self.price_scale + self.amount_scale).unwrap_or_default()
    }
}

struct Row {
    exchange: ExchangeId,
    base: &'static str,
    quote: &'static str,
    native: &'static str,
    price_scale: u32,
    amount_scale: u32,
    level: i64,
    lot: i64,
    quiet: i64,
    busy: u64,
}

macro_rules! rows {
    ($($exchange:ident $base:literal $quote:literal $native:literal, $price:literal @ $level:literal, $amount:literal @ $lot:literal, $quiet:literal, $busy:literal;)*) => {
        &[$(Row {
            exchange: ExchangeId::$exchange, base: $base, quote: $quote, native: $native, price_scale: $price,
            amount_scale: $amount, level: $level, lot: $lot, quiet: $quiet, busy: $busy,
        }),*]
    };
}

// exchange, base, quote, native; digits of a price @ level in ticks; digits of an amount @ lot in steps;
// quiet minutes of 100; most trades a minute
const ROWS: &[Row] = rows! {
    Binance "BTC" "USDT" "BTCUSDT", 2 @ 6_700_000, 5 @ 120, 0, 20;
    Binance "ETH" "USDT" "ETHUSDT", 2 @ 340_000, 4 @ 240, 0, 20;
    Binance "SOL" "USDT" "SOLUSDT", 2 @ 16_000, 3 @ 500, 0, 18;
    Binance "XRP" "USDT" "XRPUSDT", 4 @ 5_800, 1 @ 1_200, 0, 16;
    Binance "ADA" "USDT" "ADAUSDT", 4 @ 4_300, 1 @ 1_500, 4, 12;
    Binance "DOGE" "USDT" "DOGEUSDT", 5 @ 16_000, 0 @ 400, 2, 14;
    Binance "BNB" "USDT" "BNBUSDT", 2 @ 58_000, 3 @ 150, 0, 14;
    Binance "LTC" "USDT" "LTCUSDT", 2 @ 8_200, 3 @ 800, 6, 10;
    Binance "AVAX" "USDT" "AVAXUSDT", 2 @ 3_500, 2 @ 200, 8, 10;
    Binance "LINK" "USDT" "LINKUSDT", 2 @ 1_450, 2 @ 400, 8, 10;
    Binance "BTC" "EUR" "BTCEUR", 2 @ 6_150_000, 5 @ 60, 20, 8;
    Binance "ETH" "BTC" "ETHBTC", 5 @ 5_075, 3 @ 40, 25, 8;
    Kraken "BTC" "USD" "XXBTZUSD", 1 @ 670_000, 8 @ 120_000, 1, 16;
    Kraken "BTC" "EUR" "XXBTZEUR", 1 @ 615_000, 8 @ 90_000, 5, 12;
    Kraken "BTC" "USDT" "XBTUSDT", 1 @ 670_000, 8 @ 60_000, 25, 8;
    Kraken "ETH" "USD" "XETHZUSD", 2 @ 340_000, 8 @ 2_400_000, 2, 14;
    Kraken "ETH" "EUR" "XETHZEUR", 2 @ 312_000, 8 @ 1_800_000, 8, 10;
    Kraken "ETH" "USDT" "ETHUSDT", 2 @ 340_000, 8 @ 1_200_000, 30, 6;
    Kraken "SOL" "USD" "SOLUSD", 2 @ 16_000, 8 @ 50_000_000, 4, 12;
    Kraken "SOL" "EUR" "SOLEUR", 2 @ 14_700, 8 @ 40_000_000, 15, 8;
    Kraken "SOL" "USDT" "SOLUSDT", 2 @ 16_000, 8 @ 30_000_000, 40, 5;
    Kraken "XRP" "USD" "XXRPZUSD", 5 @ 58_000, 8 @ 12_000_000_000, 6, 10;
    Kraken "ADA" "USD" "ADAUSD", 6 @ 430_000, 8 @ 15_000_000_000, 20, 8;
    Kraken "DOGE" "USD" "XDGUSD", 7 @ 1_600_000, 8 @ 40_000_000_000, 15, 8;
};

/// All listings, in the order in which their exchanges name them.
pub(super) fn listings(seed: u64) -> Vec<Listing> {
    let listing = |(index, row): (usize, &Row)| {
        // The table holds good symbols only, which a test checks.
        let symbol = Symbol::new(row.base, row.quote).ok()?;
        let drifts = !matches!(row.quote, "USD" | "USDT" | "EUR");
        Some(Listing {
            index,
            exchange: row.exchange,
            key: noise::key(seed, &format!("{}:{symbol}", row.exchange)),
            base_key: noise::key(seed, row.base),
            quote_key: drifts.then(|| noise::key(seed, row.quote)),
            symbol,
            native: row.native,
            price_scale: row.price_scale,
            amount_scale: row.amount_scale,
            level: row.level,
            lot: row.lot,
            quiet: row.quiet,
            busy: row.busy,
        })
    };
    ROWS.iter().enumerate().filter_map(listing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        let all = listings(1);
        assert_eq!(all.len(), ROWS.len());
        for (place, listing) in all.iter().enumerate() {
            assert_eq!(listing.index, place);
            assert!((1..=60).contains(&listing.busy) && (0..100).contains(&listing.quiet));
            // Binance writes eight digits: a turnover must fit them exactly.
            assert!(listing.exchange != ExchangeId::Binance || listing.price_scale + listing.amount_scale <= 8);
        }
    }
}
