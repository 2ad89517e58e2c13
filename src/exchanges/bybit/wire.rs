//! Messages of Bybit, borrowed from the frame or the body. Any number may be bare or quoted; Bybit quotes them.

use crate::exchanges::prelude::*;

/// The members that distinguish the kinds of frames: data of a stream (Bybit's topic), or an acknowledgement
/// `{"success":true,"ret_msg":"subscribe","conn_id":"d30f…","req_id":"1","op":"subscribe"}`.
/// <https://bybit-exchange.github.io/docs/v5/ws/connect>
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub topic: Option<Text<'a>>,
    pub op: Option<Text<'a>>,
    pub success: Option<bool>,
    pub ret_msg: Option<Text<'a>>,
    pub req_id: RequestId,
}

/// Data of a stream: `{"topic":"tickers.BTCUSDT","ts":1673853746003,"type":"snapshot","cs":2588407389,"data":{…}}`.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Message<'a, T> {
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'a>>,
    /// Creation time of the message, in Unix milliseconds.
    pub ts: Int,
    pub data: T,
}

impl<'a, T: Deserialize<'a>> RowMessage<'a> for Message<'a, Rows<T>> {
    type Lenient = Message<'a, Rows<Lenient<'a, T>>>;
    fn keep_valid(message: Self::Lenient, invalid: &mut Vec<InvalidRow<'a>>) -> Self {
        Self { kind: message.kind, ts: message.ts, data: message.data.keep_valid(invalid) }
    }
    fn is_empty(&self) -> bool {
        self.data.first.is_none()
    }
}

/// The 24-hour statistics; on the stream without bid and ask. `price24hPcnt` is a fraction.
///
/// ```json
/// {"symbol":"BTCUSDT","lastPrice":"21109.77","highPrice24h":"21426.99","lowPrice24h":"20575",
///  "prevPrice24h":"20704.93","volume24h":"6780.866843","turnover24h":"141946527.22907118","price24hPcnt":"0.0196",
///  "usdIndexPrice":"21120.2400136"}
/// ```
/// Tickers of derivatives have more members, such as `markPrice`.
/// <https://bybit-exchange.github.io/docs/v5/websocket/public/ticker>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ticker<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
    pub last_price: OptionalNumber,
    pub high_price24h: OptionalNumber,
    pub low_price24h: OptionalNumber,
    pub prev_price24h: OptionalNumber,
    pub volume24h: OptionalNumber,
    pub turnover24h: OptionalNumber,
    pub price24h_pcnt: OptionalNumber,
    /// Only in REST.
    pub bid1_price: OptionalNumber,
    pub bid1_size: OptionalNumber,
    pub ask1_price: OptionalNumber,
    pub ask1_size: OptionalNumber,
    /// Only of derivatives.
    pub mark_price: Option<IgnoredAny>,
}

/// The best level of each side, as price and size; a size of zero removes a level.
///
/// ```json
/// {"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[["16611.00","0.029"]],"u":18521288,"seq":7961638724}
/// ```
/// <https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook>
#[derive(Debug, Deserialize)]
pub(super) struct OrderBook<'a> {
    #[serde(borrow)]
    pub s: Text<'a>,
    pub b: Rows<(Number, Number)>,
    pub a: Rows<(Number, Number)>,
}

/// One trade; `S` is the taker's side. Only trades of derivatives have `L`.
///
/// ```json
/// {"T":1672304486865,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","i":"20f43950-d8dd-5b31-9112-a178eb6023af",
///  "BT":false,"RPI":false,"seq":1783284617}
/// ```
/// <https://bybit-exchange.github.io/docs/v5/websocket/public/trade>
#[derive(Debug, Deserialize)]
pub(super) struct Trade<'a> {
    #[serde(rename = "T")]
    pub at: Int,
    #[serde(borrow)]
    pub s: Text<'a>,
    #[serde(rename = "S")]
    pub side: Text<'a>,
    pub v: Number,
    pub p: Number,
    #[serde(rename = "i")]
    pub id: Text<'a>,
    #[serde(rename = "L")]
    pub tick_direction: Option<IgnoredAny>,
}

/// An update of a candle; one message may have the candle that closes and the next.
///
/// ```json
/// {"start":1672324800000,"end":1672325099999,"interval":"5","open":"16649.5","close":"16677","high":"16677",
///  "low":"16608","volume":"2.081","turnover":"34666.4005","confirm":false,"timestamp":1672324988882}
/// ```
/// <https://bybit-exchange.github.io/docs/v5/websocket/public/kline>
#[derive(Debug, Deserialize)]
pub(super) struct StreamCandle<'a> {
    pub start: Int,
    #[serde(borrow)]
    pub interval: Text<'a>,
    pub open: Number,
    pub close: Number,
    pub high: Number,
    pub low: Number,
    pub volume: Number,
    pub turnover: Number,
    pub confirm: bool,
}

/// A response; errors have HTTP 200.
///
/// `{"retCode":0,"retMsg":"OK","result":{…},"retExtInfo":{},"time":1673859087947}`
/// <https://bybit-exchange.github.io/docs/v5/guide#common-response-parameters>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct ResponseBody<'a, T> {
    #[serde(borrow)]
    pub result: Option<Object<ResultList<'a, T>>>,
    pub time: Option<Int>,
}

/// The status of a response.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResponseStatus<'a> {
    pub ret_code: Int,
    #[serde(borrow)]
    pub ret_msg: Option<Text<'a>>,
}

/// The rows of a result.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct ResultList<'a, T> {
    /// `spot`, or a category of derivatives.
    #[serde(borrow)]
    pub category: Option<Text<'a>>,
    pub list: Vec<T>,
}

/// One market of the listing.
///
/// ```json
/// {"symbol":"BTCUSDT","baseCoin":"BTC","quoteCoin":"USDT","innovation":"0","status":"Trading",
///  "lotSizeFilter":{"basePrecision":"0.000001","quotePrecision":"0.00000001","minOrderAmt":"1"},
///  "priceFilter":{"tickSize":"0.01"}}
/// ```
/// <https://bybit-exchange.github.io/docs/v5/market/instrument>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedInstrument<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
    pub base_coin: Text<'a>,
    pub quote_coin: Text<'a>,
    pub status: Option<Text<'a>>,
    pub lot_size_filter: Option<LotSizeFilter>,
    pub price_filter: Option<PriceFilter>,
    /// Only in listings of derivatives.
    pub contract_type: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LotSizeFilter {
    pub base_precision: Step,
    /// Minimum value of an order, in the quote asset.
    pub min_order_amt: Step,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PriceFilter {
    pub tick_size: Step,
}

/// A candle: open time, open, high, low, close, volume, turnover. Newest first.
///
/// `["1670608800000","17071","17073","17027","17055.5","268611","15.74462667"]`
/// <https://bybit-exchange.github.io/docs/v5/market/kline>
pub(super) type CandleRow = (Int, Number, Number, Number, Number, Number, Number);

/// The exchange's clock:
/// `{"retCode":0,"retMsg":"OK","result":{"timeSecond":"1688639403","timeNano":"…"},"time":1688639403423}`.
/// <https://bybit-exchange.github.io/docs/v5/market/time>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Time {
    pub ret_code: Int,
    pub time: Int,
}
