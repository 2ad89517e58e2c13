//! Binance's WebSocket streams.
//! <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{ExchangeId, Interval, TimeRange, Timestamp};
use crate::simulator::catalog::Listing;
use crate::simulator::corrupt::{self, CANDLE_ROW};
use crate::simulator::faults::FaultKind;
use crate::simulator::shared::Shared;
use crate::simulator::socket::{Disconnect, Flow, Frame, SocketRules, StreamProtocol, TICK};
use crate::simulator::trades::{Bar, MINUTE, Trade};

use super::format::{amount, day_change, ohlc, price, quote_fields, turnover};

/// "A single connection can listen to a maximum of 1024 streams."
const MAX_STREAMS: usize = 1_024;
/// Interval of candle updates in milliseconds.
const CANDLE_UPDATE_INTERVAL: i64 = 2_000;

/// One connection to a Binance stream.
pub(super) struct Feed {
    shared: Arc<Shared>,
    /// Whether events are wrapped in an object with the name of their stream.
    combined: bool,
    streams: BTreeMap<String, Stream>,
    /// By listing: the last published update id of the order book.
    books: BTreeMap<usize, i64>,
}

/// A parsed stream name; `None` for a valid name of a stream that never publishes anything.
type Stream = Option<(usize, Topic)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic {
    Ticker,
    BookTicker,
    Trade,
    AggTrade,
    Candle(Interval),
}

#[derive(Deserialize)]
struct Request {
    method: Method,
    #[serde(default)]
    params: Vec<Value>,
    #[serde(default)]
    id: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Method {
    Subscribe,
    Unsubscribe,
    ListSubscriptions,
    SetProperty,
    GetProperty,
}

impl Feed {
    /// `streams` are the stream names of the URL, separated by slashes.
    pub fn new(shared: Arc<Shared>, combined: bool, streams: &str) -> Self {
        let mut feed = Self { shared, combined, streams: BTreeMap::new(), books: BTreeMap::new() };
        for name in streams.split('/').filter(|name| !name.is_empty()).take(MAX_STREAMS) {
            let stream = feed.parse_stream(name);
            feed.streams.insert(name.to_owned(), stream);
        }
        feed
    }

    /// Unknown symbols and channels are accepted without an error, like on Binance.
    fn parse_stream(&self, name: &str) -> Stream {
        let (symbol, channel) = name.split_once('@')?;
        let market = &self.shared.market;
        let is_lower = symbol.to_lowercase() == symbol;
        let listing = market.find_by_name(ExchangeId::BINANCE, &symbol.to_uppercase()).filter(|_| is_lower)?;
        let topic = match channel {
            "ticker" => Topic::Ticker,
            "bookTicker" => Topic::BookTicker,
            "trade" => Topic::Trade,
            "aggTrade" => Topic::AggTrade,
            _ => Topic::Candle(channel.strip_prefix("kline_")?.parse().ok()?),
        };
        Some((listing.index, topic))
    }

    fn handle_request(&mut self, request: Request, now: i64, out: &mut Vec<Frame>) -> Flow {
        let id = request.id;
        let result = match request.method {
            Method::ListSubscriptions => json!(self.streams.keys().collect::<Vec<_>>()),
            Method::GetProperty => json!(self.combined),
            Method::SetProperty => match request.params.as_slice() {
                [Value::String(name), Value::Bool(combined)] if name == "combined" => {
                    self.combined = *combined;
                    Value::Null
                }
                _ => {
                    out.push(error(0, "Unknown property", &id));
                    return ControlFlow::Continue(());
                }
            },
            method @ (Method::Subscribe | Method::Unsubscribe) => {
                let names: Option<Vec<String>> =
                    request.params.iter().map(|name| name.as_str().map(str::to_owned)).collect();
                let Some(names) = names.filter(|names| names.iter().all(|name| name.contains('@'))) else {
                    out.push(error(2, "Invalid request: invalid stream", &id));
                    return ControlFlow::Continue(());
                };
                if matches!(method, Method::Unsubscribe) {
                    self.streams.retain(|name, _| !names.contains(name));
                } else if self.is_refused(now) {
                    out.push(error(2, "Invalid request: subscription refused by a scripted fault", &id));
                    return ControlFlow::Continue(());
                } else {
                    for name in names {
                        let stream = self.parse_stream(&name);
                        self.streams.insert(name, stream);
                    }
                    if self.streams.len() > MAX_STREAMS {
                        return ControlFlow::Break(Disconnect::Close(1008, "Too many streams"));
                    }
                }
                Value::Null
            }
        };
        out.push(Frame::Control(json!({ "result": result, "id": id }).to_string()));
        ControlFlow::Continue(())
    }

