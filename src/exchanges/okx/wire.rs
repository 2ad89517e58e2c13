//! What OKX sends, borrowed from the frame or the body. Numbers are quoted, but may be bare everywhere.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::codec::{BadRow, Blank, Int, Named, Rows, Sift, Text, Tolerant, level, price};
use super::super::listing::Step;
use crate::model::{Candle, Number, TickerPatch};

/// The members by which any frame is told apart.
///
/// Data of a channel; the answer for one argument of a request
/// `{"id":"1","event":"subscribe","arg":{"channel":"tickers","instId":"BTC-USDT"},"connId":"a4d3ae55"}`; a refusal
/// `{"id":"1","event":"error","code":"60018","msg":"Wrong URL or channel:tickers,instId:NO-USDT doesn't exist. …",…}`; or
/// a notice `{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. …",…}`
/// <https://www.okx.com/docs-v5/en/#overview-websocket-subscribe>,
/// <https://www.okx.com/docs-v5/en/#overview-websocket-notification>
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub event: Option<Text<'a>>,
    #[serde(borrow)]
    pub id: Option<Text<'a>>,
    #[serde(borrow)]
    pub arg: Option<Channel<'a>>,
    #[serde(borrow)]
    pub code: Option<Text<'a>>,
    #[serde(borrow)]
    pub msg: Option<Text<'a>>,
}

/// A channel of any kind; some are not of one instrument.
#[derive(Debug, Deserialize)]
pub(super) struct Channel<'a> {
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    #[serde(borrow, rename = "instId")]
    pub inst_id: Option<Text<'a>>,
}

/// Data of a channel of one instrument: `{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[…]}`.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Message<'a, T> {
    #[serde(borrow)]
    pub arg: Named<Argument<'a>>,
    pub data: Rows<T>,
}

impl<'a, T: Deserialize<'a>> Sift<'a> for Message<'a, T> {
    type Tolerant = Message<'a, Tolerant<'a, T>>;
    fn sift(message: Self::Tolerant, bad: &mut Vec<BadRow<'a>>) -> Self {
        Self { arg: message.arg, data: message.data.sift(bad) }
    }
    fn is_empty(&self) -> bool {
        self.data.first.is_none()
    }
}

/// Whose data they are.
#[derive(Debug, Deserialize)]
pub(super) struct Argument<'a> {
    #[serde(borrow, rename = "instId")]
    pub inst_id: Cow<'a, str>,
}

/// Best bid and ask and the last 24 hours, the same on the stream and in REST. For spot `vol24h` is counted in the base
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
    #[serde(borrow)]
    pub inst_id: Option<Text<'a>>,
    pub last: Blank,
    pub ask_px: Blank,
    pub ask_sz: Blank,
    pub bid_px: Blank,
    pub bid_sz: Blank,
    pub open24h: Blank,
    pub high24h: Blank,
    pub low24h: Blank,
    pub vol_ccy24h: Blank,
    pub vol24h: Blank,
    pub ts: Int,
}

/// What one taker's order traded at one price; `side` is the taker's, and the id that of the last of `count` trades.
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
    pub side: Cow<'a, str>,
    pub ts: Int,
}

/// A candle, the same on the stream and in REST: open time in milliseconds, open, high, low, close, volume in the base
/// asset, volume in the quote asset (of derivatives in the base), volume in the quote asset, whether it is closed.
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

/// A reply; errors come with HTTP 200, too.
///
/// `{"code":"0","msg":"","data":[…]}` or `{"code":"51001","msg":"Instrument ID … doesn't exist.","data":[]}`
/// <https://www.okx.com/docs-v5/en/#error-code-rest-api>
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Answer<'a, T> {
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
pub(super) struct Listed<'a> {
    #[serde(borrow)]
    pub inst_type: Cow<'a, str>,
    #[serde(borrow)]
    pub inst_id: Cow<'a, str>,
    #[serde(borrow)]
    pub base_ccy: Cow<'a, str>,
    #[serde(borrow)]
    pub quote_ccy: Cow<'a, str>,
    #[serde(default)]
    pub tick_sz: Step,
    #[serde(default)]
    pub lot_sz: Step,
    /// `live`, `suspend`, `preopen`, `rebase` or `test`.
    #[serde(borrow)]
    pub state: Cow<'a, str>,
}

impl Ticker<'_> {
    /// Its values. OKX gives no change, and none is computed.
    pub fn values(&self) -> TickerPatch {
        let price = |value: Blank| value.0.and_then(price);
        let side = |at: Blank, size: Blank| at.0.zip(size.0).map(|(at, size)| level(at, size)).unwrap_or_default();
        let (bid, bid_size) = side(self.bid_px, self.bid_sz);
        let (ask, ask_size) = side(self.ask_px, self.ask_sz);
        TickerPatch {
            last: price(self.last),
            bid,
            bid_size,
            ask,
            ask_size,
            open: price(self.open24h),
            high: price(self.high24h),
            low: price(self.low24h),
            base_volume: self.vol24h.0.map(|volume| volume.0),
            quote_volume: self.vol_ccy24h.0.map(|volume| volume.0),
            change_percent: None,
            timestamp: Some(self.ts.millis()),
        }
    }
}

impl CandleRow {
    /// The candle; OKX does not count trades.
    pub fn candle(&self) -> Candle {
        Candle {
            timestamp: self.0.millis(),
            open: self.1.0,
            high: self.2.0,
            low: self.3.0,
            close: self.4.0,
            volume: self.5.0,
            quote_volume: Some(self.7.0),
            trades: None,
            closed: self.8.0 == 1,
            revision: 0,
        }
    }
}

/// What time it is at OKX: `{"ts":"1597026383085"}`.
/// <https://www.okx.com/docs-v5/en/#public-data-rest-api-get-system-time>
#[derive(Debug, Deserialize)]
pub(super) struct Time {
    pub ts: Int,
}
