//! The bodies of market data and reference operations.

use poem_openapi::Object;
use serde::Serialize;

use crate::api::problem::Code;
use crate::model::{ExchangeState, Timestamp};

/// The latest state of a market. Statistics cover the last 24 hours. Values that the exchange lacks are null.
#[derive(Debug, Object)]
pub struct Ticker {
    /// The id of the exchange.
    exchange: String,
    /// BASE/QUOTE; of a contract BASE/QUOTE:SETTLE or BASE/QUOTE:SETTLE-YYMMDD.
    symbol: String,
    /// Price of the last trade, in the quote asset.
    last: Option<f64>,
    /// Best bid, in the quote asset.
    bid: Option<f64>,
    /// Amount at the best bid, in the base asset.
    bid_size: Option<f64>,
    /// Best ask, in the quote asset.
    ask: Option<f64>,
    /// Amount at the best ask, in the base asset.
    ask_size: Option<f64>,
    /// Price 24 hours ago.
    open: Option<f64>,
    /// Highest price.
    high: Option<f64>,
    /// Lowest price.
    low: Option<f64>,
    /// Traded amount, in the base asset.
    base_volume: Option<f64>,
    /// Traded amount, in the quote asset.
    quote_volume: Option<f64>,
    /// Change from `open` to `last`, in percent.
    change_percent: Option<f64>,
    /// The exchange's timestamp of the newest value, in Unix milliseconds.
    timestamp: Option<i64>,
    /// When candlewick received it, in Unix milliseconds.
    received_at: i64,
    /// `stream` or `rest`.
    source: String,
    /// Whether the data comes from the simulator.
    simulated: bool,
    /// Now minus `received_at`, in milliseconds.
    age_ms: u64,
    /// Whether the ticker is outdated: no updates arrive on its stream, or the stream is down.
    stale: bool,
}

/// Several tickers.
#[derive(Debug, Object)]
pub struct Tickers {
    /// In the order of the request.
    tickers: Vec<Ticker>,
    /// Symbols without a ticker.
    errors: Vec<TickerError>,
}

/// A symbol without a ticker.
#[derive(Debug, Object)]
pub struct TickerError {
    /// As in the request.
    symbol: String,
    /// The problem code that `/v1/ticker` would return for this symbol.
    code: Code,
}

/// A page of candles.
#[derive(Debug, Object)]
pub struct History {
    /// The id of the exchange.
    exchange: String,
    /// BASE/QUOTE; of a contract BASE/QUOTE:SETTLE or BASE/QUOTE:SETTLE-YYMMDD.
    symbol: String,
    /// The candle interval.
    interval: String,
    /// Whether the data comes from the simulator.
    simulated: bool,
    /// Whether no closed part of the page's range is unknown or unavailable.
    complete: bool,
    /// Missing ranges, ascending.
    gaps: Vec<Gap>,
    /// The `cursor` of the next page; null on the last page.
    next_cursor: Option<String>,
    /// In ascending order of time.
    candles: Vec<Candle>,
}

/// A range without data.
#[derive(Debug, Object)]
pub struct Gap {
    /// Start, inclusive, in Unix milliseconds.
    start: i64,
    /// End, exclusive, in Unix milliseconds.
    end: i64,
    /// `pending` (being fetched; request it again later), `unavailable` (the exchange cannot provide it), `invalid`
    /// (the exchange provides only implausible rows), `off_grid` (the exchange provides only rows whose open times do
    /// not fit the interval) or `offline` (no collector can fetch it now).
    reason: String,
}

