//! Listings of the simulated exchanges. Prices are integer ticks, amounts are integer steps.

use std::collections::HashSet;

use rust_decimal::Decimal;

use crate::model::{ExchangeId, Symbol};

use super::listings::{GeneratedMarket, generated_markets};
use super::noise;

/// A market of a simulated exchange.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Position among the listings of all exchanges, from 0 without gaps.
    pub index: usize,
    pub exchange: ExchangeId,
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

struct CatalogRow {
    exchange: ExchangeId,
    base: &'static str,
    quote: &'static str,
    native: &'static str,
    price_scale: u32,
    amount_scale: u32,
    base_price: i64,
    typical_amount: i64,
    quiet_percent: i64,
    max_trades: u64,
}

macro_rules! rows {
    (
        $($exchange:ident $base:literal $quote:literal $native:literal, $price_scale:literal @ $base_price:literal,
        $amount_scale:literal @ $typical_amount:literal, $quiet_percent:literal, $max_trades:literal;)*
    ) => {
        &[$(CatalogRow {
            exchange: ExchangeId::$exchange, base: $base, quote: $quote, native: $native, price_scale: $price_scale,
            base_price: $base_price, amount_scale: $amount_scale, typical_amount: $typical_amount,
            quiet_percent: $quiet_percent, max_trades: $max_trades,
        }),*]
    };
}

