//! Kraken's WebSocket, version 2.
//! <https://docs.kraken.com/api/docs/websocket-v2/ticker>, `…/trade`, `…/ohlc`, `…/heartbeat`, `…/status`, `…/ping`

use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{ExchangeId, Timestamp};
use crate::simulator::Shared;
use crate::simulator::catalog::Listing;
use crate::simulator::faults::FaultKind;
use crate::simulator::market::{Book, Market};
use crate::simulator::socket::{Dialect, Flow, Frame, Habits, INSTANT};
use crate::simulator::tape::{Bar, MINUTE, Trade};

use super::{INTERVALS, bar, stream_name};

/// Trades of a snapshot: "the last 50 trades".
const SNAPSHOT_TRADES: usize = 50;
/// Candles of a snapshot; how many Kraken sends is not documented.
const SNAPSHOT_CANDLES: i64 = 10;

/// One connection to Kraken.
pub struct Feed {
    shared: Arc<Shared>,
    subscriptions: Vec<Subscription>,
    /// When the last frame was sent, in Unix milliseconds.
    spoke: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subscription {
    index: usize,
    channel: Channel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    /// Whether it follows the book, and the book told last. Else it follows the trades.
    Ticker {
        book: bool,
        told: Option<Book>,
    },
    Trade,
    /// Minutes.
    Candles(i64),
}

impl Channel {
    fn is_same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Ticker { .. }, Self::Ticker { .. }) => true,
            (one, other) => one == other,
        }
    }
}

#[derive(Deserialize)]
struct Request {
    method: String,
    #[serde(default)]
    params: Params,
    req_id: Option<i64>,
}

#[derive(Default, Deserialize)]
struct Params {
    #[serde(default)]
    channel: String,
    #[serde(default)]
    symbol: Vec<String>,
    interval: Option<i64>,
    event_trigger: Option<String>,
    snapshot: Option<bool>,
}

impl Feed {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, subscriptions: Vec::new(), spoke: 0 }
    }

    fn change(&mut self, request: &Request, now: i64, out: &mut Vec<Frame>) {
        let params = &request.params;
        let channel = match params.channel.as_str() {
            "ticker" => Ok(Channel::Ticker { book: params.event_trigger.as_deref() == Some("bbo"), told: None }),
            "trade" => Ok(Channel::Trade),
            "ohlc" => match params.interval.unwrap_or(1) {
                interval if INTERVALS.contains(&interval) => Ok(Channel::Candles(interval)),
                _ => Err("Ohlc interval not supported".to_owned()),
            },
            other => Err(format!("Channel {other} not supported")),
        };
        let at = Timestamp::from_millis(now);
        let strikes = |kind| self.shared.faults.strikes(ExchangeId::Kraken, kind, at);
        if request.method == "subscribe" && strikes(FaultKind::MsgRate) {
            out.push(Frame::Reply("{\"Error\":\"Exceeded msg rate\"}".to_owned()));
            return;
        }
        let already = request.method == "subscribe" && strikes(FaultKind::AlreadySubscribed);
        let refused =
            request.method == "subscribe" && self.shared.faults.strikes(ExchangeId::Kraken, FaultKind::Refuse, at);
        for name in &params.symbol {
            let market = &self.shared.market;
            let found = market.named(ExchangeId::Kraken, name);
            let listing = found.filter(|listing| stream_name(listing) == *name);
            let done = match (&channel, listing) {
                (Err(error), _) => Err(error.clone()),
                // `{"error":"Currency pair not supported XBT/EUR","method":"subscribe","success":false,"symbol":"XBT/EUR"}`
                (_, None) => Err(format!("Currency pair not supported {name}")),
                _ if refused => Err(format!("Subscription refused by a scripted fault {name}")),
                (Ok(channel), Some(listing)) => {
                    let subscription = Subscription { index: listing.index, channel: *channel };
                    let held = |one: &Subscription| one.index == listing.index && one.channel.is_same(*channel);
                    let place = self.subscriptions.iter().position(held);
                    match (request.method.as_str(), place) {
                        ("subscribe", Some(_)) => Err("Already subscribed".to_owned()),
                        ("subscribe", None) => Ok(Some(subscription)),
                        (_, None) => Err("Subscription Not Found".to_owned()),
                        (_, Some(place)) => {
                            self.subscriptions.swap_remove(place);
                            Ok(None)
                        }
                    }
                }
            };
            let told = "Already subscribed".to_owned();
            let error = done.as_ref().err().or_else(|| already.then_some(&told));
            out.push(acknowledgement(request, name, error, now));
            if let Ok(Some(mut subscription)) = done {
                let trades = matches!(subscription.channel, Channel::Trade);
                // Trades give a snapshot only on demand, the others unless it is declined.
                if params.snapshot.unwrap_or(!trades) {
                    out.extend(self.snapshot(&mut subscription, now));
                }
                self.subscriptions.push(subscription);
            }
        }
    }

    fn snapshot(&self, subscription: &mut Subscription, now: i64) -> Option<Frame> {
        let market = &self.shared.market;
        let listing = market.listing(subscription.index)?;
        match &mut subscription.channel {
            Channel::Ticker { told, .. } => {
                *told = market.book(listing, now);
                Some(Frame::Ticker(ticker(market, listing, now, "snapshot")?))
            }
            Channel::Trade => {
                let mut minute = now / MINUTE;
                let mut trades = market.trades(listing, minute, now);
                while trades.len() < SNAPSHOT_TRADES && now / MINUTE - minute < 600 {
                    minute -= 1;
                    trades.splice(0..0, market.trades(listing, minute, now));
                }
                let newest = trades.len().saturating_sub(SNAPSHOT_TRADES);
                Some(Frame::Trade(trade_message(listing, &trades[newest..], "snapshot")))
            }
            Channel::Candles(interval) => {
                let bars = (0..SNAPSHOT_CANDLES).rev().filter_map(|back| {
                    let (first, bar) = bar(market, listing, *interval, now - back * *interval * MINUTE, now);
                    Some((first, bar?))
                });
                Some(Frame::Candle(candles(listing, *interval, &bars.collect::<Vec<_>>(), now, "snapshot")))
            }
        }
    }

    /// What a subscription says at a moment.
    fn event(market: &Market, subscription: &mut Subscription, at: i64) -> Option<Frame> {
        let listing = market.listing(subscription.index)?;
        let trades = || market.trades_between(listing, at - INSTANT, at);
        match &mut subscription.channel {
            Channel::Ticker { book: false, .. } => {
                if trades().is_empty() {
                    return None;
                }
                ticker(market, listing, at, "update").map(Frame::Ticker)
            }
            Channel::Ticker { told, .. } => {
                let book = market.book(listing, at);
                // "On a change in the best-bid-offer price levels."
                let prices = |book: Option<Book>| book.map(|book| (book.bid, book.ask));
                if prices(book) == prices(*told) {
                    return None;
                }
                *told = book;
                ticker(market, listing, at, "update").map(Frame::Ticker)
            }
            Channel::Trade => {
                let trades = trades();
                (!trades.is_empty()).then(|| Frame::Trade(trade_message(listing, &trades, "update")))
            }
            Channel::Candles(interval) => {
                // What became known in this moment belongs to the time before it; a late trade is no update.
                let (first, bar) = bar(market, listing, *interval, at - 1, at);
                let fresh = trades().iter().any(|trade| trade.time == trade.known);
                Some(Frame::Candle(candles(listing, *interval, &[(first, bar.filter(|_| fresh)?)], at, "update")))
            }
        }
    }
}

