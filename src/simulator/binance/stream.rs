//! Binance's WebSocket streams.
//! <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{ExchangeId, Interval, TimeRange, Timestamp};
use crate::simulator::Shared;
use crate::simulator::catalog::Listing;
use crate::simulator::faults::FaultKind;
use crate::simulator::socket::{Dialect, End, Flow, Frame, Habits, INSTANT};
use crate::simulator::tape::{Bar, MINUTE, Trade};

use super::{amount, best, change, price, prices, turnover};

/// "A single connection can listen to a maximum of 1024 streams."
const MAX_STREAMS: usize = 1_024;
/// How often candles are updated, in milliseconds.
const CANDLE_PACE: i64 = 2_000;

/// One connection to Binance.
pub struct Feed {
    shared: Arc<Shared>,
    /// Whether events are wrapped with the name of their stream.
    combined: bool,
    streams: BTreeMap<String, Stream>,
    /// By listing: the update id of the book that was told last.
    books: BTreeMap<usize, i64>,
}

/// What a stream's name means; `None` is a stream that exists and says nothing here.
type Stream = Option<(usize, Topic)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic {
    Ticker,
    Book,
    Trade,
    Aggregate,
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
    /// A connection; `streams` are those that its address names, divided by slashes.
    pub fn new(shared: Arc<Shared>, combined: bool, streams: &str) -> Self {
        let mut feed = Self { shared, combined, streams: BTreeMap::new(), books: BTreeMap::new() };
        for name in streams.split('/').filter(|name| !name.is_empty()).take(MAX_STREAMS) {
            let stream = feed.meaning(name);
            feed.streams.insert(name.to_owned(), stream);
        }
        feed
    }

    /// Unknown symbols and channels are taken without a word, as Binance does.
    fn meaning(&self, name: &str) -> Stream {
        let (symbol, channel) = name.split_once('@')?;
        let market = &self.shared.market;
        let is_lower = symbol.to_lowercase() == symbol;
        let listing = market.named(ExchangeId::Binance, &symbol.to_uppercase()).filter(|_| is_lower)?;
        let topic = match channel {
            "ticker" => Topic::Ticker,
            "bookTicker" => Topic::Book,
            "trade" => Topic::Trade,
            "aggTrade" => Topic::Aggregate,
            _ => Topic::Candle(channel.strip_prefix("kline_")?.parse().ok()?),
        };
        Some((listing.index, topic))
    }

    fn obey(&mut self, request: Request, now: i64, out: &mut Vec<Frame>) -> Flow {
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
                    request.params.iter().map(|one| one.as_str().map(str::to_owned)).collect();
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
                        let stream = self.meaning(&name);
                        self.streams.insert(name, stream);
                    }
                    if self.streams.len() > MAX_STREAMS {
                        return ControlFlow::Break(End::Close(1008, "Too many streams"));
                    }
                }
                Value::Null
            }
        };
        out.push(Frame::Reply(json!({ "result": result, "id": id }).to_string()));
        ControlFlow::Continue(())
    }

    fn is_refused(&self, now: i64) -> bool {
        self.shared.faults.strikes(ExchangeId::Binance, FaultKind::Refuse, Timestamp::from_millis(now))
    }

    fn wrap(&self, name: &str, event: String) -> String {
        if self.combined { format!("{{\"stream\":\"{name}\",\"data\":{event}}}") } else { event }
    }

    /// What a stream says at a moment: frames without their wrapping.
    fn events(&self, listing: &Listing, topic: Topic, trades: &[Trade], at: i64) -> Vec<Frame> {
        let market = &self.shared.market;
        match topic {
            Topic::Trade => trades.iter().map(|trade| Frame::Trade(trade_event(listing, trade))).collect(),
            Topic::Aggregate => trades.iter().map(|trade| Frame::Trade(aggregate_event(listing, trade))).collect(),
            Topic::Ticker if at % 1_000 == 0 => {
                ticker_event(&self.shared, listing, at).map(Frame::Ticker).into_iter().collect()
            }
            Topic::Book => match market.book(listing, at) {
                Some(book) if self.books.get(&listing.index) != Some(&book.update) => {
                    let [bid, bid_size, ask, ask_size] = best(listing, &book);
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
                // At its end the candle that closes is told, with what is known by then.
                let span = interval.span(interval.floor(Timestamp::from_millis(at - 1)));
                let changed = at % CANDLE_PACE == 0
                    && market.last_trade(listing, at).is_some_and(|last| last.known > at - CANDLE_PACE);
                let bar = (closes || changed).then(|| market.bar_or_flat(listing, span, at)).flatten();
                bar.map(|bar| Frame::Candle(candle_event(listing, interval, span, &bar, closes, at)))
                    .into_iter()
                    .collect()
            }
            Topic::Ticker => Vec::new(),
        }
    }
}

