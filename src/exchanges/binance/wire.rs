//! Messages of Binance, borrowed from the frame or the body. Any number may be bare or quoted.

use crate::exchanges::prelude::*;

/// A message of a combined stream.
///
/// `{"stream":"bnbusdt@bookTicker","data":{…}}`
/// <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>
#[derive(Debug, Deserialize)]
pub(super) struct Message<T> {
    pub data: Object<T>,
}

/// The members that distinguish the kinds of frames.
///
/// An event `{"e":"serverShutdown","E":1770123456789}`, an acknowledgement `{"result":null,"id":1}`, or a rejection,
/// `{"code":2,"msg":"Invalid request: …","id":1}` or `{"error":{"code":2,"msg":"Invalid request: …"},"id":1}`.
/// <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#live-subscribingunsubscribing-to-streams>
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub stream: Option<Text<'a>>,
    pub data: Option<&'a RawValue>,
    pub e: Option<Text<'a>>,
    pub u: Option<IgnoredAny>,
    pub id: RequestId,
    pub code: Option<Int>,
    pub msg: Option<Text<'a>>,
    pub error: Option<ErrorBody<'a>>,
}

/// Best bid and ask; without a time.
///
/// ```json
/// {"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}
/// ```
/// <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#individual-symbol-book-ticker-streams>
#[derive(Debug, Deserialize)]
pub(super) struct BookTicker<'a> {
    /// Name of the event; only of derivatives.
    pub e: Option<IgnoredAny>,
    #[serde(borrow)]
    pub s: Text<'a>,
    #[serde(rename = "b")]
    pub bid: Number,
    #[serde(rename = "B")]
    pub bid_size: Number,
    #[serde(rename = "a")]
    pub ask: Number,
    #[serde(rename = "A")]
    pub ask_size: Number,
}

/// Best bid and ask and the 24-hour statistics, on the stream once per second. REST has longer names.
///
/// ```json
/// {"e":"24hrTicker","E":1672515782136,"s":"BNBBTC","p":"0.0015","P":"250.00","w":"0.0018","x":"0.0009","c":"0.0025",
///  "Q":"10","b":"0.0024","B":"10","a":"0.0026","A":"100","o":"0.0010","h":"0.0025","l":"0.0010","v":"10000","q":"18",
///  "O":0,"C":86400000,"F":0,"L":18150,"n":18151}
/// {"symbol":"BNBBTC","priceChange":"-94.99999800","priceChangePercent":"-95.960","weightedAvgPrice":"0.29628482",
///  "prevClosePrice":"0.10002000","lastPrice":"4.00000200","lastQty":"200.00000000","bidPrice":"4.00000000",
///  "bidQty":"100.00000000","askPrice":"4.00000200","askQty":"100.00000000","openPrice":"99.00000000",
///  "highPrice":"100.00000000","lowPrice":"0.10000000","volume":"8913.30000000","quoteVolume":"15.30000000",
///  "openTime":1499783499040,"closeTime":1499869899040,"firstId":28385,"lastId":28460,"count":76}
/// ```
/// <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#individual-symbol-ticker-streams>,
/// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#24hr-ticker-price-change-statistics>
#[derive(Debug, Deserialize)]
pub(super) struct Ticker<'a> {
    /// Name of the event; only on the stream.
    #[serde(borrow)]
    pub e: Option<Text<'a>>,
    #[serde(rename = "E", alias = "closeTime")]
    pub at: Int,
    #[serde(rename = "s", alias = "symbol")]
    pub symbol: Text<'a>,
    /// In percent.
    #[serde(rename = "P", alias = "priceChangePercent")]
    pub change_percent: Number,
    #[serde(rename = "c", alias = "lastPrice")]
    pub last: Number,
    /// Best bid and ask; only of spot markets.
    #[serde(rename = "b", alias = "bidPrice")]
    pub bid: OptionalNumber,
    #[serde(rename = "B", alias = "bidQty")]
    pub bid_size: OptionalNumber,
    #[serde(rename = "a", alias = "askPrice")]
    pub ask: OptionalNumber,
    #[serde(rename = "A", alias = "askQty")]
    pub ask_size: OptionalNumber,
    #[serde(rename = "o", alias = "openPrice")]
    pub open: Number,
    #[serde(rename = "h", alias = "highPrice")]
    pub high: Number,
    #[serde(rename = "l", alias = "lowPrice")]
    pub low: Number,
    #[serde(rename = "v", alias = "volume")]
    pub volume: Number,
    #[serde(rename = "q", alias = "quoteVolume")]
    pub quote_volume: Number,
}

/// One trade, or (with `a`) the trades of one taker order at one price.
///
/// ```json
/// {"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}
/// {"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":12345,"p":"0.001","q":"100","f":100,"l":105,"T":1672515782136,
///  "m":true,"M":true}
/// ```
/// <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#trade-streams>,
/// <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#aggregate-trade-streams>
#[derive(Debug, Deserialize)]
pub(super) struct Trade<'a> {
    #[serde(borrow)]
    pub e: Text<'a>,
    pub s: Text<'a>,
    #[serde(rename = "t")]
    pub id: Option<Int>,
    #[serde(rename = "a")]
    pub aggregate_id: Option<Int>,
    #[serde(rename = "p")]
    pub price: Number,
    #[serde(rename = "q")]
    pub amount: Number,
    #[serde(rename = "T")]
    pub at: Int,
    /// If the buyer was the maker, the taker sold.
    #[serde(rename = "m")]
    pub buyer_is_maker: bool,
    /// Only of spot markets.
    #[serde(rename = "M")]
    pub spot: Option<IgnoredAny>,
}

