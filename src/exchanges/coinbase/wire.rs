//! Messages of Coinbase, borrowed from the frame or the body. Any number may be bare or quoted; Coinbase quotes them.

use std::collections::BTreeMap;

use crate::exchanges::prelude::*;

/// The members that distinguish the kinds of frames: data of a channel, or `{"type":"error","message":"…"}`.
/// <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-overview>
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub channel: Option<Text<'a>>,
    pub timestamp: Option<Text<'a>>,
    /// Sequence number of the message on the connection, from 0.
    pub sequence_num: Option<Int>,
    #[serde(rename = "type")]
    pub kind: Option<Text<'a>>,
    pub message: Option<Text<'a>>,
}

/// Data of a channel.
///
/// ```json
/// {"channel":"ticker","timestamp":"2023-02-09T20:30:37.167359596Z","sequence_num":3,"events":[…]}
/// ```
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Message<'a, T> {
    #[serde(borrow)]
    pub timestamp: Option<Text<'a>>,
    pub sequence_num: Int,
    pub events: Rows<Object<T>>,
}

/// An event with rows.
pub(super) trait RowEvent<'a>: Deserialize<'a> {
    /// The same event with [`Lenient`] rows.
    type Lenient: Deserialize<'a>;
    /// The event with its valid rows; moves the others to `invalid`.
    fn keep_valid(event: Self::Lenient, invalid: &mut Vec<InvalidRow<'a>>) -> Self;
    /// Whether the event has no rows.
    fn is_empty(&self) -> bool;
}

impl<'a, T: RowEvent<'a>> RowMessage<'a> for Message<'a, T> {
    type Lenient = Message<'a, T::Lenient>;
    fn keep_valid(message: Self::Lenient, invalid: &mut Vec<InvalidRow<'a>>) -> Self {
        let Message { timestamp, sequence_num, events } = message;
        let mut keep_valid = |event: Object<T::Lenient>| Object(T::keep_valid(event.0, invalid));
        let first = events.first.map(&mut keep_valid);
        let more = events.more.into_iter().map(keep_valid).collect();
        Self { timestamp, sequence_num, events: Rows { first, more } }
    }
    fn is_empty(&self) -> bool {
        self.events.iter().all(|event| event.0.is_empty())
    }
}

/// An event of the channel `ticker`.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct TickerEvent<T> {
    pub tickers: Rows<T>,
}

impl<'a, T: Deserialize<'a>> RowEvent<'a> for TickerEvent<T> {
    type Lenient = TickerEvent<Lenient<'a, T>>;
    fn keep_valid(event: Self::Lenient, invalid: &mut Vec<InvalidRow<'a>>) -> Self {
        Self { tickers: event.tickers.keep_valid(invalid) }
    }
    fn is_empty(&self) -> bool {
        self.tickers.first.is_none()
    }
}

/// The 24-hour statistics and, only on the stream, best bid and ask. Only the envelope has a time.
///
/// ```json
/// {"type":"ticker","product_id":"BTC-USD","price":"21932.98","volume_24_h":"16038.28770938","low_24_h":"21835.29",
///  "high_24_h":"23011.18","low_52_w":"15460","high_52_w":"48240","price_percent_chg_24_h":"-4.15775596190603",
///  "best_bid":"21931.98","best_bid_quantity":"8000.21","best_ask":"21933.98","best_ask_quantity":"8038.07770938"}
/// ```
/// <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels#ticker-channel>,
/// <https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-product>
#[derive(Debug, Deserialize)]
pub(super) struct Ticker<'a> {
    /// On the stream `ticker`.
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'a>>,
    /// In REST `SPOT` or `FUTURE`.
    pub product_type: Option<Text<'a>>,
    pub product_id: Text<'a>,
    pub price: OptionalNumber,
    #[serde(alias = "volume_24h")]
    pub volume_24_h: OptionalNumber,
    #[serde(alias = "low_24h")]
    pub low_24_h: OptionalNumber,
    #[serde(alias = "high_24h")]
    pub high_24_h: OptionalNumber,
    /// In percent.
    #[serde(alias = "price_percentage_change_24h")]
    pub price_percent_chg_24_h: OptionalNumber,
    pub best_bid: OptionalNumber,
    pub best_bid_quantity: OptionalNumber,
    pub best_ask: OptionalNumber,
    pub best_ask_quantity: OptionalNumber,
}

/// An event of the channel `market_trades`: a `snapshot` or an `update`, newest trade first.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct TradeEvent<'a, T> {
    #[serde(borrow, rename = "type")]
    pub kind: Text<'a>,
    pub trades: Rows<T>,
}

impl<'a, T: Deserialize<'a>> RowEvent<'a> for TradeEvent<'a, T> {
    type Lenient = TradeEvent<'a, Lenient<'a, T>>;
    fn keep_valid(event: Self::Lenient, invalid: &mut Vec<InvalidRow<'a>>) -> Self {
        Self { kind: event.kind, trades: event.trades.keep_valid(invalid) }
    }
    fn is_empty(&self) -> bool {
        self.trades.first.is_none()
    }
}