impl Dialect for Feed {
    fn habits(&self) -> Habits {
        Habits {
            exchange: ExchangeId::Binance,
            // "WebSocket connections have a limit of 5 incoming messages per second."
            connects: (300, 300_000),
            messages_per_second: Some(5),
            // "The WebSocket server will send a ping frame every 20 seconds", and waits a minute for the pong.
            ping: Some((20_000, 60_000)),
            // "A single connection is only valid for 24 hours."
            max_age: Some(24 * 60 * MINUTE),
        }
    }

    fn open(&mut self, _now: i64, _out: &mut Vec<Frame>) {}

    fn text(&mut self, text: &str, now: i64, out: &mut Vec<Frame>) -> Flow {
        match serde_json::from_str(text) {
            Ok(request) => self.obey(request, now, out),
            Err(wrong) => {
                let (code, what) = if wrong.is_data() { (2, "Invalid request") } else { (3, "Invalid JSON") };
                out.push(error(code, &format!("{what}: {wrong}"), &Value::Null));
                ControlFlow::Continue(())
            }
        }
    }

    fn instant(&mut self, at: i64, out: &mut Vec<Frame>) {
        let shared = Arc::clone(&self.shared);
        let market = &shared.market;
        let mut known: BTreeMap<usize, Vec<Trade>> = BTreeMap::new();
        for (name, stream) in &self.streams {
            let Some((index, topic)) = stream else { continue };
            let Some(listing) = market.listing(*index) else { continue };
            let trades = known.entry(*index).or_insert_with(|| market.trades_between(listing, at - INSTANT, at));
            out.extend(self.events(listing, *topic, trades, at).into_iter().map(|frame| match frame {
                Frame::Reply(text) => Frame::Reply(self.wrap(name, text)),
                Frame::Ticker(text) => Frame::Ticker(self.wrap(name, text)),
                Frame::Trade(text) => Frame::Trade(self.wrap(name, text)),
                Frame::Candle(text) => Frame::Candle(self.wrap(name, text)),
            }));
        }
        for index in known.keys() {
            if let Some(book) = market.listing(*index).and_then(|listing| market.book(listing, at)) {
                self.books.insert(*index, book.update);
            }
        }
    }

    /// `{"e":"serverShutdown","E":1770123456789}`
    fn farewell(&mut self, now: i64, out: &mut Vec<Frame>) {
        out.push(Frame::Reply(self.wrap("!serverShutdown", format!("{{\"e\":\"serverShutdown\",\"E\":{now}}}"))));
    }
}

fn error(code: i32, message: &str, id: &Value) -> Frame {
    Frame::Reply(json!({ "code": code, "msg": message, "id": id }).to_string())
}

fn trade_event(listing: &Listing, trade: &Trade) -> String {
    format!(
        "{{\"e\":\"trade\",\"E\":{},\"s\":\"{}\",\"t\":{},\"p\":\"{}\",\"q\":\"{}\",\"T\":{},\"m\":{},\"M\":true}}",
        trade.known,
        listing.native,
        trade.id,
        price(listing, trade.price),
        amount(listing, trade.amount),
        trade.time,
        !trade.buy,
    )
}

/// Each trade is an aggregate of its own.
fn aggregate_event(listing: &Listing, trade: &Trade) -> String {
    format!(
        "{{\"e\":\"aggTrade\",\"E\":{},\"s\":\"{}\",\"a\":{id},\"p\":\"{}\",\"q\":\"{}\",\"f\":{id},\"l\":{id},\"T\":{},\"m\":{},\"M\":true}}",
        trade.known,
        listing.native,
        price(listing, trade.price),
        amount(listing, trade.amount),
        trade.time,
        !trade.buy,
        id = trade.id,
    )
}

fn ticker_event(shared: &Shared, listing: &Listing, at: i64) -> Option<String> {
    let (day, book) = (shared.market.day(listing, at)?, shared.market.book(listing, at)?);
    let (change, percent, mean) = change(listing, &day);
    let [open, high, low, close] = prices(listing, &day.bar);
    let [bid, bid_size, ask, ask_size] = best(listing, &book);
    Some(format!(
        "{{\"e\":\"24hrTicker\",\"E\":{at},\"s\":\"{}\",\"p\":\"{change}\",\"P\":\"{percent}\",\"w\":\"{mean}\",\"x\":\"{}\",\
         \"c\":\"{close}\",\"Q\":\"{}\",\"b\":\"{bid}\",\"B\":\"{bid_size}\",\"a\":\"{ask}\",\"A\":\"{ask_size}\",\"o\":\"{open}\",\
         \"h\":\"{high}\",\"l\":\"{low}\",\"v\":\"{}\",\"q\":\"{}\",\"O\":{},\"C\":{at},\"F\":{},\"L\":{},\"n\":{}}}",
        listing.native,
        price(listing, day.before),
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
    let [open, high, low, close] = prices(listing, bar);
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
        amount(listing, bar.bought),
        turnover(listing, bar.bought_turnover),
        native = listing.native,
    )
}
