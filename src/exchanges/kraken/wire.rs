//! Messages of Kraken, borrowed from the frame or the body. Any number may be bare or quoted.

use std::collections::BTreeMap;

use crate::exchanges::prelude::*;

/// The members that distinguish the kinds of frames.
///
/// Data of a channel `{"channel":"heartbeat"}`, the acknowledgement of one symbol of a request
/// `{"method":"subscribe","req_id":1,"result":{"channel":"ticker","symbol":"BTC/USD","snapshot":true},"success":true,
/// "time_in":"2023-09-25T09:04:31.742599Z","time_out":"2023-09-25T09:04:31.742648Z"}`, or a rejection
/// `{"error":"Currency pair not supported XBT/USD","method":"subscribe","req_id":1,"success":false,
/// "symbol":"XBT/USD",…}`
/// <https://docs.kraken.com/api/docs/websocket-v2/ticker>
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub channel: Option<Text<'a>>,
    pub method: Option<Text<'a>>,
    pub req_id: RequestId,
    pub success: Option<bool>,
    /// After too many messages capitalized and without a method: `{"Error":"Exceeded msg rate"}`, as seen in
    /// <https://github.com/bitrich-info/xchange-stream/issues/502>.
    #[serde(alias = "Error")]
    pub error: Option<Text<'a>>,
    pub symbol: Option<Text<'a>>,
    pub result: Option<AckResult<'a>>,
}

/// The result of an acknowledgement.
#[derive(Debug, Default, Deserialize)]
pub(super) struct AckResult<'a> {
    #[serde(borrow)]
    pub channel: Option<Text<'a>>,
    pub symbol: Option<Text<'a>>,
}

/// Data of a channel: `{"channel":"ticker","type":"update","data":[…]}`.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Message<'a, T> {
    #[serde(rename = "type", borrow)]
    pub kind: Text<'a>,
    pub data: Rows<T>,
}

impl<'a, T: Deserialize<'a>> RowMessage<'a> for Message<'a, T> {
    type Lenient = Message<'a, Lenient<'a, T>>;
    fn keep_valid(message: Self::Lenient, invalid: &mut Vec<InvalidRow<'a>>) -> Self {
        Self { kind: message.kind, data: message.data.keep_valid(invalid) }
    }
    fn is_empty(&self) -> bool {
        self.data.first.is_none()
    }
}

/// Best bid and ask and the 24-hour statistics.
///
/// ```json
/// {"symbol":"ALGO/USD","bid":0.10025,"bid_qty":740.0,"ask":0.10036,"ask_qty":1361.44813783,"last":0.10035,
///  "volume":997038.98383185,"vwap":0.10148,"low":0.09979,"high":0.10285,"change":-0.00017,"change_pct":-0.17,
///  "timestamp":"2023-09-25T09:04:31.742648Z"}
/// ```
/// <https://docs.kraken.com/api/docs/websocket-v2/ticker>
#[derive(Debug, Deserialize)]
pub(super) struct Ticker<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
    pub bid: OptionalNumber,
    pub bid_qty: OptionalNumber,
    pub ask: OptionalNumber,
    pub ask_qty: OptionalNumber,
    pub last: OptionalNumber,
    pub volume: OptionalNumber,
    pub low: OptionalNumber,
    pub high: OptionalNumber,
    /// In percent.
    pub change_pct: OptionalNumber,
    pub timestamp: Option<Text<'a>>,
}

/// One trade; `side` is the taker's.
///
/// ```json
/// {"symbol":"MATIC/USD","side":"buy","price":0.5147,"qty":6423.46326,"ord_type":"limit","trade_id":4665846,
///  "timestamp":"2023-09-25T07:48:36.925533Z"}
/// ```
/// <https://docs.kraken.com/api/docs/websocket-v2/trade>
#[derive(Debug, Deserialize)]
pub(super) struct Trade<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
    pub side: Text<'a>,
    pub price: Number,
    pub qty: Number,
    #[serde(rename = "trade_id")]
    pub id: Int,
    pub timestamp: Text<'a>,
}