/// The market of a trade that cannot be parsed.
#[derive(Debug, Deserialize)]
pub(super) struct TradeMarket<'a> {
    #[serde(borrow)]
    pub s: Text<'a>,
}

/// An update of a candle.
///
/// ```json
/// {"e":"kline","E":1672515782136,"s":"BNBBTC","k":{"t":1672515780000,"T":1672515839999,"s":"BNBBTC","i":"1m","f":100,
///  "L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015","v":"1000","n":100,"x":false,"q":"1.0000","V":"500",
///  "Q":"0.500","B":"123456"}}
/// ```
/// <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#klinecandlestick-streams-for-utc>
#[derive(Debug, Deserialize)]
pub(super) struct CandleEvent<'a> {
    #[serde(borrow)]
    pub e: Text<'a>,
    pub s: Text<'a>,
    pub k: Object<StreamCandle<'a>>,
}

/// The candle of a [`CandleEvent`].
#[derive(Debug, Deserialize)]
pub(super) struct StreamCandle<'a> {
    #[serde(rename = "t")]
    pub open_time: Int,
    #[serde(rename = "i", borrow)]
    pub interval: Text<'a>,
    #[serde(rename = "o")]
    pub open: Number,
    #[serde(rename = "c")]
    pub close: Number,
    #[serde(rename = "h")]
    pub high: Number,
    #[serde(rename = "l")]
    pub low: Number,
    #[serde(rename = "v")]
    pub volume: Number,
    #[serde(rename = "n")]
    pub trades: Int,
    #[serde(rename = "x")]
    pub closed: bool,
    #[serde(rename = "q")]
    pub quote_volume: Number,
}

/// Why a request was rejected: `{"code":-1121,"msg":"Invalid symbol."}`
/// <https://developers.binance.com/docs/binance-spot-api-docs/errors>
#[derive(Debug, Deserialize)]
pub(super) struct ErrorBody<'a> {
    pub code: Int,
    #[serde(borrow, default)]
    pub msg: Text<'a>,
}

/// The listing.
///
/// ```json
/// {"timezone":"UTC","serverTime":1565246363776,"rateLimits":[],"exchangeFilters":[],"symbols":[{"symbol":"ETHBTC",
///  "status":"TRADING","baseAsset":"ETH","quoteAsset":"BTC","isSpotTradingAllowed":true,"filters":[
///  {"filterType":"PRICE_FILTER","minPrice":"0.00000100","maxPrice":"100000.00000000","tickSize":"0.00000100"},
///  {"filterType":"LOT_SIZE","minQty":"0.00100000","maxQty":"100000.00000000","stepSize":"0.00100000"},
///  {"filterType":"NOTIONAL","minNotional":"0.00010000","applyMinToMarket":true,"maxNotional":"9000000.00000000",
///   "applyMaxToMarket":false,"avgPriceMins":5}]}]}
/// ```
/// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints#exchange-information>
#[derive(Debug, Deserialize)]
pub(super) struct InstrumentList<'a> {
    #[serde(borrow)]
    pub symbols: Vec<&'a RawValue>,
}

/// One market of the listing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedInstrument<'a> {
    #[serde(borrow)]
    pub symbol: Text<'a>,
    pub status: Text<'a>,
    pub base_asset: Text<'a>,
    pub quote_asset: Text<'a>,
    #[serde(default = "default_true")]
    pub is_spot_trading_allowed: bool,
    /// An array of [`Filter`]s.
    pub filters: Option<&'a RawValue>,
    /// Only in listings of futures.
    pub contract_type: Option<IgnoredAny>,
}

fn default_true() -> bool {
    true
}

/// A rule for orders: <https://developers.binance.com/docs/binance-spot-api-docs/filters>.
#[derive(Debug, Deserialize)]
pub(super) struct Filter<'a> {
    #[serde(rename = "filterType", borrow)]
    pub kind: Text<'a>,
    #[serde(rename = "tickSize")]
    pub tick: Step,
    #[serde(rename = "stepSize")]
    pub step: Step,
    /// Of `NOTIONAL`, and of its older form `MIN_NOTIONAL`.
    #[serde(rename = "minNotional")]
    pub min_notional: Step,
}

/// A candle: open time, open, high, low, close, base volume, close time, quote volume, trades, and three more.
///
/// ```json
/// [1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,
///  "2434.19055334",308,"1756.87402397","28.46694368","0"]
/// ```
/// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data>
pub(super) type CandleRow =
    (Int, Number, Number, Number, Number, Number, Int, Number, Int, IgnoredAny, IgnoredAny, IgnoredAny);

/// The exchange's clock: `{"serverTime":1499827319559}`.
/// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints#check-server-time>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Time {
    pub server_time: Int,
}