    fn is_refused(&self, now: i64) -> bool {
        self.shared.faults.trigger(ExchangeId::BINANCE, FaultKind::Refuse, Timestamp::from_millis(now))
    }

    fn wrap(&self, name: &str, event: String) -> String {
        if self.combined { format!("{{\"stream\":\"{name}\",\"data\":{event}}}") } else { event }
    }

    /// The frames of a stream at a tick, not wrapped.
    fn frames_at(&self, listing: &Listing, topic: Topic, trades: &[Trade], at: i64) -> Vec<Frame> {
        let market = &self.shared.market;
        match topic {
            Topic::Trade => trades.iter().map(|trade| Frame::Trade(trade_event(listing, trade))).collect(),
            Topic::AggTrade => trades.iter().map(|trade| Frame::Trade(agg_trade_event(listing, trade))).collect(),
            Topic::Ticker if at % 1_000 == 0 => {
                ticker_event(&self.shared, listing, at).map(Frame::Ticker).into_iter().collect()
            }
            Topic::BookTicker => match market.top_of_book(listing, at) {
                Some(book) if self.books.get(&listing.index) != Some(&book.update) => {
                    let [bid, bid_size, ask, ask_size] = quote_fields(listing, &book);
                    vec![Frame::Ticker(format!(
                        "{{\"u\":{},\"s\":\"{}\",\"b\":\"{bid}\",\"B\":\"{bid_size}\",\"a\":\"{ask}\",\"A\":\"{ask_size}\"}}",
                        book.update, listing.native
                    ))]
                }
                _ => Vec::new(),
            },
            Topic::Candle(interval) => {
                let now = Timestamp::from_millis(at);
                let closes = interval.is_open_time(now);
                // At a boundary, this is the candle that closes, as known at that time.
                let span = interval.span(interval.floor(Timestamp::from_millis(at - 1)));
                let changed = at % CANDLE_UPDATE_INTERVAL == 0
                    && market.last_trade(listing, at).is_some_and(|last| last.known_at > at - CANDLE_UPDATE_INTERVAL);
                let bar = (closes || changed).then(|| market.bar_or_flat(listing, span, at)).flatten();
                bar.map(|bar| Frame::Candle(candle_event(listing, interval, span, &bar, closes, at)))
                    .into_iter()
                    .collect()
            }
            Topic::Ticker => Vec::new(),
        }
    }
}

impl StreamProtocol for Feed {
    fn rules(&self) -> SocketRules {
        SocketRules {
            exchange: ExchangeId::BINANCE,
            connection_limit: (300, 300_000),
            // "WebSocket connections have a limit of 5 incoming messages per second."
            messages_per_second: Some(5),
            // "The WebSocket server will send a ping frame every 20 seconds", and waits a minute for the pong.
            ping: Some((20_000, 60_000)),
            // "A single connection is only valid for 24 hours."
            max_age: Some(24 * 60 * MINUTE),
        }
    }

    fn on_open(&mut self, _now: i64, _out: &mut Vec<Frame>) {}

    fn on_text(&mut self, text: &str, now: i64, out: &mut Vec<Frame>) -> Flow {
        match serde_json::from_str(text) {
            Ok(request) => self.handle_request(request, now, out),
            Err(parse_error) => {
                let (code, what) = if parse_error.is_data() { (2, "Invalid request") } else { (3, "Invalid JSON") };
                out.push(error(code, &format!("{what}: {parse_error}"), &Value::Null));
                ControlFlow::Continue(())
            }
        }
    }

    fn on_tick(&mut self, at: i64, out: &mut Vec<Frame>) {
        let shared = Arc::clone(&self.shared);
        let market = &shared.market;
        let mut trades_by_listing: BTreeMap<usize, Vec<Trade>> = BTreeMap::new();
        for (name, stream) in &self.streams {
            let Some((index, topic)) = stream else { continue };
            let Some(listing) = market.listing(*index) else { continue };
            let trades =
                trades_by_listing.entry(*index).or_insert_with(|| market.trades_between(listing, at - TICK, at));
            out.extend(self.frames_at(listing, *topic, trades, at).into_iter().map(|frame| match frame {
                Frame::Control(text) => Frame::Control(self.wrap(name, text)),
                Frame::Ticker(text) => Frame::Ticker(self.wrap(name, text)),
                Frame::Trade(text) => Frame::Trade(self.wrap(name, text)),
                Frame::Candle(text) => Frame::Candle(self.wrap(name, text)),
            }));
        }
        for index in trades_by_listing.keys() {
            if let Some(book) = market.listing(*index).and_then(|listing| market.top_of_book(listing, at)) {
                self.books.insert(*index, book.update);
            }
        }
    }

