//! Bybit's spot WebSocket.
//! <https://bybit-exchange.github.io/docs/v5/ws/connect>, `…/websocket/public/ticker`, `…/orderbook`, `…/trade`,
//! `…/kline`

use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::model::{ExchangeId, Interval, TimeRange, Timestamp};
use crate::simulator::catalog::Listing;
use crate::simulator::faults::FaultKind;
use crate::simulator::market::{Market, TopOfBook};
use crate::simulator::shared::Shared;
use crate::simulator::socket::{Disconnect, Flow, Frame, SocketRules, StreamProtocol, TICK};
use crate::simulator::trades::{Bar, Trade};

use super::format::{format_decimal, parse_interval, ticker_fields};

/// "Spot can input up to 10 args for each subscription request."
const MAX_ARGS: usize = 10;
/// A client that sends nothing for longer is disconnected, in milliseconds. The documentation recommends a ping every
/// 20 seconds and names no limit.
const IDLE_TIMEOUT: i64 = 120_000;
/// "If there is no change within 3 seconds […] the snapshot will be pushed again", in milliseconds.
const BOOK_REPEAT_INTERVAL: i64 = 3_000;
/// Minimum interval of candle updates in milliseconds.
const CANDLE_UPDATE_INTERVAL: i64 = 1_000;

/// One connection to Bybit.
pub(super) struct Feed {
    shared: Arc<Shared>,
    subscriptions: Vec<Subscription>,
    /// Time of the last message of the client in Unix milliseconds.
    last_received_at: i64,
    id: String,
}

struct Subscription {
    index: usize,
    topic: String,
    kind: Kind,
    /// The last published order book, and when it was published.
    last_book: Option<(TopOfBook, i64)>,
}

#[derive(Clone, Copy)]
enum Kind {
    Ticker,
    Book,
    Trades,
    Candles(Interval),
}

#[derive(Deserialize)]
struct Request {
    op: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    req_id: String,
}

impl Feed {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, subscriptions: Vec::new(), last_received_at: 0, id: String::new() }
    }

    /// Parses a topic into a listing index and a kind of data.
    fn parse_topic(&self, topic: &str) -> Option<(usize, Kind)> {
        let (name, native) = topic.rsplit_once('.')?;
        let listing = self.shared.market.find_by_name(ExchangeId::BYBIT, native)?;
        let kind = match name.split_once('.') {
            None if name == "tickers" => Kind::Ticker,
            None if name == "publicTrade" => Kind::Trades,
            Some(("orderbook", "1")) => Kind::Book,
            Some(("kline", length)) => Kind::Candles(parse_interval(length)?),
            _ => return None,
        };
        Some((listing.index, kind))
    }

    /// Subscribes to or unsubscribes from all topics of the request. Rejects the whole request if one topic is invalid.
    fn handle_request(&mut self, request: &Request, now: i64, out: &mut Vec<Frame>) -> Result<(), String> {
        if request.args.len() > MAX_ARGS {
            return Err("args size >10".to_owned());
        }
        let mut topics = Vec::new();
        for topic in &request.args {
            let parsed = self.parse_topic(topic).ok_or_else(|| format!("Invalid symbol :[{topic}]"))?;
            topics.push((topic, parsed));
        }
        let at = Timestamp::from_millis(now);
        let subscribe = request.op == "subscribe";
        if subscribe && self.shared.faults.trigger(ExchangeId::BYBIT, FaultKind::Refuse, at) {
            return Err("subscription refused by a scripted fault".to_owned());
        }
        // The subscription succeeds although the reply says otherwise.
        let already = subscribe && self.shared.faults.trigger(ExchangeId::BYBIT, FaultKind::AlreadySubscribed, at);
        match request.args.first().filter(|_| already) {
            Some(first) => out.push(self.reply(request, false, &format!("error:already subscribed,topic:{first}"))),
            None => out.push(self.reply(request, true, &request.op)),
        }
        for (topic, (index, kind)) in topics {
            self.subscriptions.retain(|subscription| subscription.topic != *topic);
            if subscribe {
                let mut subscription = Subscription { index, topic: topic.clone(), kind, last_book: None };
                out.extend(snapshot(&self.shared.market, &mut subscription, now));
                self.subscriptions.push(subscription);
            }
        }
        Ok(())
    }

    fn reply(&self, request: &Request, success: bool, message: &str) -> Frame {
        let reply = json!({
            "success": success, "ret_msg": message, "conn_id": self.id, "req_id": request.req_id, "op": request.op,
        });
        Frame::Control(reply.to_string())
    }
}

