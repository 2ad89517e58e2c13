//! The markets.

use crate::simulator::catalog::{CandleFields, Catalog, rows};

pub(super) static CATALOG: Catalog = Catalog {
    rows: rows! {
        "BTC" "USDT" "BTCUSDT", 2 @ 6_700_000, 5 @ 120, 0, 20;
        "ETH" "USDT" "ETHUSDT", 2 @ 340_000, 4 @ 240, 0, 20;
        "SOL" "USDT" "SOLUSDT", 2 @ 16_000, 3 @ 500, 0, 18;
        "XRP" "USDT" "XRPUSDT", 4 @ 5_800, 1 @ 1_200, 0, 16;
        "ADA" "USDT" "ADAUSDT", 4 @ 4_300, 1 @ 1_500, 4, 12;
        "DOGE" "USDT" "DOGEUSDT", 5 @ 16_000, 0 @ 400, 2, 14;
        "BNB" "USDT" "BNBUSDT", 2 @ 58_000, 3 @ 150, 0, 14;
        "LTC" "USDT" "LTCUSDT", 2 @ 8_200, 3 @ 800, 6, 10;
        "AVAX" "USDT" "AVAXUSDT", 2 @ 3_500, 2 @ 200, 8, 10;
        "LINK" "USDT" "LINKUSDT", 2 @ 1_450, 2 @ 400, 8, 10;
        "BTC" "EUR" "BTCEUR", 2 @ 6_150_000, 5 @ 60, 20, 8;
        "ETH" "BTC" "ETHBTC", 5 @ 5_075, 3 @ 40, 25, 8;
        "DOT" "USDT" "DOTUSDT", 2 @ 650, 2 @ 300, 6, 10;
        "TRX" "USDT" "TRXUSDT", 4 @ 1_600, 1 @ 8_000, 9, 9;
        "ATOM" "USDT" "ATOMUSDT", 3 @ 7_400, 2 @ 500, 12, 8;
        "UNI" "USDT" "UNIUSDT", 3 @ 9_100, 2 @ 400, 15, 7;
        "NEAR" "USDT" "NEARUSDT", 3 @ 5_200, 1 @ 900, 18, 10;
        "APT" "USDT" "APTUSDT", 2 @ 950, 2 @ 300, 6, 9;
        "ARB" "USDT" "ARBUSDT", 4 @ 7_900, 1 @ 3_000, 9, 8;
        "OP" "USDT" "OPUSDT", 3 @ 1_700, 2 @ 900, 12, 7;
        "FIL" "USDT" "FILUSDT", 3 @ 4_600, 2 @ 600, 15, 10;
        "ETC" "USDT" "ETCUSDT", 2 @ 2_450, 2 @ 150, 18, 9;
        "XLM" "USDT" "XLMUSDT", 4 @ 1_150, 0 @ 500, 6, 8;
        "ALGO" "USDT" "ALGOUSDT", 4 @ 1_900, 0 @ 400, 9, 7;
        "VET" "USDT" "VETUSDT", 5 @ 2_700, 0 @ 3_000, 12, 10;
        "HBAR" "USDT" "HBARUSDT", 5 @ 7_200, 0 @ 1_500, 15, 9;
        "ICP" "USDT" "ICPUSDT", 3 @ 9_800, 2 @ 250, 18, 8;
        "AAVE" "USDT" "AAVEUSDT", 2 @ 14_500, 3 @ 60, 6, 7;
        "MKR" "USDT" "MKRUSDT", 1 @ 24_000, 4 @ 80, 9, 10;
        "SUI" "USDT" "SUIUSDT", 4 @ 17_500, 1 @ 2_000, 12, 9;
        "INJ" "USDT" "INJUSDT", 3 @ 21_500, 2 @ 120, 15, 8;
        "SEI" "USDT" "SEIUSDT", 4 @ 4_100, 0 @ 90, 18, 7;
        "TIA" "USDT" "TIAUSDT", 3 @ 5_900, 2 @ 400, 6, 10;
        "RUNE" "USDT" "RUNEUSDT", 3 @ 4_700, 2 @ 500, 9, 9;
        "GRT" "USDT" "GRTUSDT", 4 @ 1_650, 0 @ 250, 12, 8;
        "SAND" "USDT" "SANDUSDT", 4 @ 2_900, 0 @ 150, 15, 7;
        "MANA" "USDT" "MANAUSDT", 4 @ 3_300, 0 @ 140, 18, 10;
        "CRV" "USDT" "CRVUSDT", 4 @ 3_100, 0 @ 220, 6, 9;
        "LDO" "USDT" "LDOUSDT", 3 @ 1_250, 2 @ 800, 9, 8;
        "BCH" "USDT" "BCHUSDT", 1 @ 4_050, 3 @ 200, 12, 7;
    },
    unusual: &[
        ("1000SATS", "USDT"),
        ("币安人生", "USDT"),
        ("1INCH", "USDT"),
        ("USD1", "USDT"),
        ("4", "USDT"),
        ("BTC", "U"),
        ("XRP", "RLUSD"),
        ("BTC", "USD1"),
        ("BNB", "FDUSD"),
    ],
    quotes: &["USDT", "USDC", "TRY", "FDUSD", "EUR"],
    aliases: None,
    native: |base, quote| format!("{base}{quote}"),
    other_names: |_| Vec::new(),
    candle_fields: CandleFields { empty_intervals: true, quote_volume: true, trades: true, volume_column: 5 },
};