impl Dialect for Feed {
    fn habits(&self) -> Habits {
        Habits {
            exchange: ExchangeId::Kraken,
            // <https://docs.kraken.com/api/docs/guides/spot-ws-intro>
            connects: (150, 600_000),
            messages_per_second: None,
            ping: None,
            max_age: None,
        }
    }

    fn open(&mut self, now: i64, out: &mut Vec<Frame>) {
        self.spoke = now;
        out.push(status("online", now));
    }

    fn text(&mut self, text: &str, now: i64, out: &mut Vec<Frame>) -> Flow {
        match serde_json::from_str::<Request>(text) {
            Ok(request) if matches!(request.method.as_str(), "subscribe" | "unsubscribe") => {
                self.change(&request, now, out);
            }
            Ok(request) if request.method == "ping" => {
                let mut pong = json!({ "method": "pong", "time_in": time(now), "time_out": time(now) });
                if let Some(id) = request.req_id {
                    pong["req_id"] = json!(id);
                }
                out.push(Frame::Reply(pong.to_string()));
            }
            Ok(request) => out.push(unsupported(Some(&request.method), "Unsupported method", now)),
            Err(_) => out.push(unsupported(None, "Malformed request", now)),
        }
        ControlFlow::Continue(())
    }

    fn instant(&mut self, at: i64, out: &mut Vec<Frame>) {
        for subscription in &mut self.subscriptions {
            out.extend(Self::event(&self.shared.market, subscription, at));
        }
        if !out.is_empty() {
            self.spoke = at;
        } else if !self.subscriptions.is_empty() && at - self.spoke >= 1_000 {
            // "Approximately once every second in the absence of any other channel updates", once subscribed.
            self.spoke = at;
            out.push(Frame::Reply("{\"channel\":\"heartbeat\"}".to_owned()));
        }
    }

    fn farewell(&mut self, now: i64, out: &mut Vec<Frame>) {
        out.push(status("maintenance", now));
    }
}