impl StreamProtocol for Feed {
    fn rules(&self) -> SocketRules {
        SocketRules {
            exchange: ExchangeId::BYBIT,
            // <https://bybit-exchange.github.io/docs/v5/rate-limit>
            connection_limit: (500, 300_000),
            messages_per_second: None,
            ping: None,
            max_age: None,
        }
    }

    fn on_open(&mut self, now: i64, _: &mut Vec<Frame>) {
        self.last_received_at = now;
        self.id = format!("d{now:x}");
    }

    fn on_text(&mut self, text: &str, now: i64, out: &mut Vec<Frame>) -> Flow {
        self.last_received_at = now;
        match serde_json::from_str::<Request>(text) {
            Ok(request) if matches!(request.op.as_str(), "subscribe" | "unsubscribe") => {
                if let Err(message) = self.handle_request(&request, now, out) {
                    out.push(self.reply(&request, false, &message));
                }
            }
            Ok(request) if request.op == "ping" => out.push(self.reply(&request, true, "pong")),
            Ok(request) => out.push(self.reply(&request, false, "error:handler not found")),
            Err(_) => out.push(Frame::Control(json!({"success": false, "ret_msg": "error:invalid json"}).to_string())),
        }
        ControlFlow::Continue(())
    }

    fn on_tick(&mut self, at: i64, out: &mut Vec<Frame>) {
        for subscription in &mut self.subscriptions {
            out.extend(frame_at(&self.shared.market, subscription, at));
        }
    }

    fn check_timeouts(&mut self, at: i64) -> Flow {
        if at - self.last_received_at > IDLE_TIMEOUT {
            ControlFlow::Break(Disconnect::Abort)
        } else {
            ControlFlow::Continue(())
        }
    }

    fn is_empty_candle(&self, text: &str) -> bool {
        text.contains("\"confirm\":")
            && text.matches("\"volume\":\"0\"").count() == text.matches("\"confirm\":").count()
    }

    fn announce_shutdown(&mut self, _: i64, _: &mut Vec<Frame>) {
        // Bybit sends no notice on the connection.
    }
}

/// The frame sent immediately after subscribing.
fn snapshot(market: &Market, subscription: &mut Subscription, now: i64) -> Option<Frame> {
    let listing = market.listing(subscription.index)?;
    match subscription.kind {
        Kind::Ticker => ticker_frame(market, listing, subscription, now),
        Kind::Book => {
            let book = market.top_of_book(listing, now)?;
            subscription.last_book = Some((book, now));
            Some(Frame::Ticker(order_book_message(listing, &subscription.topic, &book, now)))
        }
        Kind::Trades => None,
        Kind::Candles(interval) => {
            let span = interval.span(interval.floor(Timestamp::from_millis(now)));
            let bar = market.bar_or_flat(listing, span, now)?;
            Some(candle_frame(listing, &subscription.topic, &[(span, bar, false)], now))
        }
    }
}

/// The frame of a subscription at a tick.
fn frame_at(market: &Market, subscription: &mut Subscription, at: i64) -> Option<Frame> {
    let listing = market.listing(subscription.index)?;
    let trades = || market.trades_between(listing, at - TICK, at);
    match subscription.kind {
        Kind::Ticker => (!trades().is_empty()).then(|| ticker_frame(market, listing, subscription, at)).flatten(),
        Kind::Book => {
            let book = market.top_of_book(listing, at)?;
            let (last_book, published_at) = subscription.last_book?;
            if book == last_book && at - published_at < BOOK_REPEAT_INTERVAL {
                return None;
            }
            subscription.last_book = Some((book, at));
            Some(Frame::Ticker(order_book_message(listing, &subscription.topic, &book, at)))
        }
        Kind::Trades => {
            let trades = trades();
            (!trades.is_empty()).then(|| Frame::Trade(trades_message(listing, &subscription.topic, &trades, at)))
        }
        Kind::Candles(interval) => {
            let open_span = interval.span(interval.floor(Timestamp::from_millis(at)));
            if open_span.start().millis() == at {
                // One message contains the candle that closes and the one that opens.
                let closed_span = interval.span(interval.floor(Timestamp::from_millis(at - 1)));
                let rows = [(closed_span, true), (open_span, false)];
                let rows: Vec<_> = rows
                    .into_iter()
                    .filter_map(|(span, confirm)| Some((span, market.bar_or_flat(listing, span, at)?, confirm)))
                    .collect();
                return Some(candle_frame(listing, &subscription.topic, &rows, at));
            }
            let changed = at % CANDLE_UPDATE_INTERVAL == 0
                && market
                    .last_trade(listing, at)
                    .is_some_and(|last| last.known_at > at - CANDLE_UPDATE_INTERVAL && last.known_at == last.time);
            let bar = market.bar_or_flat(listing, open_span, at).filter(|_| changed)?;
            Some(candle_frame(listing, &subscription.topic, &[(open_span, bar, false)], at))
        }
    }
}