// exchange, base, quote, native; price scale @ base price in ticks; amount scale @ typical amount in steps;
// percentage of minutes without a trade; maximum number of trades per minute
const CATALOG: &[CatalogRow] = rows! {
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
    Binance "DOT" "USDT" "DOTUSDT", 2 @ 650, 2 @ 300, 6, 10;
    Binance "TRX" "USDT" "TRXUSDT", 4 @ 1_600, 1 @ 8_000, 9, 9;
    Binance "ATOM" "USDT" "ATOMUSDT", 3 @ 7_400, 2 @ 500, 12, 8;
    Binance "UNI" "USDT" "UNIUSDT", 3 @ 9_100, 2 @ 400, 15, 7;
    Binance "NEAR" "USDT" "NEARUSDT", 3 @ 5_200, 1 @ 900, 18, 10;
    Binance "APT" "USDT" "APTUSDT", 2 @ 950, 2 @ 300, 6, 9;
    Binance "ARB" "USDT" "ARBUSDT", 4 @ 7_900, 1 @ 3_000, 9, 8;
    Binance "OP" "USDT" "OPUSDT", 3 @ 1_700, 2 @ 900, 12, 7;
    Binance "FIL" "USDT" "FILUSDT", 3 @ 4_600, 2 @ 600, 15, 10;
    Binance "ETC" "USDT" "ETCUSDT", 2 @ 2_450, 2 @ 150, 18, 9;
    Binance "XLM" "USDT" "XLMUSDT", 4 @ 1_150, 0 @ 500, 6, 8;
    Binance "ALGO" "USDT" "ALGOUSDT", 4 @ 1_900, 0 @ 400, 9, 7;
    Binance "VET" "USDT" "VETUSDT", 5 @ 2_700, 0 @ 3_000, 12, 10;
    Binance "HBAR" "USDT" "HBARUSDT", 5 @ 7_200, 0 @ 1_500, 15, 9;
    Binance "ICP" "USDT" "ICPUSDT", 3 @ 9_800, 2 @ 250, 18, 8;
    Binance "AAVE" "USDT" "AAVEUSDT", 2 @ 14_500, 3 @ 60, 6, 7;
    Binance "MKR" "USDT" "MKRUSDT", 1 @ 24_000, 4 @ 80, 9, 10;
    Binance "SUI" "USDT" "SUIUSDT", 4 @ 17_500, 1 @ 2_000, 12, 9;
    Binance "INJ" "USDT" "INJUSDT", 3 @ 21_500, 2 @ 120, 15, 8;
    Binance "SEI" "USDT" "SEIUSDT", 4 @ 4_100, 0 @ 90, 18, 7;
    Binance "TIA" "USDT" "TIAUSDT", 3 @ 5_900, 2 @ 400, 6, 10;
    Binance "RUNE" "USDT" "RUNEUSDT", 3 @ 4_700, 2 @ 500, 9, 9;
    Binance "GRT" "USDT" "GRTUSDT", 4 @ 1_650, 0 @ 250, 12, 8;
    Binance "SAND" "USDT" "SANDUSDT", 4 @ 2_900, 0 @ 150, 15, 7;
    Binance "MANA" "USDT" "MANAUSDT", 4 @ 3_300, 0 @ 140, 18, 10;
    Binance "CRV" "USDT" "CRVUSDT", 4 @ 3_100, 0 @ 220, 6, 9;
    Binance "LDO" "USDT" "LDOUSDT", 3 @ 1_250, 2 @ 800, 9, 8;
    Binance "BCH" "USDT" "BCHUSDT", 1 @ 4_050, 3 @ 200, 12, 7;
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
    Kraken "DOT" "USD" "DOTUSD", 4 @ 65_000, 8 @ 300_000_000, 12, 9;
    Kraken "TRX" "USD" "TRXUSD", 6 @ 160_000, 8 @ 80_000_000_000, 17, 8;
    Kraken "ATOM" "USD" "ATOMUSD", 5 @ 740_000, 8 @ 500_000_000, 22, 7;
    Kraken "UNI" "USD" "UNIUSD", 5 @ 910_000, 8 @ 400_000_000, 27, 6;
    Kraken "NEAR" "USD" "NEARUSD", 5 @ 520_000, 8 @ 9_000_000_000, 32, 9;
    Kraken "APT" "USD" "APTUSD", 4 @ 95_000, 8 @ 300_000_000, 37, 8;
    Kraken "ARB" "USD" "ARBUSD", 6 @ 790_000, 8 @ 30_000_000_000, 42, 7;
    Kraken "OP" "USD" "OPUSD", 5 @ 170_000, 8 @ 900_000_000, 12, 6;
    Kraken "FIL" "USD" "FILUSD", 5 @ 460_000, 8 @ 600_000_000, 17, 9;
    Kraken "ETC" "USD" "ETCUSD", 4 @ 245_000, 8 @ 150_000_000, 22, 8;
    Kraken "XLM" "USD" "XLMUSD", 6 @ 115_000, 8 @ 50_000_000_000, 27, 7;
    Kraken "ALGO" "USD" "ALGOUSD", 6 @ 190_000, 8 @ 40_000_000_000, 32, 6;
    Kraken "VET" "USD" "VETUSD", 7 @ 270_000, 8 @ 300_000_000_000, 37, 9;
    Kraken "HBAR" "USD" "HBARUSD", 7 @ 720_000, 8 @ 150_000_000_000, 42, 8;
    Kraken "ICP" "USD" "ICPUSD", 5 @ 980_000, 8 @ 250_000_000, 12, 7;
    Kraken "AAVE" "USD" "AAVEUSD", 4 @ 1_450_000, 8 @ 6_000_000, 17, 6;
    Kraken "MKR" "USD" "MKRUSD", 3 @ 2_400_000, 8 @ 800_000, 22, 9;
    Kraken "SUI" "USD" "SUIUSD", 6 @ 1_750_000, 8 @ 20_000_000_000, 27, 8;
    Kraken "INJ" "USD" "INJUSD", 5 @ 2_150_000, 8 @ 120_000_000, 32, 7;
    Kraken "SEI" "USD" "SEIUSD", 6 @ 410_000, 8 @ 9_000_000_000, 37, 6;
    Kraken "TIA" "USD" "TIAUSD", 5 @ 590_000, 8 @ 400_000_000, 42, 9;
    Kraken "RUNE" "USD" "RUNEUSD", 5 @ 470_000, 8 @ 500_000_000, 12, 8;
    Kraken "GRT" "USD" "GRTUSD", 6 @ 165_000, 8 @ 25_000_000_000, 17, 7;
    Kraken "SAND" "USD" "SANDUSD", 6 @ 290_000, 8 @ 15_000_000_000, 22, 6;
    Kraken "MANA" "USD" "MANAUSD", 6 @ 330_000, 8 @ 14_000_000_000, 27, 9;
    Kraken "CRV" "USD" "CRVUSD", 6 @ 310_000, 8 @ 22_000_000_000, 32, 8;
    Kraken "LDO" "USD" "LDOUSD", 5 @ 125_000, 8 @ 800_000_000, 37, 7;
    Kraken "BCH" "USD" "BCHUSD", 3 @ 405_000, 8 @ 20_000_000, 42, 6;
    Coinbase "BTC" "USD" "BTC-USD", 2 @ 6_700_000, 8 @ 120_000, 0, 18;
    Coinbase "ETH" "USD" "ETH-USD", 2 @ 340_000, 8 @ 2_400_000, 1, 16;
    Coinbase "SOL" "USD" "SOL-USD", 2 @ 16_000, 8 @ 50_000_000, 2, 14;
    Coinbase "BTC" "EUR" "BTC-EUR", 2 @ 6_150_000, 8 @ 60_000, 12, 9;
    Coinbase "ETH" "BTC" "ETH-BTC", 5 @ 5_075, 8 @ 400_000, 25, 7;
    Coinbase "XRP" "USD" "XRP-USD", 4 @ 5_800, 6 @ 120_000_000, 3, 12;
    Coinbase "DOGE" "USD" "DOGE-USD", 5 @ 16_000, 1 @ 4_000, 4, 12;
    Coinbase "LTC" "USD" "LTC-USD", 2 @ 8_200, 8 @ 80_000_000, 10, 9;
    Coinbase "LINK" "USD" "LINK-USD", 3 @ 14_500, 2 @ 400, 8, 10;
    Coinbase "ADA" "USD" "ADA-USD", 4 @ 4_300, 8 @ 150_000_000_000, 6, 10;
    Coinbase "AVAX" "USD" "AVAX-USD", 2 @ 3_500, 8 @ 2_000_000_000, 10, 9;
    Coinbase "ETH" "USDT" "ETH-USDT", 2 @ 340_000, 8 @ 1_200_000, 30, 6;
    Coinbase "DOT" "USD" "DOT-USD", 3 @ 6_500, 8 @ 1_538_461_538, 10, 9;
    Coinbase "ATOM" "USD" "ATOM-USD", 3 @ 7_400, 2 @ 1_351, 17, 8;
    Coinbase "UNI" "USD" "UNI-USD", 3 @ 9_100, 6 @ 10_989_010, 24, 7;
    Coinbase "NEAR" "USD" "NEAR-USD", 3 @ 5_200, 3 @ 19_230, 31, 6;
    Coinbase "APT" "USD" "APT-USD", 2 @ 950, 3 @ 10_526, 38, 9;
    Coinbase "ARB" "USD" "ARB-USD", 4 @ 7_900, 2 @ 12_658, 45, 8;
    Coinbase "OP" "USD" "OP-USD", 3 @ 1_700, 2 @ 5_882, 10, 7;
    Coinbase "FIL" "USD" "FIL-USD", 3 @ 4_600, 3 @ 21_739, 17, 6;
    Coinbase "ETC" "USD" "ETC-USD", 2 @ 2_450, 8 @ 408_163_265, 24, 9;
    Coinbase "XLM" "USD" "XLM-USD", 6 @ 115_000, 8 @ 86_956_521_739, 31, 8;
    Coinbase "ALGO" "USD" "ALGO-USD", 4 @ 1_900, 0 @ 526, 38, 7;
    Coinbase "VET" "USD" "VET-USD", 5 @ 2_700, 0 @ 3_703, 45, 6;
    Coinbase "HBAR" "USD" "HBAR-USD", 5 @ 7_200, 1 @ 13_888, 10, 9;
    Coinbase "ICP" "USD" "ICP-USD", 3 @ 9_800, 4 @ 102_040, 17, 8;
    Coinbase "AAVE" "USD" "AAVE-USD", 2 @ 14_500, 3 @ 689, 24, 7;
    Coinbase "MKR" "USD" "MKR-USD", 2 @ 240_000, 6 @ 41_666, 31, 6;
    Coinbase "SUI" "USD" "SUI-USD", 4 @ 17_500, 1 @ 571, 38, 9;
    Coinbase "INJ" "USD" "INJ-USD", 3 @ 21_500, 2 @ 465, 45, 8;
    Coinbase "SEI" "USD" "SEI-USD", 4 @ 4_100, 1 @ 2_439, 10, 7;
    Coinbase "TIA" "USD" "TIA-USD", 3 @ 5_900, 1 @ 169, 17, 6;
    Coinbase "CRV" "USD" "CRV-USD", 4 @ 3_100, 2 @ 32_258, 24, 9;
    Coinbase "GRT" "USD" "GRT-USD", 4 @ 1_650, 2 @ 60_606, 31, 8;
    Coinbase "SAND" "USD" "SAND-USD", 4 @ 2_900, 2 @ 34_482, 38, 7;
    Coinbase "LDO" "USD" "LDO-USD", 3 @ 1_250, 2 @ 8_000, 45, 6;
    Coinbase "BCH" "USD" "BCH-USD", 2 @ 40_500, 8 @ 24_691_358, 10, 9;
    Coinbase "SHIB" "USD" "SHIB-USD", 8 @ 2_400, 0 @ 4_166_666, 17, 8;
    Coinbase "BONK" "USD" "BONK-USD", 8 @ 2_900, 0 @ 3_448_275, 24, 7;
    Coinbase "PEPE" "USD" "PEPE-USD", 8 @ 1_100, 0 @ 9_090_909, 31, 6;
    Okx "BTC" "USDT" "BTC-USDT", 1 @ 670_000, 8 @ 120_000, 0, 20;
    Okx "ETH" "USDT" "ETH-USDT", 2 @ 340_000, 6 @ 24_000, 0, 20;
    Okx "SOL" "USDT" "SOL-USDT", 2 @ 16_000, 6 @ 500_000, 0, 18;
    Okx "XRP" "USDT" "XRP-USDT", 4 @ 5_800, 6 @ 120_000_000, 1, 14;
    Okx "DOGE" "USDT" "DOGE-USDT", 5 @ 16_000, 6 @ 400_000_000, 3, 12;
    Okx "ADA" "USDT" "ADA-USDT", 4 @ 4_300, 4 @ 1_500_000, 5, 12;
    Okx "LTC" "USDT" "LTC-USDT", 2 @ 8_200, 6 @ 80_000, 8, 10;
    Okx "AVAX" "USDT" "AVAX-USDT", 2 @ 3_500, 4 @ 20_000, 8, 10;
    Okx "LINK" "USDT" "LINK-USDT", 3 @ 14_500, 4 @ 40_000, 8, 10;
    Okx "DOT" "USDT" "DOT-USDT", 3 @ 7_000, 6 @ 5_000_000, 10, 10;
    Okx "TRX" "USDT" "TRX-USDT", 5 @ 12_000, 6 @ 90_000_000, 8, 10;
    Okx "UNI" "USDT" "UNI-USDT", 3 @ 7_500, 6 @ 2_000_000, 12, 8;
    Okx "ATOM" "USDT" "ATOM-USDT", 3 @ 8_400, 4 @ 30_000, 14, 8;
    Okx "FIL" "USDT" "FIL-USDT", 3 @ 5_900, 4 @ 30_000, 16, 8;
    Okx "NEAR" "USDT" "NEAR-USDT", 3 @ 6_200, 4 @ 40_000, 12, 8;
    Okx "APT" "USDT" "APT-USDT", 3 @ 9_100, 4 @ 20_000, 14, 8;
    Okx "ARB" "USDT" "ARB-USDT", 4 @ 11_000, 4 @ 150_000, 12, 8;
    Okx "OP" "USDT" "OP-USDT", 3 @ 2_500, 4 @ 80_000, 14, 8;
    Okx "SUI" "USDT" "SUI-USDT", 4 @ 11_500, 4 @ 150_000, 8, 10;
    Okx "BCH" "USDT" "BCH-USDT", 1 @ 4_800, 6 @ 20_000, 14, 8;
    Okx "ETC" "USDT" "ETC-USDT", 2 @ 2_600, 6 @ 300_000, 18, 6;
    Okx "XLM" "USDT" "XLM-USDT", 5 @ 11_500, 4 @ 1_500_000, 16, 6;
    Okx "ALGO" "USDT" "ALGO-USDT", 4 @ 1_800, 4 @ 800_000, 22, 6;
    Okx "AAVE" "USDT" "AAVE-USDT", 2 @ 9_200, 6 @ 40_000, 18, 6;
    Okx "OKB" "USDT" "OKB-USDT", 2 @ 4_500, 6 @ 200_000, 6, 10;
    Okx "BTC" "USDC" "BTC-USDC", 1 @ 670_000, 8 @ 30_000, 20, 10;
    Okx "ETH" "USDC" "ETH-USDC", 2 @ 340_000, 6 @ 6_000, 20, 10;
    Okx "SOL" "USDC" "SOL-USDC", 2 @ 16_000, 6 @ 125_000, 20, 9;
    Okx "XRP" "USDC" "XRP-USDC", 4 @ 5_800, 6 @ 30_000_000, 21, 7;
    Okx "DOGE" "USDC" "DOGE-USDC", 5 @ 16_000, 6 @ 100_000_000, 23, 6;
    Okx "ADA" "USDC" "ADA-USDC", 4 @ 4_300, 4 @ 375_000, 25, 6;
    Okx "LTC" "USDC" "LTC-USDC", 2 @ 8_200, 6 @ 20_000, 28, 5;
    Okx "AVAX" "USDC" "AVAX-USDC", 2 @ 3_500, 4 @ 5_000, 28, 5;
    Okx "LINK" "USDC" "LINK-USDC", 3 @ 14_500, 4 @ 10_000, 28, 5;
    Okx "BTC" "EUR" "BTC-EUR", 1 @ 615_000, 8 @ 60_000, 20, 8;
    Okx "ETH" "EUR" "ETH-EUR", 2 @ 312_000, 6 @ 12_000, 25, 8;
    Okx "SOL" "EUR" "SOL-EUR", 2 @ 14_700, 6 @ 250_000, 35, 6;
    Okx "XRP" "EUR" "XRP-EUR", 5 @ 53_200, 6 @ 60_000_000, 35, 6;
    Okx "ETH" "BTC" "ETH-BTC", 5 @ 5_075, 6 @ 40_000, 25, 8;
    Okx "SOL" "BTC" "SOL-BTC", 7 @ 23_900, 6 @ 250_000, 35, 6;
    Okx "LTC" "BTC" "LTC-BTC", 6 @ 1_224, 6 @ 60_000, 45, 5;
    Okx "SOL" "ETH" "SOL-ETH", 6 @ 47_060, 6 @ 200_000, 50, 5;
    Bybit "BTC" "USDT" "BTCUSDT", 2 @ 6_700_000, 6 @ 960, 0, 17;
    Bybit "ETH" "USDT" "ETHUSDT", 2 @ 340_000, 5 @ 1_920, 5, 17;
    Bybit "SOL" "USDT" "SOLUSDT", 2 @ 16_000, 4 @ 4_000, 10, 15;
    Bybit "XRP" "USDT" "XRPUSDT", 4 @ 5_800, 2 @ 9_600, 15, 13;
    Bybit "ADA" "USDT" "ADAUSDT", 4 @ 4_300, 2 @ 12_000, 24, 9;
    Bybit "DOGE" "USDT" "DOGEUSDT", 5 @ 16_000, 1 @ 3_200, 27, 11;
    Bybit "BNB" "USDT" "BNBUSDT", 2 @ 58_000, 4 @ 1_200, 0, 11;
    Bybit "LTC" "USDT" "LTCUSDT", 2 @ 8_200, 4 @ 6_400, 11, 7;
    Bybit "AVAX" "USDT" "AVAXUSDT", 2 @ 3_500, 3 @ 1_600, 18, 7;
    Bybit "LINK" "USDT" "LINKUSDT", 2 @ 1_450, 3 @ 3_200, 23, 7;
    Bybit "BTC" "EUR" "BTCEUR", 2 @ 6_150_000, 6 @ 480, 40, 5;
    Bybit "ETH" "BTC" "ETHBTC", 5 @ 5_075, 4 @ 320, 50, 5;
    Bybit "DOT" "USDT" "DOTUSDT", 2 @ 650, 3 @ 2_400, 6, 7;
    Bybit "TRX" "USDT" "TRXUSDT", 4 @ 1_600, 2 @ 64_000, 14, 6;
    Bybit "ATOM" "USDT" "ATOMUSDT", 3 @ 7_400, 3 @ 4_000, 22, 5;
    Bybit "UNI" "USDT" "UNIUSDT", 3 @ 9_100, 3 @ 3_200, 30, 4;
    Bybit "NEAR" "USDT" "NEARUSDT", 3 @ 5_200, 2 @ 7_200, 38, 7;
    Bybit "APT" "USDT" "APTUSDT", 2 @ 950, 3 @ 2_400, 31, 6;
    Bybit "ARB" "USDT" "ARBUSDT", 4 @ 7_900, 2 @ 24_000, 9, 5;
    Bybit "OP" "USDT" "OPUSDT", 3 @ 1_700, 3 @ 7_200, 17, 4;
    Bybit "FIL" "USDT" "FILUSDT", 3 @ 4_600, 3 @ 4_800, 25, 7;
    Bybit "ETC" "USDT" "ETCUSDT", 2 @ 2_450, 3 @ 1_200, 33, 6;
    Bybit "XLM" "USDT" "XLMUSDT", 4 @ 1_150, 1 @ 4_000, 26, 5;
    Bybit "ALGO" "USDT" "ALGOUSDT", 4 @ 1_900, 1 @ 3_200, 34, 4;
    Bybit "VET" "USDT" "VETUSDT", 5 @ 2_700, 1 @ 24_000, 12, 7;
    Bybit "HBAR" "USDT" "HBARUSDT", 5 @ 7_200, 1 @ 12_000, 20, 6;
    Bybit "ICP" "USDT" "ICPUSDT", 3 @ 9_800, 3 @ 2_000, 28, 5;
    Bybit "AAVE" "USDT" "AAVEUSDT", 2 @ 14_500, 4 @ 480, 21, 4;
    Bybit "MKR" "USDT" "MKRUSDT", 1 @ 24_000, 5 @ 640, 29, 7;
    Bybit "SUI" "USDT" "SUIUSDT", 4 @ 17_500, 2 @ 16_000, 37, 6;
    Bybit "INJ" "USDT" "INJUSDT", 3 @ 21_500, 3 @ 960, 15, 5;
    Bybit "SEI" "USDT" "SEIUSDT", 4 @ 4_100, 1 @ 720, 23, 4;
    Bybit "TIA" "USDT" "TIAUSDT", 3 @ 5_900, 3 @ 3_200, 16, 7;
    Bybit "RUNE" "USDT" "RUNEUSDT", 3 @ 4_700, 3 @ 4_000, 24, 6;
    Bybit "GRT" "USDT" "GRTUSDT", 4 @ 1_650, 1 @ 2_000, 32, 5;
    Bybit "SAND" "USDT" "SANDUSDT", 4 @ 2_900, 1 @ 1_200, 40, 4;
    Bybit "MANA" "USDT" "MANAUSDT", 4 @ 3_300, 1 @ 1_120, 18, 7;
    Bybit "CRV" "USDT" "CRVUSDT", 4 @ 3_100, 1 @ 1_760, 11, 6;
    Bybit "LDO" "USDT" "LDOUSDT", 3 @ 1_250, 3 @ 6_400, 19, 5;
    Bybit "BCH" "USDT" "BCHUSDT", 1 @ 4_050, 4 @ 1_600, 27, 4;
};