/// An update of a candle. `timestamp`, its end, is deprecated.
///
/// ```json
/// {"symbol":"MATIC/USD","open":0.5624,"high":0.5628,"low":0.5622,"close":0.5627,"trades":12,"volume":30927.68066226,
///  "vwap":0.5626,"interval_begin":"2023-10-04T16:25:00.000000000Z","interval":5,
///  "timestamp":"2023-10-04T16:30:00.000000Z"}
/// ```
/// <https://docs.kraken.com/api/docs/websocket-v2/ohlc>
#[derive(Debug, Deserialize)]
pub(super) struct StreamCandle<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
    pub open: Number,
    pub high: Number,
    pub low: Number,
    pub close: Number,
    pub trades: Option<Int>,
    pub volume: Number,
    pub interval_begin: Text<'a>,
    /// In minutes.
    pub interval: Int,
}

/// A response; errors have HTTP 200.
///
/// `{"error":[],"result":{…}}` or `{"error":["EQuery:Unknown asset pair"]}`
/// <https://docs.kraken.com/api/docs/guides/spot-errors>
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct ResponseBody<'a, T> {
    #[serde(borrow, default)]
    pub error: Vec<Text<'a>>,
    pub result: Option<T>,
}

/// One market of the listing.
///
/// ```json
/// {"error":[],"result":{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","aclass_base":"currency","base":"XXBT",
///  "aclass_quote":"currency","quote":"ZUSD","pair_decimals":1,"cost_decimals":5,"lot_decimals":8,"lot_multiplier":1,
///  "ordermin":"0.0001","costmin":"0.5","tick_size":"0.1","status":"online"}}}
/// ```
/// <https://docs.kraken.com/api/docs/rest-api/get-tradable-asset-pairs>
#[derive(Debug, Deserialize)]
pub(super) struct ListedInstrument<'a> {
    #[serde(borrow)]
    pub altname: Text<'a>,
    /// Missing if the WebSocket does not carry the market.
    pub wsname: Option<Text<'a>>,
    pub pair_decimals: Option<Int>,
    pub lot_decimals: Option<Int>,
    pub tick_size: Step,
    /// Minimum value of an order, in the quote asset.
    pub costmin: Step,
    pub status: Option<Text<'a>>,
}

/// Best ask and bid as `[price, whole lots, lots]`, the last trade as `[price, lots]`, and statistics as
/// `[current day, last 24 hours]`. `o` is the open of the current day.
///
/// ```json
/// {"error":[],"result":{"XXBTZUSD":{"a":["30300.10000","1","1.000"],"b":["30300.00000","1","1.000"],
///  "c":["30303.20000","0.00067643"],"v":["4083.67001100","4412.73601799"],"p":["30706.77771","30689.13205"],
///  "t":[34619,38907],"l":["29868.30000","29868.30000"],"h":["31631.00000","31631.00000"],"o":"30502.80000"}}}
/// ```
/// <https://docs.kraken.com/api/docs/rest-api/get-ticker-information>
#[derive(Debug, Deserialize)]
pub(super) struct RestTicker {
    pub a: [Number; 3],
    pub b: [Number; 3],
    pub c: [Number; 2],
    pub v: [Number; 2],
    pub l: [Number; 2],
    pub h: [Number; 2],
}

/// Results by the id of the market; there may be another key `last`.
pub(super) type ResultByPair<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// A candle: open time in seconds, open, high, low, close, vwap, volume, trades.
///
/// ```json
/// {"error":[],"result":{"XXBTZUSD":[[1688671200,"30306.1","30306.2","30305.7","30305.7","30306.1","3.39243896",23]],
///  "last":1688672160}}
/// ```
/// <https://docs.kraken.com/api/docs/rest-api/get-ohlc-data>
pub(super) type CandleRow = (Int, Number, Number, Number, Number, IgnoredAny, Number, Int);

/// The exchange's clock, in seconds: `{"unixtime":1688669448,"rfc1123":"Thu, 06 Jul 23 18:50:48 +0000"}`.
/// <https://docs.kraken.com/api/docs/rest-api/get-server-time>
#[derive(Debug, Deserialize)]
pub(super) struct Time {
    pub unixtime: Int,
}
