//! The structs of the baseline: the fields that an event needs, borrowed from the frame for `'a`.

use candlewick::model::Number;
use serde::Deserialize;

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct BinanceMessage<'a, T> {
    stream: &'a str,
    data: T,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct BinanceBookTicker<'a> {
    s: &'a str,
    b: Number,
    #[serde(rename = "B")]
    bid_size: Number,
    a: Number,
    #[serde(rename = "A")]
    ask_size: Number,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct BinanceTicker<'a> {
    #[serde(rename = "E")]
    at: i64,
    s: &'a str,
    #[serde(rename = "P")]
    change: Number,
    c: Number,
    b: Number,
    #[serde(rename = "B")]
    bid_size: Number,
    a: Number,
    #[serde(rename = "A")]
    ask_size: Number,
    o: Number,
    h: Number,
    l: Number,
    v: Number,
    q: Number,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct BinanceTrade<'a> {
    s: &'a str,
    t: i64,
    p: Number,
    q: Number,
    #[serde(rename = "T")]
    at: i64,
    m: bool,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct BinanceCandleEvent<'a> {
    s: &'a str,
    #[serde(borrow)]
    k: BinanceCandle<'a>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct BinanceCandle<'a> {
    t: i64,
    i: &'a str,
    o: Number,
    c: Number,
    h: Number,
    l: Number,
    v: Number,
    n: u64,
    x: bool,
    q: Number,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct KrakenMessage<'a, T> {
    channel: &'a str,
    r#type: &'a str,
    /// Every frame here has one row; a fixed array needs no allocation.
    data: [T; 1],
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct KrakenTicker<'a> {
    symbol: &'a str,
    bid: Number,
    bid_qty: Number,
    ask: Number,
    ask_qty: Number,
    last: Number,
    volume: Number,
    low: Number,
    high: Number,
    change_pct: Number,
    timestamp: &'a str,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct KrakenTrade<'a> {
    symbol: &'a str,
    side: &'a str,
    price: Number,
    qty: Number,
    trade_id: i64,
    timestamp: &'a str,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct KrakenCandle<'a> {
    symbol: &'a str,
    open: Number,
    high: Number,
    low: Number,
    close: Number,
    trades: u64,
    volume: Number,
    interval_begin: &'a str,
    interval: i64,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct BybitMessage<'a, T> {
    topic: &'a str,
    r#type: &'a str,
    ts: i64,
    data: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct BybitTicker<'a> {
    symbol: &'a str,
    last_price: Number,
    high_price24h: Number,
    low_price24h: Number,
    prev_price24h: Number,
    volume24h: Number,
    turnover24h: Number,
    price24h_pcnt: Number,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct BybitOrderBook<'a> {
    s: &'a str,
    b: [(Number, Number); 1],
    a: [(Number, Number); 1],
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct BybitTrade<'a> {
    #[serde(rename = "T")]
    at: i64,
    s: &'a str,
    #[serde(rename = "S")]
    side: &'a str,
    v: Number,
    p: Number,
    i: &'a str,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct BybitCandle<'a> {
    start: i64,
    interval: &'a str,
    open: Number,
    close: Number,
    high: Number,
    low: Number,
    volume: Number,
    turnover: Number,
    confirm: bool,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct CoinbaseMessage<'a, T> {
    channel: &'a str,
    timestamp: &'a str,
    sequence_num: i64,
    /// Every frame here has one event with one row.
    events: [T; 1],
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct CoinbaseTickerEvent<'a> {
    #[serde(borrow)]
    tickers: [CoinbaseTicker<'a>; 1],
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct CoinbaseTicker<'a> {
    product_id: &'a str,
    price: Number,
    volume_24_h: Number,
    low_24_h: Number,
    high_24_h: Number,
    price_percent_chg_24_h: Number,
    best_bid: Number,
    best_ask: Number,
    best_bid_quantity: Number,
    best_ask_quantity: Number,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct CoinbaseTradeEvent<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    trades: [CoinbaseTrade<'a>; 1],
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct CoinbaseTrade<'a> {
    product_id: &'a str,
    trade_id: &'a str,
    price: Number,
    size: Number,
    time: &'a str,
    side: &'a str,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct OkxMessage<'a, T> {
    #[serde(borrow)]
    arg: OkxArgument<'a>,
    /// Every frame here has one row; a fixed array needs no allocation.
    data: [T; 1],
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct OkxArgument<'a> {
    channel: &'a str,
    #[serde(rename = "instId")]
    inst_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct OkxTicker {
    last: Number,
    ask_px: Number,
    ask_sz: Number,
    bid_px: Number,
    bid_sz: Number,
    open24h: Number,
    high24h: Number,
    low24h: Number,
    vol_ccy24h: Number,
    vol24h: Number,
    ts: Quoted,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "parsed and discarded")]
pub struct OkxTrade<'a> {
    trade_id: Quoted,
    px: Number,
    sz: Number,
    side: &'a str,
    ts: Quoted,
}

/// Time, prices, volume in base and twice in quote, closed flag.
pub type OkxCandle<'a> = (Quoted, Number, Number, Number, Number, Number, &'a str, Number, Quoted);

/// A quoted integer.
pub struct Quoted(#[expect(dead_code, reason = "parsed and discarded")] i64);

impl<'de> Deserialize<'de> for Quoted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}