/// All listings, in each exchange's order: the markets of the catalog, then generated markets until an exchange lists
/// `markets`.
pub(super) fn listings(seed: u64, markets: usize) -> Vec<Listing> {
    let mut all: Vec<Listing> = Vec::with_capacity(CATALOG.len());
    for row in CATALOG {
        push(&mut all, seed, row, None);
    }
    for exchange in ExchangeId::ALL {
        let listed = all.iter().filter(|listing| listing.exchange == exchange).count();
        let taken: HashSet<&str> =
            all.iter().filter(|listing| listing.exchange == exchange).map(|listing| listing.native).collect();
        let generated_markets =
            generated_markets(exchange).iter().filter(|generated| !taken.contains(&*generated.native));
        for generated in generated_markets.take(markets.saturating_sub(listed)) {
            let row = CatalogRow {
                exchange,
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
            push(&mut all, seed, &row, Some(generated));
        }
    }
    all
}

fn push(all: &mut Vec<Listing>, seed: u64, row: &CatalogRow, generated: Option<&'static GeneratedMarket>) {
    // All symbols of the tables are valid; a test checks that no row is skipped.
    let Ok(symbol) = Symbol::new(row.base, row.quote) else { return };
    let exchange = row.exchange;
    let drifts = !matches!(row.quote, "USD" | "USDT" | "USDC" | "EUR");
    let listing = Listing {
        index: all.len(),
        exchange,
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

    #[test]
    fn catalog_is_valid() {
        assert_eq!(listings(1, 0).len(), CATALOG.len());
        let all = listings(1, 200);
        for (place, listing) in all.iter().enumerate() {
            assert_eq!(listing.index, place);
            assert!((1..=60).contains(&listing.max_trades) && (0..100).contains(&listing.quiet_percent));
            // Binance writes eight digits: a turnover must fit them exactly.
            assert!(listing.exchange != ExchangeId::Binance || listing.price_scale + listing.amount_scale <= 8);
        }
    }
}