fn ticker_frame(market: &Market, listing: &Listing, subscription: &Subscription, now: i64) -> Option<Frame> {
    let day = market.day_statistics(listing, now)?;
    Some(Frame::Ticker(format!(
        "{{\"topic\":\"{}\",\"ts\":{now},\"type\":\"snapshot\",\"cs\":{now},\"data\":{{{}}}}}",
        subscription.topic,
        ticker_fields(listing, &day)
    )))
}

fn order_book_message(listing: &Listing, topic: &str, book: &TopOfBook, now: i64) -> String {
    let side = |at: i64, size: i64| {
        format!("[\"{}\",\"{}\"]", format_decimal(listing.price(at)), format_decimal(listing.amount(size)))
    };
    format!(
        "{{\"topic\":\"{topic}\",\"ts\":{now},\"type\":\"snapshot\",\"data\":{{\"s\":\"{}\",\"b\":[{}],\"a\":[{}],\
         \"u\":{update},\"seq\":{update}}},\"cts\":{now}}}",
        listing.native,
        side(book.bid, book.bid_size),
        side(book.ask, book.ask_size),
        update = book.update,
    )
}

fn trades_message(listing: &Listing, topic: &str, trades: &[Trade], now: i64) -> String {
    let mut rows = String::new();
    for (index, trade) in trades.iter().enumerate() {
        let _ = write!(
            rows,
            "{}{{\"i\":\"{}\",\"T\":{},\"p\":\"{}\",\"v\":\"{}\",\"S\":\"{}\",\"seq\":{},\"s\":\"{}\",\"BT\":false,\
             \"RPI\":false}}",
            if index == 0 { "" } else { "," },
            trade.id,
            trade.time,
            format_decimal(listing.price(trade.price)),
            format_decimal(listing.amount(trade.amount)),
            if trade.is_buy { "Buy" } else { "Sell" },
            trade.id,
            listing.native,
        );
    }
    format!("{{\"topic\":\"{topic}\",\"ts\":{now},\"type\":\"snapshot\",\"data\":[{rows}]}}")
}

fn candle_frame(listing: &Listing, topic: &str, rows: &[(TimeRange, Bar, bool)], now: i64) -> Frame {
    let name = topic.split('.').nth(1).unwrap_or("1");
    let mut data = String::new();
    for (index, (span, bar, confirm)) in rows.iter().enumerate() {
        let [open, high, low, close] =
            [bar.open, bar.high, bar.low, bar.close].map(|ticks| format_decimal(listing.price(ticks)));
        let _ = write!(
            data,
            "{}{{\"start\":{},\"end\":{},\"interval\":\"{name}\",\"open\":\"{open}\",\"close\":\"{close}\",\
             \"high\":\"{high}\",\"low\":\"{low}\",\"volume\":\"{}\",\"turnover\":\"{}\",\"confirm\":{confirm},\
             \"timestamp\":{now}}}",
            if index == 0 { "" } else { "," },
            span.start().millis(),
            span.end().millis() - 1,
            format_decimal(listing.amount(bar.volume)),
            format_decimal(listing.turnover(bar.turnover)),
        );
    }
    Frame::Candle(format!("{{\"type\":\"snapshot\",\"topic\":\"{topic}\",\"data\":[{data}],\"ts\":{now}}}"))
}
