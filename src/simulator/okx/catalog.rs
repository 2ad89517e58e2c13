//! The markets.

use crate::simulator::catalog::{CandleFields, Catalog, rows};

pub(super) static CATALOG: Catalog = Catalog {
    rows: rows! {
        "BTC" "USDT" "BTC-USDT", 1 @ 670_000, 8 @ 120_000, 0, 20;
        "ETH" "USDT" "ETH-USDT", 2 @ 340_000, 6 @ 24_000, 0, 20;
        "SOL" "USDT" "SOL-USDT", 2 @ 16_000, 6 @ 500_000, 0, 18;
        "XRP" "USDT" "XRP-USDT", 4 @ 5_800, 6 @ 120_000_000, 1, 14;
        "DOGE" "USDT" "DOGE-USDT", 5 @ 16_000, 6 @ 400_000_000, 3, 12;
        "ADA" "USDT" "ADA-USDT", 4 @ 4_300, 4 @ 1_500_000, 5, 12;
        "LTC" "USDT" "LTC-USDT", 2 @ 8_200, 6 @ 80_000, 8, 10;
        "AVAX" "USDT" "AVAX-USDT", 2 @ 3_500, 4 @ 20_000, 8, 10;
        "LINK" "USDT" "LINK-USDT", 3 @ 14_500, 4 @ 40_000, 8, 10;
        "DOT" "USDT" "DOT-USDT", 3 @ 7_000, 6 @ 5_000_000, 10, 10;
        "TRX" "USDT" "TRX-USDT", 5 @ 12_000, 6 @ 90_000_000, 8, 10;
        "UNI" "USDT" "UNI-USDT", 3 @ 7_500, 6 @ 2_000_000, 12, 8;
        "ATOM" "USDT" "ATOM-USDT", 3 @ 8_400, 4 @ 30_000, 14, 8;
        "FIL" "USDT" "FIL-USDT", 3 @ 5_900, 4 @ 30_000, 16, 8;
        "NEAR" "USDT" "NEAR-USDT", 3 @ 6_200, 4 @ 40_000, 12, 8;
        "APT" "USDT" "APT-USDT", 3 @ 9_100, 4 @ 20_000, 14, 8;
        "ARB" "USDT" "ARB-USDT", 4 @ 11_000, 4 @ 150_000, 12, 8;
        "OP" "USDT" "OP-USDT", 3 @ 2_500, 4 @ 80_000, 14, 8;
        "SUI" "USDT" "SUI-USDT", 4 @ 11_500, 4 @ 150_000, 8, 10;
        "BCH" "USDT" "BCH-USDT", 1 @ 4_800, 6 @ 20_000, 14, 8;
        "ETC" "USDT" "ETC-USDT", 2 @ 2_600, 6 @ 300_000, 18, 6;
        "XLM" "USDT" "XLM-USDT", 5 @ 11_500, 4 @ 1_500_000, 16, 6;
        "ALGO" "USDT" "ALGO-USDT", 4 @ 1_800, 4 @ 800_000, 22, 6;
        "AAVE" "USDT" "AAVE-USDT", 2 @ 9_200, 6 @ 40_000, 18, 6;
        "OKB" "USDT" "OKB-USDT", 2 @ 4_500, 6 @ 200_000, 6, 10;
        "BTC" "USDC" "BTC-USDC", 1 @ 670_000, 8 @ 30_000, 20, 10;
        "ETH" "USDC" "ETH-USDC", 2 @ 340_000, 6 @ 6_000, 20, 10;
        "SOL" "USDC" "SOL-USDC", 2 @ 16_000, 6 @ 125_000, 20, 9;
        "XRP" "USDC" "XRP-USDC", 4 @ 5_800, 6 @ 30_000_000, 21, 7;
        "DOGE" "USDC" "DOGE-USDC", 5 @ 16_000, 6 @ 100_000_000, 23, 6;
        "ADA" "USDC" "ADA-USDC", 4 @ 4_300, 4 @ 375_000, 25, 6;
        "LTC" "USDC" "LTC-USDC", 2 @ 8_200, 6 @ 20_000, 28, 5;
        "AVAX" "USDC" "AVAX-USDC", 2 @ 3_500, 4 @ 5_000, 28, 5;
        "LINK" "USDC" "LINK-USDC", 3 @ 14_500, 4 @ 10_000, 28, 5;
        "BTC" "EUR" "BTC-EUR", 1 @ 615_000, 8 @ 60_000, 20, 8;
        "ETH" "EUR" "ETH-EUR", 2 @ 312_000, 6 @ 12_000, 25, 8;
        "SOL" "EUR" "SOL-EUR", 2 @ 14_700, 6 @ 250_000, 35, 6;
        "XRP" "EUR" "XRP-EUR", 5 @ 53_200, 6 @ 60_000_000, 35, 6;
        "ETH" "BTC" "ETH-BTC", 5 @ 5_075, 6 @ 40_000, 25, 8;
        "SOL" "BTC" "SOL-BTC", 7 @ 23_900, 6 @ 250_000, 35, 6;
        "LTC" "BTC" "LTC-BTC", 6 @ 1_224, 6 @ 60_000, 45, 5;
        "SOL" "ETH" "SOL-ETH", 6 @ 47_060, 6 @ 200_000, 50, 5;
    },
    unusual: &[("1INCH", "USDT"), ("SATS", "USDT")],
    quotes: &["USDT", "USDC"],
    aliases: None,
    native: |base, quote| format!("{base}-{quote}"),
    other_names: |_| Vec::new(),
    candle_fields: CandleFields { empty_intervals: true, quote_volume: true, trades: false, volume_column: 5 },
};