/// A candle: the trades of one interval. Prices are in the quote asset.
#[derive(Debug, Object)]
pub struct Candle {
    /// Open time, in Unix milliseconds.
    timestamp: i64,
    /// First price.
    open: f64,
    /// Highest price.
    high: f64,
    /// Lowest price.
    low: f64,
    /// Last price.
    close: f64,
    /// Traded amount, in the base asset.
    volume: f64,
    /// Traded amount, in the quote asset.
    quote_volume: Option<f64>,
    /// Number of trades.
    trades: Option<u64>,
    /// Whether the interval has ended and the values are final.
    closed: bool,
    /// Number of corrections after closing.
    revision: u32,
    /// True if the interval has no trades and `fill=flat` is set; otherwise omitted.
    #[oai(skip_serializing_if_is_none)]
    filled: Option<bool>,
}

/// All enabled exchanges.
#[derive(Debug, Object, Serialize)]
pub struct Exchanges {
    /// In registry order.
    pub exchanges: Vec<Exchange>,
}

/// The state of an exchange.
#[derive(Debug, Object, Serialize)]
pub struct Exchange {
    id: String,
    name: String,
    /// `connecting`, `live`, `stale`, `reconnecting`, `down` or `simulated`.
    state: String,
    /// Time of the last change of `state`, in Unix milliseconds.
    since: i64,
    /// Whether the data comes from the simulator.
    simulated: bool,
    /// Available stream channels.
    channels: Vec<String>,
    /// Available candle intervals.
    intervals: Vec<String>,
    /// Markets that are collected now.
    symbols: Vec<String>,
    /// Markets that are no longer collected, because the exchange does not list or trade them any more.
    ended: Vec<Ended>,
    connections: Vec<Connection>,
    budgets: Vec<Budget>,
    /// The exchange's clock, which determines when candles close.
    clock: Option<ExchangeClock>,
    /// A description of the current fault.
    detail: Option<String>,
}

/// An exchange's clock, estimated from its responses.
#[derive(Debug, Object, Serialize)]
pub struct ExchangeClock {
    /// Whether the clock is known. While it is not, no candle is closed by the clock.
    known: bool,
    /// Offset of the exchange's clock from the clock of the collecting machine, in milliseconds; positive if the
    /// exchange is ahead.
    offset_ms: i64,
    /// Maximum error of the offset in either direction, in milliseconds.
    doubt_ms: i64,
}

/// A market that the exchange does not list or trade any more.
#[derive(Debug, Object, Serialize)]
pub struct Ended {
    /// BASE/QUOTE; of a contract BASE/QUOTE:SETTLE or BASE/QUOTE:SETTLE-YYMMDD.
    symbol: String,
    /// Time since when it is not collected, in Unix milliseconds.
    since: i64,
    /// The reason.
    detail: String,
}

/// One connection to an exchange.
#[derive(Debug, Object, Serialize)]
pub struct Connection {
    id: String,
    /// The same states as of an exchange.
    state: String,
    /// Number of topics on this connection.
    topics: u64,
    /// Time since the last data or heartbeat, in milliseconds. Pings do not count.
    last_message_ms: Option<u64>,
    /// Number of reconnects.
    reconnects: u64,
}

/// A rate limit of an exchange.
#[derive(Debug, Object, Serialize)]
pub struct Budget {
    /// The requests that the limit applies to, such as `rest`.
    scope: String,
    /// Maximum weight per window.
    limit: u32,
    /// Length of the window, in milliseconds.
    window_ms: u64,
    /// Weight used in this window.
    used: u32,
    /// Time until which no requests are sent, in Unix milliseconds.
    open_at: Option<i64>,
}

/// A page of instruments.
#[derive(Debug, Object)]
pub struct Instruments {
    /// Ordered by exchange and symbol.
    instruments: Vec<Instrument>,
    /// The `cursor` of the next page; null on the last page.
    next_cursor: Option<String>,
}