fn acknowledgement(request: &Request, symbol: &str, error: Option<&String>, now: i64) -> Frame {
    let params = &request.params;
    let mut answer =
        json!({ "method": request.method, "success": error.is_none(), "time_in": time(now), "time_out": time(now) });
    if let Some(error) = error {
        answer["error"] = json!(error);
        answer["symbol"] = json!(symbol);
    } else {
        let mut result = json!({ "channel": params.channel, "symbol": symbol });
        if request.method == "subscribe" {
            result["snapshot"] = json!(params.snapshot.unwrap_or(params.channel != "trade"));
        }
        match params.channel.as_str() {
            "ohlc" => {
                result["interval"] = json!(params.interval.unwrap_or(1));
                result["warnings"] = json!(["timestamp is deprecated, use interval_begin"]);
            }
            "ticker" => result["event_trigger"] = json!(params.event_trigger.as_deref().unwrap_or("trades")),
            _ => {}
        }
        answer["result"] = result;
    }
    if let Some(id) = request.req_id {
        answer["req_id"] = json!(id);
    }
    Frame::Reply(answer.to_string())
}

fn unsupported(method: Option<&str>, error: &str, now: i64) -> Frame {
    let mut answer = json!({ "error": error, "success": false, "time_in": time(now), "time_out": time(now) });
    if let Some(method) = method {
        answer["method"] = Value::from(method);
    }
    Frame::Reply(answer.to_string())
}

fn status(system: &str, now: i64) -> Frame {
    Frame::Reply(format!(
        "{{\"channel\":\"status\",\"type\":\"update\",\"data\":[{{\"version\":\"2.0.10\",\"system\":\"{system}\",\
         \"api_version\":\"v2\",\"connection_id\":{now}}}]}}"
    ))
}

/// `2023-09-25T07:49:37.708000Z`
fn time(millis: i64) -> String {
    Timestamp::from_millis(millis).utc().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// A bare number, with a point always: `40.0`.
fn bare(value: Decimal) -> String {
    let text = value.normalize().to_string();
    if text.contains('.') { text } else { text + ".0" }
}

fn ticker(market: &Market, listing: &Listing, now: i64, kind: &str) -> Option<String> {
    let (day, book) = (market.day(listing, now)?, market.book(listing, now)?);
    let change = listing.price(day.bar.close - day.bar.open);
    let percent = (change * Decimal::ONE_HUNDRED).checked_div(listing.price(day.bar.open)).unwrap_or_default();
    let price = |ticks| bare(listing.price(ticks));
    Some(format!(
        "{{\"channel\":\"ticker\",\"type\":\"{kind}\",\"data\":[{{\"symbol\":\"{}\",\"bid\":{},\"bid_qty\":{},\"ask\":{},\
         \"ask_qty\":{},\"last\":{},\"volume\":{},\"vwap\":{},\"low\":{},\"high\":{},\"change\":{},\"change_pct\":{},\
         \"timestamp\":\"{}\"}}]}}",
        stream_name(listing),
        price(book.bid),
        bare(listing.amount(book.bid_size)),
        price(book.ask),
        bare(listing.amount(book.ask_size)),
        price(day.bar.close),
        bare(listing.amount(day.bar.volume)),
        bare(Market::mean(listing, &day.bar, listing.price_scale)),
        price(day.bar.low),
        price(day.bar.high),
        bare(change),
        bare(percent.round_dp(2)),
        time(now),
    ))
}

fn trade_message(listing: &Listing, trades: &[Trade], kind: &str) -> String {
    let mut text = format!("{{\"channel\":\"trade\",\"type\":\"{kind}\",\"data\":[");
    for (place, trade) in trades.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{}{{\"symbol\":\"{}\",\"side\":\"{}\",\"price\":{},\"qty\":{},\"ord_type\":\"market\",\"trade_id\":{},\"timestamp\":\"{}\"}}",
            if place > 0 { "," } else { "" },
            stream_name(listing),
            if trade.buy { "buy" } else { "sell" },
            bare(listing.price(trade.price)),
            bare(listing.amount(trade.amount)),
            trade.id,
            time(trade.time),
        );
    }
    text + "]}"
}

fn candles(listing: &Listing, interval: i64, bars: &[(i64, Bar)], now: i64, kind: &str) -> String {
    let mut text = format!("{{\"channel\":\"ohlc\",\"type\":\"{kind}\",\"timestamp\":\"{}\",\"data\":[", time(now));
    for (place, (first, bar)) in bars.iter().enumerate() {
        let begin = Timestamp::from_millis(first * MINUTE).utc().format("%Y-%m-%dT%H:%M:%S%.9fZ");
        let price = |ticks| bare(listing.price(ticks));
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{}{{\"symbol\":\"{}\",\"open\":{},\"high\":{},\"low\":{},\"close\":{},\"trades\":{},\"volume\":{},\"vwap\":{},\
             \"interval_begin\":\"{begin}\",\"interval\":{interval},\"timestamp\":\"{}\"}}",
            if place > 0 { "," } else { "" },
            stream_name(listing),
            price(bar.open),
            price(bar.high),
            price(bar.low),
            price(bar.close),
            bar.trades,
            bare(listing.amount(bar.volume)),
            bare(Market::mean(listing, bar, listing.price_scale)),
            time((first + interval) * MINUTE),
        );
    }
    text + "]}"
}
