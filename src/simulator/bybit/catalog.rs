//! The markets.

use crate::simulator::catalog::{CandleFields, Catalog, rows};

pub(super) static CATALOG: Catalog = Catalog {
    rows: rows! {
        "BTC" "USDT" "BTCUSDT", 2 @ 6_700_000, 6 @ 960, 0, 17;
        "ETH" "USDT" "ETHUSDT", 2 @ 340_000, 5 @ 1_920, 5, 17;
        "SOL" "USDT" "SOLUSDT", 2 @ 16_000, 4 @ 4_000, 10, 15;
        "XRP" "USDT" "XRPUSDT", 4 @ 5_800, 2 @ 9_600, 15, 13;
        "ADA" "USDT" "ADAUSDT", 4 @ 4_300, 2 @ 12_000, 24, 9;
        "DOGE" "USDT" "DOGEUSDT", 5 @ 16_000, 1 @ 3_200, 27, 11;
        "BNB" "USDT" "BNBUSDT", 2 @ 58_000, 4 @ 1_200, 0, 11;
        "LTC" "USDT" "LTCUSDT", 2 @ 8_200, 4 @ 6_400, 11, 7;
        "AVAX" "USDT" "AVAXUSDT", 2 @ 3_500, 3 @ 1_600, 18, 7;
        "LINK" "USDT" "LINKUSDT", 2 @ 1_450, 3 @ 3_200, 23, 7;
        "BTC" "EUR" "BTCEUR", 2 @ 6_150_000, 6 @ 480, 40, 5;
        "ETH" "BTC" "ETHBTC", 5 @ 5_075, 4 @ 320, 50, 5;
        "DOT" "USDT" "DOTUSDT", 2 @ 650, 3 @ 2_400, 6, 7;
        "TRX" "USDT" "TRXUSDT", 4 @ 1_600, 2 @ 64_000, 14, 6;
        "ATOM" "USDT" "ATOMUSDT", 3 @ 7_400, 3 @ 4_000, 22, 5;
        "UNI" "USDT" "UNIUSDT", 3 @ 9_100, 3 @ 3_200, 30, 4;
        "NEAR" "USDT" "NEARUSDT", 3 @ 5_200, 2 @ 7_200, 38, 7;
        "APT" "USDT" "APTUSDT", 2 @ 950, 3 @ 2_400, 31, 6;
        "ARB" "USDT" "ARBUSDT", 4 @ 7_900, 2 @ 24_000, 9, 5;
        "OP" "USDT" "OPUSDT", 3 @ 1_700, 3 @ 7_200, 17, 4;
        "FIL" "USDT" "FILUSDT", 3 @ 4_600, 3 @ 4_800, 25, 7;
        "ETC" "USDT" "ETCUSDT", 2 @ 2_450, 3 @ 1_200, 33, 6;
        "XLM" "USDT" "XLMUSDT", 4 @ 1_150, 1 @ 4_000, 26, 5;
        "ALGO" "USDT" "ALGOUSDT", 4 @ 1_900, 1 @ 3_200, 34, 4;
        "VET" "USDT" "VETUSDT", 5 @ 2_700, 1 @ 24_000, 12, 7;
        "HBAR" "USDT" "HBARUSDT", 5 @ 7_200, 1 @ 12_000, 20, 6;
        "ICP" "USDT" "ICPUSDT", 3 @ 9_800, 3 @ 2_000, 28, 5;
        "AAVE" "USDT" "AAVEUSDT", 2 @ 14_500, 4 @ 480, 21, 4;
        "MKR" "USDT" "MKRUSDT", 1 @ 24_000, 5 @ 640, 29, 7;
        "SUI" "USDT" "SUIUSDT", 4 @ 17_500, 2 @ 16_000, 37, 6;
        "INJ" "USDT" "INJUSDT", 3 @ 21_500, 3 @ 960, 15, 5;
        "SEI" "USDT" "SEIUSDT", 4 @ 4_100, 1 @ 720, 23, 4;
        "TIA" "USDT" "TIAUSDT", 3 @ 5_900, 3 @ 3_200, 16, 7;
        "RUNE" "USDT" "RUNEUSDT", 3 @ 4_700, 3 @ 4_000, 24, 6;
        "GRT" "USDT" "GRTUSDT", 4 @ 1_650, 1 @ 2_000, 32, 5;
        "SAND" "USDT" "SANDUSDT", 4 @ 2_900, 1 @ 1_200, 40, 4;
        "MANA" "USDT" "MANAUSDT", 4 @ 3_300, 1 @ 1_120, 18, 7;
        "CRV" "USDT" "CRVUSDT", 4 @ 3_100, 1 @ 1_760, 11, 6;
        "LDO" "USDT" "LDOUSDT", 3 @ 1_250, 3 @ 6_400, 19, 5;
        "BCH" "USDT" "BCHUSDT", 1 @ 4_050, 4 @ 1_600, 27, 4;
    },
    unusual: &[("1INCH", "USDT"), ("USD1", "USDT"), ("XRP", "RLUSD")],
    quotes: &["USDT", "USDC"],
    aliases: None,
    native: |base, quote| format!("{base}{quote}"),
    other_names: |_| Vec::new(),
    candle_fields: CandleFields { empty_intervals: true, quote_volume: true, trades: false, volume_column: 5 },
};
