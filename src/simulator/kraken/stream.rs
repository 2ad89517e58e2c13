//! Kraken's WebSocket, version 2.
//! <https://docs.kraken.com/api/docs/websocket-v2/ticker>, `…/trade`, `…/ohlc`, `…/heartbeat`, `…/status`, `…/ping`

use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{ExchangeId, Timestamp};
use crate::simulator::catalog::Listing;
use crate::simulator::faults::FaultKind;
use crate::simulator::market::{Market, TopOfBook};
use crate::simulator::shared::Shared;
use crate::simulator::socket::{Flow, Frame, SocketRules, StreamProtocol, TICK};
use crate::simulator::trades::{Bar, MINUTE, Trade};

use super::format::{INTERVALS, bar, stream_name};

/// Trades in a snapshot: "the last 50 trades".
const SNAPSHOT_TRADES: usize = 50;
/// Candles in a snapshot. The number is not documented.
const SNAPSHOT_CANDLES: i64 = 10;

/// One connection to Kraken.
pub(super) struct Feed {
    shared: Arc<Shared>,
    subscriptions: Vec<Subscription>,
    /// Time of the last sent frame in Unix milliseconds.
    last_sent_at: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subscription {
    index: usize,
    channel: Channel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    /// `book`: published on changes of the order book, otherwise on trades. `last_book` is the last published one.
    Ticker {
        book: bool,
        last_book: Option<TopOfBook>,
    },
    Trade,
    /// Interval in minutes.
    Candles(i64),
}

impl Channel {
    fn is_same_channel(self, other: Self) -> bool {
        match (self, other) {
            (Self::Ticker { .. }, Self::Ticker { .. }) => true,
            (this, other) => this == other,
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
        Self { shared, subscriptions: Vec::new(), last_sent_at: 0 }
    }

    fn handle_request(&mut self, request: &Request, now: i64, out: &mut Vec<Frame>) {
        let params = &request.params;
        let channel = match params.channel.as_str() {
            "ticker" => Ok(Channel::Ticker { book: params.event_trigger.as_deref() == Some("bbo"), last_book: None }),
            "trade" => Ok(Channel::Trade),
            "ohlc" => match params.interval.unwrap_or(1) {
                interval if INTERVALS.contains(&interval) => Ok(Channel::Candles(interval)),
                _ => Err("Ohlc interval not supported".to_owned()),
            },
            other => Err(format!("Channel {other} not supported")),
        };
        let at = Timestamp::from_millis(now);
        let trigger = |kind| self.shared.faults.trigger(ExchangeId::KRAKEN, kind, at);
        if request.method == "subscribe" && trigger(FaultKind::MsgRate) {
            out.push(Frame::Control("{\"Error\":\"Exceeded msg rate\"}".to_owned()));
            return;
        }
        let is_subscribe = request.method == "subscribe";
        let already = is_subscribe && trigger(FaultKind::AlreadySubscribed);
        let refused = is_subscribe && self.shared.faults.trigger(ExchangeId::KRAKEN, FaultKind::Refuse, at);
        for name in &params.symbol {
            let market = &self.shared.market;
            let found = market.find_by_name(ExchangeId::KRAKEN, name);
            let listing = found.filter(|listing| stream_name(listing) == *name);
            let result = match (&channel, listing) {
                (Err(error), _) => Err(error.clone()),
                // `{"error":"Currency pair not supported XBT/EUR","method":"subscribe","success":false,"symbol":"XBT/EUR"}`
                (_, None) => Err(format!("Currency pair not supported {name}")),
                _ if refused => Err(format!("Subscription refused by a scripted fault {name}")),
                (Ok(channel), Some(listing)) => {
                    let subscription = Subscription { index: listing.index, channel: *channel };
                    let is_same = |existing: &Subscription| {
                        existing.index == listing.index && existing.channel.is_same_channel(*channel)
                    };
                    let position = self.subscriptions.iter().position(is_same);
                    match (request.method.as_str(), position) {
                        ("subscribe", Some(_)) => Err("Already subscribed".to_owned()),
                        ("subscribe", None) => Ok(Some(subscription)),
                        (_, None) => Err("Subscription Not Found".to_owned()),
                        (_, Some(position)) => {
                            self.subscriptions.swap_remove(position);
                            Ok(None)
                        }
                    }
                }
            };
            let already_subscribed = "Already subscribed".to_owned();
            let error = result.as_ref().err().or_else(|| already.then_some(&already_subscribed));
            out.push(acknowledgement(request, name, error, now));
            if let Ok(Some(mut subscription)) = result {
                let is_trade = matches!(subscription.channel, Channel::Trade);
                // For trades, a snapshot is sent on request; for other channels, unless the request declines it.
                if params.snapshot.unwrap_or(!is_trade) {
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
            Channel::Ticker { last_book, .. } => {
                *last_book = market.top_of_book(listing, now);
                Some(Frame::Ticker(ticker_message(market, listing, now, "snapshot")?))
            }
            Channel::Trade => {
                let mut minute = now / MINUTE;
                let mut trades = market.trades(listing, minute, now);
                while trades.len() < SNAPSHOT_TRADES && now / MINUTE - minute < 600 {
                    minute -= 1;
                    trades.splice(0..0, market.trades(listing, minute, now));
                }
                let newest = trades.len().saturating_sub(SNAPSHOT_TRADES);
                Some(Frame::Trade(trades_message(listing, &trades[newest..], "snapshot")))
            }
            Channel::Candles(interval) => {
                let bars = (0..SNAPSHOT_CANDLES).rev().filter_map(|back| {
                    let (first, bar) = bar(market, listing, *interval, now - back * *interval * MINUTE, now);
                    Some((first, bar?))
                });
                Some(Frame::Candle(candles_message(listing, *interval, &bars.collect::<Vec<_>>(), now, "snapshot")))
            }
        }
    }

    /// The frame of a subscription at a tick.
    fn frame_at(market: &Market, subscription: &mut Subscription, at: i64) -> Option<Frame> {
        let listing = market.listing(subscription.index)?;
        let trades = || market.trades_between(listing, at - TICK, at);
        match &mut subscription.channel {
            Channel::Ticker { book: false, .. } => {
                if trades().is_empty() {
                    return None;
                }
                ticker_message(market, listing, at, "update").map(Frame::Ticker)
            }
            Channel::Ticker { last_book, .. } => {
                let book = market.top_of_book(listing, at);
                // "On a change in the best-bid-offer price levels."
                let prices = |book: Option<TopOfBook>| book.map(|book| (book.bid, book.ask));
                if prices(book) == prices(*last_book) {
                    return None;
                }
                *last_book = book;
                ticker_message(market, listing, at, "update").map(Frame::Ticker)
            }
            Channel::Trade => {
                let trades = trades();
                (!trades.is_empty()).then(|| Frame::Trade(trades_message(listing, &trades, "update")))
            }
            Channel::Candles(interval) => {
                // New trades belong to the interval before `at`. A late trade causes no update.
                let (first, bar) = bar(market, listing, *interval, at - 1, at);
                let has_trade = trades().iter().any(|trade| trade.time == trade.known_at);
                let bar = bar.filter(|_| has_trade)?;
                Some(Frame::Candle(candles_message(listing, *interval, &[(first, bar)], at, "update")))
            }
        }
    }
}

impl StreamProtocol for Feed {
    fn rules(&self) -> SocketRules {
        SocketRules {
            exchange: ExchangeId::KRAKEN,
            // <https://docs.kraken.com/api/docs/guides/spot-ws-intro>
            connection_limit: (150, 600_000),
            messages_per_second: None,
            ping: None,
            max_age: None,
        }
    }

    fn on_open(&mut self, now: i64, out: &mut Vec<Frame>) {
        self.last_sent_at = now;
        out.push(status_message("online", now));
    }

    fn on_text(&mut self, text: &str, now: i64, out: &mut Vec<Frame>) -> Flow {
        match serde_json::from_str::<Request>(text) {
            Ok(request) if matches!(request.method.as_str(), "subscribe" | "unsubscribe") => {
                self.handle_request(&request, now, out);
            }
            Ok(request) if request.method == "ping" => {
                let mut pong = json!({ "method": "pong", "time_in": format_time(now), "time_out": format_time(now) });
                if let Some(id) = request.req_id {
                    pong["req_id"] = json!(id);
                }
                out.push(Frame::Control(pong.to_string()));
            }
            Ok(request) => out.push(error_reply(Some(&request.method), "Unsupported method", now)),
            Err(_) => out.push(error_reply(None, "Malformed request", now)),
        }
        ControlFlow::Continue(())
    }

    fn on_tick(&mut self, at: i64, out: &mut Vec<Frame>) {
        for subscription in &mut self.subscriptions {
            out.extend(Self::frame_at(&self.shared.market, subscription, at));
        }
        if !out.is_empty() {
            self.last_sent_at = at;
        } else if !self.subscriptions.is_empty() && at - self.last_sent_at >= 1_000 {
            // "Approximately once every second in the absence of any other channel updates", once subscribed.
            self.last_sent_at = at;
            out.push(Frame::Control("{\"channel\":\"heartbeat\"}".to_owned()));
        }
    }

    fn announce_shutdown(&mut self, now: i64, out: &mut Vec<Frame>) {
        out.push(status_message("maintenance", now));
    }
}

fn acknowledgement(request: &Request, symbol: &str, error: Option<&String>, now: i64) -> Frame {
    let params = &request.params;
    let time = format_time(now);
    let mut reply = json!({ "method": request.method, "success": error.is_none(), "time_in": time, "time_out": time });
    if let Some(error) = error {
        reply["error"] = json!(error);
        reply["symbol"] = json!(symbol);
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
        reply["result"] = result;
    }
    if let Some(id) = request.req_id {
        reply["req_id"] = json!(id);
    }
    Frame::Control(reply.to_string())
}

fn error_reply(method: Option<&str>, error: &str, now: i64) -> Frame {
    let time = format_time(now);
    let mut reply = json!({ "error": error, "success": false, "time_in": time, "time_out": time });
    if let Some(method) = method {
        reply["method"] = Value::from(method);
    }
    Frame::Control(reply.to_string())
}

fn status_message(system: &str, now: i64) -> Frame {
    Frame::Control(format!(
        "{{\"channel\":\"status\",\"type\":\"update\",\"data\":[{{\"version\":\"2.0.10\",\"system\":\"{system}\",\
         \"api_version\":\"v2\",\"connection_id\":{now}}}]}}"
    ))
}

/// `2023-09-25T07:49:37.708000Z`
fn format_time(millis: i64) -> String {
    Timestamp::from_millis(millis).utc().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Formats a decimal as a JSON number with a decimal point: `40.0`.
fn format_decimal(value: Decimal) -> String {
    let text = value.normalize().to_string();
    if text.contains('.') { text } else { text + ".0" }
}

fn ticker_message(market: &Market, listing: &Listing, now: i64, kind: &str) -> Option<String> {
    let (day, book) = (market.day_statistics(listing, now)?, market.top_of_book(listing, now)?);
    let change = listing.price(day.bar.close - day.bar.open);
    let percent = (change * Decimal::ONE_HUNDRED).checked_div(listing.price(day.bar.open)).unwrap_or_default();
    let price = |ticks| format_decimal(listing.price(ticks));
    Some(format!(
        "{{\"channel\":\"ticker\",\"type\":\"{kind}\",\"data\":[{{\"symbol\":\"{}\",\"bid\":{},\"bid_qty\":{},\"ask\":{},\
         \"ask_qty\":{},\"last\":{},\"volume\":{},\"vwap\":{},\"low\":{},\"high\":{},\"change\":{},\"change_pct\":{},\
         \"timestamp\":\"{}\"}}]}}",
        stream_name(listing),
        price(book.bid),
        format_decimal(listing.amount(book.bid_size)),
        price(book.ask),
        format_decimal(listing.amount(book.ask_size)),
        price(day.bar.close),
        format_decimal(listing.amount(day.bar.volume)),
        format_decimal(Market::vwap(listing, &day.bar, listing.price_scale)),
        price(day.bar.low),
        price(day.bar.high),
        format_decimal(change),
        format_decimal(percent.round_dp(2)),
        format_time(now),
    ))
}

fn trades_message(listing: &Listing, trades: &[Trade], kind: &str) -> String {
    let mut text = format!("{{\"channel\":\"trade\",\"type\":\"{kind}\",\"data\":[");
    for (index, trade) in trades.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{}{{\"symbol\":\"{}\",\"side\":\"{}\",\"price\":{},\"qty\":{},\"ord_type\":\"market\",\"trade_id\":{},\"timestamp\":\"{}\"}}",
            if index > 0 { "," } else { "" },
            stream_name(listing),
            if trade.is_buy { "buy" } else { "sell" },
            format_decimal(listing.price(trade.price)),
            format_decimal(listing.amount(trade.amount)),
            trade.id,
            format_time(trade.time),
        );
    }
    text + "]}"
}

fn candles_message(listing: &Listing, interval: i64, bars: &[(i64, Bar)], now: i64, kind: &str) -> String {
    let time = format_time(now);
    let mut text = format!("{{\"channel\":\"ohlc\",\"type\":\"{kind}\",\"timestamp\":\"{time}\",\"data\":[");
    for (index, (first, bar)) in bars.iter().enumerate() {
        let begin = Timestamp::from_millis(first * MINUTE).utc().format("%Y-%m-%dT%H:%M:%S%.9fZ");
        let price = |ticks| format_decimal(listing.price(ticks));
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{}{{\"symbol\":\"{}\",\"open\":{},\"high\":{},\"low\":{},\"close\":{},\"trades\":{},\"volume\":{},\"vwap\":{},\
             \"interval_begin\":\"{begin}\",\"interval\":{interval},\"timestamp\":\"{}\"}}",
            if index > 0 { "," } else { "" },
            stream_name(listing),
            price(bar.open),
            price(bar.high),
            price(bar.low),
            price(bar.close),
            bar.trades,
            format_decimal(listing.amount(bar.volume)),
            format_decimal(Market::vwap(listing, bar, listing.price_scale)),
            format_time((first + interval) * MINUTE),
        );
    }
    text + "]}"
}
