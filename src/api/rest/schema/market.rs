//! The bodies of market data and reference.

use poem_openapi::Object;
use serde::Serialize;

use crate::api::problem::Code;
use crate::model::{ExchangeState, Timestamp};

/// The latest state of a market. Figures are over the last 24 hours; what the exchange does not give is null.
#[derive(Debug, Object)]
pub struct Ticker {
    /// Id of the exchange.
    exchange: String,
    /// BASE/QUOTE.
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
    /// Change of `last` against `open`, in per cent.
    change_percent: Option<f64>,
    /// The exchange's own time of the newest part, in Unix milliseconds.
    timestamp: Option<i64>,
    /// When candlewick received it, in Unix milliseconds.
    received_at: i64,
    /// `stream` or `rest`.
    source: String,
    /// Whether it comes from the simulator.
    simulated: bool,
    /// Now minus `received_at`, in milliseconds.
    age_ms: u64,
    /// Whether it is older than it should be: its stream is silent or broken.
    stale: bool,
}

/// Several tickers.
#[derive(Debug, Object)]
pub struct Tickers {
    /// In the order asked for.
    tickers: Vec<Ticker>,
    /// What has no answer.
    errors: Vec<TickerError>,
}

/// A symbol without an answer.
#[derive(Debug, Object)]
pub struct TickerError {
    /// As it was asked for.
    symbol: String,
    /// The code that the problem of `/v1/ticker` would have.
    code: Code,
}

/// A page of candles.
#[derive(Debug, Object)]
pub struct History {
    /// Id of the exchange.
    exchange: String,
    /// BASE/QUOTE.
    symbol: String,
    /// How long a candle lasts.
    interval: String,
    /// Whether it comes from the simulator.
    simulated: bool,
    /// Whether no closed time of the page's range is unknown or unavailable.
    complete: bool,
    /// What is missing, ascending.
    gaps: Vec<Gap>,
    /// For `cursor`, to get the next page; null on the last one.
    next_cursor: Option<String>,
    /// Ascending.
    candles: Vec<Candle>,
}

/// A hole in a history.
#[derive(Debug, Object)]
pub struct Gap {
    /// Its begin, in Unix milliseconds.
    start: i64,
    /// The first moment after it, in Unix milliseconds.
    end: i64,
    /// `pending` (being fetched; ask again), `unavailable` (the exchange cannot give it), `invalid` (the exchange gives
    /// only rows that cannot be right), `off_grid` (only rows that are off the grid of the interval) or `offline` (nobody
    /// can fetch it now).
    reason: String,
}

/// What was traded in one interval. Prices are in the quote asset.
#[derive(Debug, Object)]
pub struct Candle {
    /// When it opens, in Unix milliseconds.
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
    /// Whether its time is over and the values are final.
    closed: bool,
    /// How often it changed after closing.
    revision: u32,
    /// True where nobody traded and `fill=flat` was asked for; else it is not there.
    #[oai(skip_serializing_if_is_none)]
    filled: Option<bool>,
}

/// All exchanges.
#[derive(Debug, Object, Serialize)]
pub struct Exchanges {
    /// In registry order.
    pub exchanges: Vec<Exchange>,
}

/// How an exchange is doing.
#[derive(Debug, Object, Serialize)]
pub struct Exchange {
    id: String,
    name: String,
    /// `connecting`, `live`, `stale`, `reconnecting`, `down` or `simulated`.
    state: String,
    /// Since when, in Unix milliseconds.
    since: i64,
    /// Whether the data come from the simulator.
    simulated: bool,
    /// What can be listened to.
    channels: Vec<String>,
    /// The intervals of candles that can be had.
    intervals: Vec<String>,
    /// What is collected now.
    symbols: Vec<String>,
    /// What was to be collected and is not, since the exchange lists or trades it no longer.
    ended: Vec<Ended>,
    connections: Vec<Connection>,
    budgets: Vec<Budget>,
    /// The exchange's own clock, which decides when candles are closed.
    clock: Option<ExchangeClock>,
    /// What is wrong, in a sentence.
    detail: Option<String>,
}

/// An exchange's own clock, as measured by its answers.
#[derive(Debug, Object, Serialize)]
pub struct ExchangeClock {
    /// Whether it is known. As long as it is not, no candle is closed by the clock.
    known: bool,
    /// How far it is ahead of the clock of the machine that collects, in milliseconds; negative where it is behind.
    offset_ms: i64,
    /// How wrong the offset can be in either direction, in milliseconds.
    doubt_ms: i64,
}

/// A market that the exchange lists or trades no longer.
#[derive(Debug, Object, Serialize)]
pub struct Ended {
    /// BASE/QUOTE.
    symbol: String,
    /// Since when it is not collected, in Unix milliseconds.
    since: i64,
    /// Why, in a sentence.
    detail: String,
}

/// One connection to an exchange.
#[derive(Debug, Object, Serialize)]
pub struct Connection {
    id: String,
    state: String,
    /// How many topics it carries.
    topics: u64,
    /// How long ago the last data or heartbeat came, in milliseconds; a ping is none.
    last_message_ms: Option<u64>,
    /// How often it was connected anew.
    reconnects: u64,
}

/// Something that an exchange meters.
#[derive(Debug, Object, Serialize)]
pub struct Budget {
    scope: String,
    /// Weight that fits one window.
    limit: u32,
    /// How long a window is, in milliseconds.
    window_ms: u64,
    /// Weight used in this window.
    used: u32,
    /// Until when all calls are held back, in Unix milliseconds.
    open_at: Option<i64>,
}

/// A page of instruments.
#[derive(Debug, Object)]
pub struct Instruments {
    /// By exchange and symbol.
    instruments: Vec<Instrument>,
    /// For `cursor`, to get the next page; null on the last one.
    next_cursor: Option<String>,
}

/// A spot market of an exchange.
#[derive(Debug, Object)]
pub struct Instrument {
    /// Id of the exchange.
    exchange: String,
    /// BASE/QUOTE.
    symbol: String,
    /// The exchange's own id.
    native: String,
    base: String,
    quote: String,
    /// The smallest step of a price, in the quote asset.
    price_step: Option<f64>,
    /// The smallest step of an amount, in the base asset.
    amount_step: Option<f64>,
    /// Whether it trades now: `status` is `trading`.
    active: bool,
    /// `trading`; `halted` while it does not trade, or with restrictions only (maintenance, an auction, cancel only), and
    /// keeps its streams and history; `delisted` where the exchange lists it no longer, and its history is kept.
    status: String,
}

/// A page of what is known of a series.
#[derive(Debug, Object)]
pub struct Coverage {
    /// Id of the exchange.
    exchange: String,
    /// BASE/QUOTE.
    symbol: String,
    /// How long a candle lasts.
    interval: String,
    /// Whether it comes from the simulator.
    simulated: bool,
    /// Whether no closed time of the page is unknown or unavailable.
    complete: bool,
    /// For `cursor`, to get the next page; null on the last one.
    next_cursor: Option<String>,
    /// Disjoint, ascending.
    ranges: Vec<CoveredRange>,
}

/// A range of time and how it is known.
#[derive(Debug, Object)]
pub struct CoveredRange {
    /// Its begin, in Unix milliseconds.
    start: i64,
    /// The first moment after it, in Unix milliseconds.
    end: i64,
    /// `observed`, `fetched`, `derived`, `empty`; or `unavailable` (the exchange cannot give it), `invalid` (it gives only
    /// rows that cannot be right) or `off_grid` (only rows that are off the grid of the interval).
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