    /// `{"e":"serverShutdown","E":1770123456789}`
    fn is_empty_candle(&self, text: &str) -> bool {
        text.contains("\"n\":0,")
    }

    fn with_candle_row(&self, text: &str) -> String {
        corrupt::replace_data(text, "data", CANDLE_ROW)
    }

    fn announce_shutdown(&mut self, now: i64, out: &mut Vec<Frame>) {
        out.push(Frame::Control(self.wrap("!serverShutdown", format!("{{\"e\":\"serverShutdown\",\"E\":{now}}}"))));
    }
}

fn error(code: i32, message: &str, id: &Value) -> Frame {
    Frame::Control(json!({ "code": code, "msg": message, "id": id }).to_string())
}

fn trade_event(listing: &Listing, trade: &Trade) -> String {
    format!(
        "{{\"e\":\"trade\",\"E\":{},\"s\":\"{}\",\"t\":{},\"p\":\"{}\",\"q\":\"{}\",\"T\":{},\"m\":{},\"M\":true}}",
        trade.known_at,
        listing.native,
        trade.id,
        price(listing, trade.price),
        amount(listing, trade.amount),
        trade.time,
        !trade.is_buy,
    )
}

/// Every aggregate contains one trade.
fn agg_trade_event(listing: &Listing, trade: &Trade) -> String {
    format!(
        "{{\"e\":\"aggTrade\",\"E\":{},\"s\":\"{}\",\"a\":{id},\"p\":\"{}\",\"q\":\"{}\",\"f\":{id},\"l\":{id},\"T\":{},\"m\":{},\"M\":true}}",
        trade.known_at,
        listing.native,
        price(listing, trade.price),
        amount(listing, trade.amount),
        trade.time,
        !trade.is_buy,
        id = trade.id,
    )
}

fn ticker_event(shared: &Shared, listing: &Listing, at: i64) -> Option<String> {
    let (day, book) = (shared.market.day_statistics(listing, at)?, shared.market.top_of_book(listing, at)?);
    let (change, percent, vwap) = day_change(listing, &day);
    let [open, high, low, close] = ohlc(listing, &day.bar);
    let [bid, bid_size, ask, ask_size] = quote_fields(listing, &book);
    Some(format!(
        "{{\"e\":\"24hrTicker\",\"E\":{at},\"s\":\"{}\",\"p\":\"{change}\",\"P\":\"{percent}\",\"w\":\"{vwap}\",\"x\":\"{}\",\
         \"c\":\"{close}\",\"Q\":\"{}\",\"b\":\"{bid}\",\"B\":\"{bid_size}\",\"a\":\"{ask}\",\"A\":\"{ask_size}\",\"o\":\"{open}\",\
         \"h\":\"{high}\",\"l\":\"{low}\",\"v\":\"{}\",\"q\":\"{}\",\"O\":{},\"C\":{at},\"F\":{},\"L\":{},\"n\":{}}}",
        listing.native,
        price(listing, day.previous_price),
        amount(listing, day.last_amount),
        amount(listing, day.bar.volume),
        turnover(listing, day.bar.turnover),
        day.start,
        day.bar.first_id,
        day.bar.last_id,
        day.bar.trades,
    ))
}

fn candle_event(listing: &Listing, interval: Interval, span: TimeRange, bar: &Bar, closed: bool, at: i64) -> String {
    let [open, high, low, close] = ohlc(listing, bar);
    format!(
        "{{\"e\":\"kline\",\"E\":{at},\"s\":\"{native}\",\"k\":{{\"t\":{},\"T\":{},\"s\":\"{native}\",\"i\":\"{interval}\",\"f\":{},\
         \"L\":{},\"o\":\"{open}\",\"c\":\"{close}\",\"h\":\"{high}\",\"l\":\"{low}\",\"v\":\"{}\",\"n\":{},\"x\":{closed},\"q\":\"{}\",\
         \"V\":\"{}\",\"Q\":\"{}\",\"B\":\"0\"}}}}",
        span.start().millis(),
        span.end().millis() - 1,
        bar.first_id,
        bar.last_id,
        amount(listing, bar.volume),
        bar.trades,
        turnover(listing, bar.turnover),
        amount(listing, bar.taker_buy_volume),
        turnover(listing, bar.taker_buy_turnover),
        native = listing.native,
    )
}
