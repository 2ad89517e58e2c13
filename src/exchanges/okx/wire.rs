//! Messages of OKX, borrowed from the frame or the body. Any number may be bare or quoted; OKX quotes them.

use crate::exchanges::prelude::*;

/// The members that distinguish the kinds of frames.
///
/// Data of a channel; the acknowledgement of one subscription of a request
/// `{"id":"1","event":"subscribe","arg":{"channel":"tickers","instId":"BTC-USDT"},"connId":"a4d3ae55"}`; a rejection
/// `{"id":"1","event":"error","code":"60018","msg":"Wrong URL or channel:tickers,instId:NO-USDT doesn't exist. …",…}`;
/// or a notice
/// `{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. …",…}`
/// <https://www.okx.com/docs-v5/en/#overview-websocket-subscribe>,
/// <https://www.okx.com/docs-v5/en/#overview-websocket-notification>
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub event: Option<Text<'a>>,
    pub id: RequestId,
    pub arg: Option<ChannelArg<'a>>,
    pub code: Option<Text<'a>>,
    pub msg: Option<Text<'a>>,
}

/// The channel of a frame, without `inst_id` if the channel is not of one instrument.
#[derive(Debug, Deserialize)]
pub(super) struct ChannelArg<'a> {
    #[serde(borrow)]
    pub channel: Text<'a>,
    #[serde(rename = "instId")]
    pub inst_id: Option<Text<'a>>,
}

/// Data of a channel of one instrument: `{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[…]}`.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Message<'a, T> {
    #[serde(borrow)]
    pub arg: Object<InstrumentArg<'a>>,
    pub data: Rows<T>,
}

impl<'a, T: Deserialize<'a>> RowMessage<'a> for Message<'a, T> {
    type Lenient = Message<'a, Lenient<'a, T>>;
    fn keep_valid(message: Self::Lenient, invalid: &mut Vec<InvalidRow<'a>>) -> Self {
        Self { arg: message.arg, data: message.data.keep_valid(invalid) }
    }
    fn is_empty(&self) -> bool {
        self.data.first.is_none()
    }
}

/// The instrument of a message.
#[derive(Debug, Deserialize)]
pub(super) struct InstrumentArg<'a> {
    #[serde(borrow, rename = "instId")]
    pub inst_id: Text<'a>,
}

/// Best bid and ask and the 24-hour statistics, the same on the stream and in REST. For spot, `vol24h` is in the base
/// and `volCcy24h` in the quote asset.
///
/// ```json
/// {"instType":"SPOT","instId":"BTC-USDT","last":"9999.99","lastSz":"0.1","askPx":"9999.99","askSz":"11",
///  "bidPx":"8888.88","bidSz":"5","open24h":"9000","high24h":"10000","low24h":"8888.88","volCcy24h":"2222",
///  "vol24h":"2222","sodUtc0":"2222","sodUtc8":"2222","ts":"1597026383085"}
/// ```
/// <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-tickers-channel>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ticker<'a> {
    #[serde(borrow)]
    pub inst_type: Option<Text<'a>>,
    pub inst_id: Option<Text<'a>>,
    pub last: OptionalNumber,
    pub ask_px: OptionalNumber,
    pub ask_sz: OptionalNumber,
    pub bid_px: OptionalNumber,
    pub bid_sz: OptionalNumber,
    pub open24h: OptionalNumber,
    pub high24h: OptionalNumber,
    pub low24h: OptionalNumber,
    pub vol_ccy24h: OptionalNumber,
    pub vol24h: OptionalNumber,
    pub ts: Int,
}

/// The trades of one taker order at one price; `side` is the taker's, and the id is that of the last of `count` trades.
///
/// ```json
/// {"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897",
///  "count":"3","source":"0","seqId":1234}
/// ```
/// <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-trades-channel>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trade<'a> {
    #[serde(rename = "tradeId")]
    pub id: Int,
    pub px: Number,
    pub sz: Number,
    #[serde(borrow)]
    pub side: Text<'a>,
    pub ts: Int,
}

/// A candle, the same on the stream and in REST: open time in milliseconds, open, high, low, close, volume in the base
/// asset, volume in the quote asset (for derivatives in the base asset), volume in the quote asset, closed flag.
///
/// ```json
/// ["1597026383085","8533.02","8553.74","8527.17","8548.26","45247","529.5858061","5529.5858061","0"]
/// ```
/// <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-candlesticks-channel>
#[derive(Debug, Deserialize)]
pub(super) struct CandleRow(
    pub Int,
    pub Number,
    pub Number,
    pub Number,
    pub Number,
    pub Number,
    pub IgnoredAny,
    pub Number,
    pub Int,
);

/// A response; errors may have HTTP 200.
///
/// `{"code":"0","msg":"","data":[…]}` or `{"code":"51001","msg":"Instrument ID … doesn't exist.","data":[]}`
/// <https://www.okx.com/docs-v5/en/#error-code-rest-api>
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct ResponseBody<'a, T> {
    pub code: Int,
    #[serde(borrow)]
    pub msg: Option<Text<'a>>,
    pub data: Option<Vec<T>>,
}

/// One market of the listing.
///
/// ```json
/// {"baseCcy":"BTC","instId":"BTC-USDT","instType":"SPOT","listTime":"1606468572000","lotSz":"0.00000001",
///  "minSz":"0.00001","quoteCcy":"USDT","state":"live","tickSz":"0.1"}
/// ```
/// <https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedInstrument<'a> {
    #[serde(borrow)]
    pub inst_type: Text<'a>,
    pub inst_id: Text<'a>,
    pub base_ccy: Text<'a>,
    pub quote_ccy: Text<'a>,
    pub tick_sz: Step,
    pub lot_sz: Step,
    /// `live`, `suspend`, `preopen`, `rebase` or `test`.
    pub state: Text<'a>,
}

/// The exchange's clock: `{"ts":"1597026383085"}`.
/// <https://www.okx.com/docs-v5/en/#public-data-rest-api-get-system-time>
#[derive(Debug, Deserialize)]
pub(super) struct Time {
    pub ts: Int,
}