/// A market of an exchange. Values that the exchange does not list are null.
#[derive(Debug, Object)]
pub struct Instrument {
    /// The id of the exchange.
    exchange: String,
    /// BASE/QUOTE; of a contract BASE/QUOTE:SETTLE, and of a future BASE/QUOTE:SETTLE-YYMMDD.
    symbol: String,
    /// The exchange's native symbol.
    native: String,
    /// `spot`; `linear`: a contract that settles in the quote asset; `inverse`: a contract that settles in the base
    /// asset.
    kind: String,
    base: String,
    quote: String,
    /// The settlement asset of a contract; null for a spot market.
    settle: Option<String>,
    /// Price increment, in the quote asset.
    price_step: Option<f64>,
    /// Amount increment: in the base asset, of contracts in contracts.
    amount_step: Option<f64>,
    /// Minimum value of an order, in the quote asset.
    min_notional: Option<f64>,
    /// Size of one contract: in the base asset if `kind` is `linear`, in the quote asset if it is `inverse`. Null for a
    /// spot market.
    contract_size: Option<f64>,
    /// Time of expiry of a future, in Unix milliseconds; null for all other markets.
    expiry: Option<i64>,
    /// Whether the market is trading: `status` is `trading`.
    active: bool,
    /// `trading`; `halted`: trading is suspended or restricted (maintenance, auction, cancel only), streams and history
    /// remain available; `delisted`: the exchange does not list it any more, stored history remains available.
    status: String,
}

/// A page of the coverage of a candle series.
#[derive(Debug, Object)]
pub struct Coverage {
    /// The id of the exchange.
    exchange: String,
    /// BASE/QUOTE; of a contract BASE/QUOTE:SETTLE or BASE/QUOTE:SETTLE-YYMMDD.
    symbol: String,
    /// The candle interval.
    interval: String,
    /// Whether the data comes from the simulator.
    simulated: bool,
    /// Whether no closed part of the page's time span is unknown or unavailable.
    complete: bool,
    /// The `cursor` of the next page; null on the last page.
    next_cursor: Option<String>,
    /// Disjoint, ascending.
    ranges: Vec<CoveredRange>,
}

/// A time range with its coverage state.
#[derive(Debug, Object)]
pub struct CoveredRange {
    /// Start, inclusive, in Unix milliseconds.
    start: i64,
    /// End, exclusive, in Unix milliseconds.
    end: i64,
    /// `observed`, `fetched`, `derived`, `empty`, `unavailable` (the exchange cannot provide it), `invalid` (the
    /// exchange provides only implausible rows) or `off_grid` (only rows whose open times do not fit the interval).
    state: String,
}

impl Exchange {
    pub fn new(state: &ExchangeState, now: Timestamp) -> Self {
        let connections = state.connections.iter().map(|connection| Connection {
            id: connection.id.clone(),
            state: connection.state.as_str().to_owned(),
            topics: connection.topics as u64,
            last_message_ms: connection.last_message.map(|at| whole_millis(now.since(at))),
            reconnects: connection.reconnects,
        });
        let budgets = state.budgets.iter().map(|budget| Budget {
            scope: budget.scope.to_string(),
            limit: budget.limit,
            window_ms: whole_millis(budget.window),
            used: budget.used,
            open_at: budget.open_at.map(Timestamp::millis),
        });
        let ended = state.ended.iter().map(|ended| Ended {
            symbol: ended.symbol.to_string(),
            since: ended.since.millis(),
            detail: ended.detail.clone(),
        });
        Self {
            id: state.exchange.as_str().to_owned(),
            name: state.exchange.name().to_owned(),
            state: state.state.as_str().to_owned(),
            since: state.since.millis(),
            simulated: state.simulated,
            channels: state.channels.iter().map(|channel| channel.as_str().to_owned()).collect(),
            intervals: state.intervals.iter().map(|interval| interval.as_str().to_owned()).collect(),
            symbols: state.symbols.iter().map(ToString::to_string).collect(),
            ended: ended.collect(),
            connections: connections.collect(),
            budgets: budgets.collect(),
            clock: state.clock.map(|clock| ExchangeClock {
                known: clock.known,
                offset_ms: clock.offset_ms,
                doubt_ms: clock.doubt_ms,
            }),
            detail: state.detail.clone(),
        }
    }
}

fn whole_millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