/// One trade; `side` is the maker's.
///
/// ```json
/// {"trade_id":"000000000","product_id":"ETH-USD","price":"1260.01","size":"0.3","side":"BUY",
///  "time":"2019-08-14T20:42:27.265Z"}
/// ```
/// <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels#market-trades-channel>
#[derive(Debug, Deserialize)]
pub(super) struct Trade<'a> {
    #[serde(borrow)]
    pub product_id: Text<'a>,
    #[serde(rename = "trade_id")]
    pub id: Text<'a>,
    pub price: Number,
    pub size: Number,
    pub side: Text<'a>,
    pub time: Text<'a>,
}

/// An event of the channel `subscriptions`: all subscriptions of the connection, by channel, after each request.
///
/// ```json
/// {"channel":"subscriptions","timestamp":"…","sequence_num":2,
///  "events":[{"subscriptions":{"market_trades":["BTC-USD","ETH-USD"]}}]}
/// ```
/// The documentation shows no example; the shape was seen in recorded traffic of 2026-08.
#[derive(Debug, Deserialize)]
pub(super) struct Subscriptions<'a> {
    #[serde(borrow)]
    pub subscriptions: BTreeMap<Text<'a>, Vec<Text<'a>>>,
}

/// The listing.
#[derive(Debug, Deserialize)]
pub(super) struct InstrumentList<'a> {
    #[serde(borrow)]
    pub products: Vec<&'a RawValue>,
}

/// One market of the listing. A market with an `alias` shares the order book of that market, which names it in
/// `alias_to`.
///
/// ```json
/// {"product_id":"BTC-USD","price":"140.21","price_percentage_change_24h":"9.43","volume_24h":"1908432",
///  "base_increment":"0.00000001","quote_increment":"0.01","quote_min_size":"1","is_disabled":false,"status":"online",
///  "trading_disabled":false,"product_type":"SPOT","quote_currency_id":"USD","base_currency_id":"BTC","alias":"",
///  "alias_to":["BTC-USDC"],
///  "view_only":false,"price_increment":"0.01","high_24h":"145.1","low_24h":"138.2"}
/// ```
/// <https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/list-public-products>
#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "members of Coinbase's API")]
pub(super) struct ListedInstrument<'a> {
    #[serde(borrow, rename = "product_id")]
    pub id: Text<'a>,
    #[serde(rename = "product_type")]
    pub kind: Option<Text<'a>>,
    pub base_currency_id: Option<Text<'a>>,
    pub quote_currency_id: Option<Text<'a>>,
    pub alias: Option<Text<'a>>,
    pub status: Option<Text<'a>>,
    #[serde(default)]
    pub is_disabled: bool,
    #[serde(default)]
    pub trading_disabled: bool,
    #[serde(default)]
    pub view_only: bool,
    #[serde(default)]
    pub cancel_only: bool,
    #[serde(default)]
    pub post_only: bool,
    #[serde(default)]
    pub auction_mode: bool,
    pub base_increment: Step,
    pub price_increment: Step,
    pub quote_increment: Step,
    /// Minimum value of an order, in the quote asset; CCXT reads it so, too:
    /// <https://github.com/ccxt/ccxt/blob/master/ts/src/coinbase.ts>.
    pub quote_min_size: Step,
}

/// The last trades, and the best bid and ask without sizes. There are no 24-hour statistics.
///
/// ```json
/// {"trades":[{"trade_id":"34b080bf-fcfd","product_id":"BTC-USD","price":"140.91","size":"4",
///  "time":"2021-05-31T09:59:59.000Z","side":"BUY"}],"best_bid":"291.13","best_ask":"292.40"}
/// ```
/// <https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-market-trades>
#[derive(Debug, Deserialize)]
pub(super) struct LastTrades<'a> {
    #[serde(borrow)]
    pub trades: Vec<LastTrade<'a>>,
    pub best_bid: OptionalNumber,
    pub best_ask: OptionalNumber,
}

/// The price and the time of a trade.
#[derive(Debug, Deserialize)]
pub(super) struct LastTrade<'a> {
    pub price: Number,
    #[serde(borrow)]
    pub time: Option<Text<'a>>,
}

/// Candles, newest first; each is a [`CandleRow`].
#[derive(Debug, Deserialize)]
pub(super) struct CandleList<'a> {
    #[serde(borrow)]
    pub candles: Vec<&'a RawValue>,
}

/// The open time of a candle, in seconds.
#[derive(Debug, Deserialize)]
pub(super) struct OpenTime {
    pub start: Int,
}

/// A candle; `start` is in seconds.
///
/// ```json
/// {"start":"1639508050","low":"140.21","high":"140.21","open":"140.21","close":"140.21","volume":"56437345"}
/// ```
/// <https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-product-candles>
#[derive(Debug, Deserialize)]
pub(super) struct CandleRow {
    pub start: Int,
    pub low: Number,
    pub high: Number,
    pub open: Number,
    pub close: Number,
    pub volume: Number,
}

/// Why a request was rejected: `{"error":"NOT_FOUND","error_details":"valid product_id is required",
/// "message":"valid product_id is required"}`
/// <https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-product>
#[derive(Debug, Deserialize)]
pub(super) struct ErrorBody<'a> {
    #[serde(borrow)]
    pub error: Option<Text<'a>>,
    pub message: Option<Text<'a>>,
}

/// The exchange's clock: `{"iso":"2023-07-06T18:50:48Z","epochSeconds":"1688669448","epochMillis":"1688669448123"}`.
/// <https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-server-time>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Time {
    pub epoch_millis: Int,
}
