//! The markets.

use super::format::names;
use crate::simulator::catalog::{CandleFields, Catalog, rows};

pub(super) static CATALOG: Catalog = Catalog {
    rows: rows! {
        "BTC" "USD" "XXBTZUSD", 1 @ 670_000, 8 @ 120_000, 1, 16;
        "BTC" "EUR" "XXBTZEUR", 1 @ 615_000, 8 @ 90_000, 5, 12;
        "BTC" "USDT" "XBTUSDT", 1 @ 670_000, 8 @ 60_000, 25, 8;
        "ETH" "USD" "XETHZUSD", 2 @ 340_000, 8 @ 2_400_000, 2, 14;
        "ETH" "EUR" "XETHZEUR", 2 @ 312_000, 8 @ 1_800_000, 8, 10;
        "ETH" "USDT" "ETHUSDT", 2 @ 340_000, 8 @ 1_200_000, 30, 6;
        "SOL" "USD" "SOLUSD", 2 @ 16_000, 8 @ 50_000_000, 4, 12;
        "SOL" "EUR" "SOLEUR", 2 @ 14_700, 8 @ 40_000_000, 15, 8;
        "SOL" "USDT" "SOLUSDT", 2 @ 16_000, 8 @ 30_000_000, 40, 5;
        "XRP" "USD" "XXRPZUSD", 5 @ 58_000, 8 @ 12_000_000_000, 6, 10;
        "ADA" "USD" "ADAUSD", 6 @ 430_000, 8 @ 15_000_000_000, 20, 8;
        "DOGE" "USD" "XDGUSD", 7 @ 1_600_000, 8 @ 40_000_000_000, 15, 8;
        "DOT" "USD" "DOTUSD", 4 @ 65_000, 8 @ 300_000_000, 12, 9;
        "TRX" "USD" "TRXUSD", 6 @ 160_000, 8 @ 80_000_000_000, 17, 8;
        "ATOM" "USD" "ATOMUSD", 5 @ 740_000, 8 @ 500_000_000, 22, 7;
        "UNI" "USD" "UNIUSD", 5 @ 910_000, 8 @ 400_000_000, 27, 6;
        "NEAR" "USD" "NEARUSD", 5 @ 520_000, 8 @ 9_000_000_000, 32, 9;
        "APT" "USD" "APTUSD", 4 @ 95_000, 8 @ 300_000_000, 37, 8;
        "ARB" "USD" "ARBUSD", 6 @ 790_000, 8 @ 30_000_000_000, 42, 7;
        "OP" "USD" "OPUSD", 5 @ 170_000, 8 @ 900_000_000, 12, 6;
        "FIL" "USD" "FILUSD", 5 @ 460_000, 8 @ 600_000_000, 17, 9;
        "ETC" "USD" "ETCUSD", 4 @ 245_000, 8 @ 150_000_000, 22, 8;
        "XLM" "USD" "XLMUSD", 6 @ 115_000, 8 @ 50_000_000_000, 27, 7;
        "ALGO" "USD" "ALGOUSD", 6 @ 190_000, 8 @ 40_000_000_000, 32, 6;
        "VET" "USD" "VETUSD", 7 @ 270_000, 8 @ 300_000_000_000, 37, 9;
        "HBAR" "USD" "HBARUSD", 7 @ 720_000, 8 @ 150_000_000_000, 42, 8;
        "ICP" "USD" "ICPUSD", 5 @ 980_000, 8 @ 250_000_000, 12, 7;
        "AAVE" "USD" "AAVEUSD", 4 @ 1_450_000, 8 @ 6_000_000, 17, 6;
        "MKR" "USD" "MKRUSD", 3 @ 2_400_000, 8 @ 800_000, 22, 9;
        "SUI" "USD" "SUIUSD", 6 @ 1_750_000, 8 @ 20_000_000_000, 27, 8;
        "INJ" "USD" "INJUSD", 5 @ 2_150_000, 8 @ 120_000_000, 32, 7;
        "SEI" "USD" "SEIUSD", 6 @ 410_000, 8 @ 9_000_000_000, 37, 6;
        "TIA" "USD" "TIAUSD", 5 @ 590_000, 8 @ 400_000_000, 42, 9;
        "RUNE" "USD" "RUNEUSD", 5 @ 470_000, 8 @ 500_000_000, 12, 8;
        "GRT" "USD" "GRTUSD", 6 @ 165_000, 8 @ 25_000_000_000, 17, 7;
        "SAND" "USD" "SANDUSD", 6 @ 290_000, 8 @ 15_000_000_000, 22, 6;
        "MANA" "USD" "MANAUSD", 6 @ 330_000, 8 @ 14_000_000_000, 27, 9;
        "CRV" "USD" "CRVUSD", 6 @ 310_000, 8 @ 22_000_000_000, 32, 8;
        "LDO" "USD" "LDOUSD", 5 @ 125_000, 8 @ 800_000_000, 37, 7;
        "BCH" "USD" "BCHUSD", 3 @ 405_000, 8 @ 20_000_000, 42, 6;
    },
    unusual: &[("AAPLx", "USD"), ("BTC", "PYUSD"), ("1INCH", "USD"), ("XRP", "RLUSD")],
    quotes: &["USD", "EUR"],
    aliases: None,
    native: |base, quote| format!("{}{quote}", if base == "BTC" { "XBT" } else { base }),
    other_names: |listing| names(listing).to_vec(),
    candle_fields: CandleFields { empty_intervals: false, quote_volume: false, trades: true, volume_column: 6 },
};
