//! The markets.

use crate::simulator::catalog::{Aliases, CandleFields, Catalog, rows};

pub(super) static CATALOG: Catalog = Catalog {
    rows: rows! {
        "BTC" "USD" "BTC-USD", 2 @ 6_700_000, 8 @ 120_000, 0, 18;
        "ETH" "USD" "ETH-USD", 2 @ 340_000, 8 @ 2_400_000, 1, 16;
        "SOL" "USD" "SOL-USD", 2 @ 16_000, 8 @ 50_000_000, 2, 14;
        "BTC" "EUR" "BTC-EUR", 2 @ 6_150_000, 8 @ 60_000, 12, 9;
        "ETH" "BTC" "ETH-BTC", 5 @ 5_075, 8 @ 400_000, 25, 7;
        "XRP" "USD" "XRP-USD", 4 @ 5_800, 6 @ 120_000_000, 3, 12;
        "DOGE" "USD" "DOGE-USD", 5 @ 16_000, 1 @ 4_000, 4, 12;
        "LTC" "USD" "LTC-USD", 2 @ 8_200, 8 @ 80_000_000, 10, 9;
        "LINK" "USD" "LINK-USD", 3 @ 14_500, 2 @ 400, 8, 10;
        "ADA" "USD" "ADA-USD", 4 @ 4_300, 8 @ 150_000_000_000, 6, 10;
        "AVAX" "USD" "AVAX-USD", 2 @ 3_500, 8 @ 2_000_000_000, 10, 9;
        "ETH" "USDT" "ETH-USDT", 2 @ 340_000, 8 @ 1_200_000, 30, 6;
        "DOT" "USD" "DOT-USD", 3 @ 6_500, 8 @ 1_538_461_538, 10, 9;
        "ATOM" "USD" "ATOM-USD", 3 @ 7_400, 2 @ 1_351, 17, 8;
        "UNI" "USD" "UNI-USD", 3 @ 9_100, 6 @ 10_989_010, 24, 7;
        "NEAR" "USD" "NEAR-USD", 3 @ 5_200, 3 @ 19_230, 31, 6;
        "APT" "USD" "APT-USD", 2 @ 950, 3 @ 10_526, 38, 9;
        "ARB" "USD" "ARB-USD", 4 @ 7_900, 2 @ 12_658, 45, 8;
        "OP" "USD" "OP-USD", 3 @ 1_700, 2 @ 5_882, 10, 7;
        "FIL" "USD" "FIL-USD", 3 @ 4_600, 3 @ 21_739, 17, 6;
        "ETC" "USD" "ETC-USD", 2 @ 2_450, 8 @ 408_163_265, 24, 9;
        "XLM" "USD" "XLM-USD", 6 @ 115_000, 8 @ 86_956_521_739, 31, 8;
        "ALGO" "USD" "ALGO-USD", 4 @ 1_900, 0 @ 526, 38, 7;
        "VET" "USD" "VET-USD", 5 @ 2_700, 0 @ 3_703, 45, 6;
        "HBAR" "USD" "HBAR-USD", 5 @ 7_200, 1 @ 13_888, 10, 9;
        "ICP" "USD" "ICP-USD", 3 @ 9_800, 4 @ 102_040, 17, 8;
        "AAVE" "USD" "AAVE-USD", 2 @ 14_500, 3 @ 689, 24, 7;
        "MKR" "USD" "MKR-USD", 2 @ 240_000, 6 @ 41_666, 31, 6;
        "SUI" "USD" "SUI-USD", 4 @ 17_500, 1 @ 571, 38, 9;
        "INJ" "USD" "INJ-USD", 3 @ 21_500, 2 @ 465, 45, 8;
        "SEI" "USD" "SEI-USD", 4 @ 4_100, 1 @ 2_439, 10, 7;
        "TIA" "USD" "TIA-USD", 3 @ 5_900, 1 @ 169, 17, 6;
        "CRV" "USD" "CRV-USD", 4 @ 3_100, 2 @ 32_258, 24, 9;
        "GRT" "USD" "GRT-USD", 4 @ 1_650, 2 @ 60_606, 31, 8;
        "SAND" "USD" "SAND-USD", 4 @ 2_900, 2 @ 34_482, 38, 7;
        "LDO" "USD" "LDO-USD", 3 @ 1_250, 2 @ 8_000, 45, 6;
        "BCH" "USD" "BCH-USD", 2 @ 40_500, 8 @ 24_691_358, 10, 9;
        "SHIB" "USD" "SHIB-USD", 8 @ 2_400, 0 @ 4_166_666, 17, 8;
        "BONK" "USD" "BONK-USD", 8 @ 2_900, 0 @ 3_448_275, 24, 7;
        "PEPE" "USD" "PEPE-USD", 8 @ 1_100, 0 @ 9_090_909, 31, 6;
    },
    unusual: &[("00", "USD"), ("1INCH", "USD")],
    quotes: &["USD", "USDC"],
    aliases: Some(Aliases {
        quote: "USDC",
        original: "USD",
        bases: &["BTC", "ETH", "SOL", "XRP", "DOGE", "LTC", "LINK", "ADA"],
    }),
    native: |base, quote| format!("{base}-{quote}"),
    other_names: |_| Vec::new(),
    candle_fields: CandleFields { empty_intervals: false, quote_volume: false, trades: false, volume_column: 5 },
};
