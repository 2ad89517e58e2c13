//! Bybit's WebSocket of spot markets.
//! <https://bybit-exchange.github.io/docs/v5/ws/connect>, `…/websocket/public/ticker`, `…/orderbook`, `…/trade`, `…/kline`

use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::model::{ExchangeId, Interval, TimeRange, Timestamp};
use crate::simulator::Shared;
use crate::simulator::catalog::Listing;
use crate::simulator::faults::FaultKind;
use crate::simulator::market::{Book, Market};
use crate::simulator::socket::{Dialect, End, Flow, Frame, Habits, INSTANT};
use crate::simulator::tape::{Bar, Trade};

use super::{interval, plain, statistics};

/// "Spot can input up to 10 args for each subscription request."
const MAX_ARGS: usize = 10;
/// Who pings less often is cut; the documentation recommends 20 seconds and names no limit. In milliseconds.
const LONGEST_SILENCE: i64 = 120_000;
/// "If there is no change within 3 seconds […] the snapshot will be pushed again", in milliseconds.
const REPEATED: i64 = 3_000;
/// Candles are told each second at most.
const CANDLE_PACE: i64 = 1_000;

/// One connection to Bybit.
pub struct Feed {
    shared: Arc<Shared>,
    subscriptions: Vec<Subscription>,
    /// When the client last said something, in Unix milliseconds.
    heard: i64,
    id: String,
}

struct Subscription {
    index: usize,
    topic: String,
    kind: Kind,
    /// The book that was told last, and when.
    told: Option<(Book, i64)>,
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
        Self { shared, subscriptions: Vec::new(), heard: 0, id: String::new() }
    }

    /// What a topic asks for.
    fn meaning(&self, topic: &str) -> Option<(usize, Kind)> {
        let (name, native) = topic.rsplit_once('.')?;
        let listing = self.shared.market.named(ExchangeId::Bybit, native)?;
        let kind = match name.split_once('.') {
            None if name == "tickers" => Kind::Ticker,
            None if name == "publicTrade" => Kind::Trades,
            Some(("orderbook", "1")) => Kind::Book,
            Some(("kline", length)) => Kind::Candles(interval(length)?),
            _ => return None,
        };
        Some((listing.index, kind))
    }

    /// Does what is asked, all of it or nothing.
    fn obey(&mut self, request: &Request, now: i64, out: &mut Vec<Frame>) -> Result<(), String> {
        if request.args.len() > MAX_ARGS {
            return Err("args size >10".to_owned());
        }
        let mut topics = Vec::new();
        for topic in &request.args {
            let meaning = self.meaning(topic).ok_or_else(|| format!("Invalid symbol :[{topic}]"))?;
            topics.push((topic, meaning));
        }
        let at = Timestamp::from_millis(now);
        let subscribe = request.op == "subscribe";
        if subscribe && self.shared.faults.strikes(ExchangeId::Bybit, FaultKind::Refuse, at) {
            return Err("subscription refused by a scripted fault".to_owned());
        }
        // Taken all the same.
        let already = subscribe && self.shared.faults.strikes(ExchangeId::Bybit, FaultKind::AlreadySubscribed, at);
        match request.args.first().filter(|_| already) {
            Some(first) => out.push(self.reply(request, false, &format!("error:already subscribed,topic:{first}"))),
            None => out.push(self.reply(request, true, &request.op)),
        }
        for (topic, (index, kind)) in topics {
            self.subscriptions.retain(|one| one.topic != *topic);
            if subscribe {
                let mut subscription = Subscription { index, topic: topic.clone(), kind, told: None };
                out.extend(newest(&self.shared.market, &mut subscription, now));
                self.subscriptions.push(subscription);
            }
        }
        Ok(())
    }

    fn reply(&self, request: &Request, success: bool, message: &str) -> Frame {
        let answer = json!({
            "success": success, "ret_msg": message, "conn_id": self.id, "req_id": request.req_id, "op": request.op,
        });
        Frame::Reply(answer.to_string())
    }
}

impl Dialect for Feed {
    fn habits(&self) -> Habits {
        Habits {
            exchange: ExchangeId::Bybit,
            // <https://bybit-exchange.github.io/docs/v5/rate-limit>
            connects: (500, 300_000),
            messages_per_second: None,
            ping: None,
            max_age: None,
        }
    }

    fn open(&mut self, now: i64, _: &mut Vec<Frame>) {
        self.heard = now;
        self.id = format!("d{now:x}");
    }

    fn text(&mut self, text: &str, now: i64, out: &mut Vec<Frame>) -> Flow {
        self.heard = now;
        match serde_json::from_str::<Request>(text) {
            Ok(request) if matches!(request.op.as_str(), "subscribe" | "unsubscribe") => {
                if let Err(message) = self.obey(&request, now, out) {
                    out.push(self.reply(&request, false, &message));
                }
            }
            Ok(request) if request.op == "ping" => out.push(self.reply(&request, true, "pong")),
            Ok(request) => out.push(self.reply(&request, false, "error:handler not found")),
            Err(_) => out.push(Frame::Reply(json!({"success": false, "ret_msg": "error:invalid json"}).to_string())),
        }
        ControlFlow::Continue(())
    }

    fn instant(&mut self, at: i64, out: &mut Vec<Frame>) {
        for subscription in &mut self.subscriptions {
            out.extend(event(&self.shared.market, subscription, at));
        }
    }

    fn goes_on(&mut self, at: i64) -> Flow {
        if at - self.heard > LONGEST_SILENCE { ControlFlow::Break(End::Cut) } else { ControlFlow::Continue(()) }
    }

    fn farewell(&mut self, _: i64, _: &mut Vec<Frame>) {
        // Bybit announces nothing on the connection.
    }
}

/// What comes at once on subscribing.
fn newest(market: &Market, subscription: &mut Subscription, now: i64) -> Option<Frame> {
    let listing = market.listing(subscription.index)?;
    match subscription.kind {
        Kind::Ticker => ticker(market, listing, subscription, now),
        Kind::Book => {
            let book = market.book(listing, now)?;
            subscription.told = Some((book, now));
            Some(Frame::Ticker(level(listing, &subscription.topic, &book, now)))
        }
        Kind::Trades => None,
        Kind::Candles(interval) => {
            let span = interval.span(interval.floor(Timestamp::from_millis(now)));
            let bar = market.bar_or_flat(listing, span, now)?;
            Some(candles(listing, &subscription.topic, &[(span, bar, false)], now))
        }
    }
}

/// What a subscription says at a moment.
fn event(market: &Market, subscription: &mut Subscription, at: i64) -> Option<Frame> {
    let listing = market.listing(subscription.index)?;
    let trades = || market.trades_between(listing, at - INSTANT, at);
    match subscription.kind {
        Kind::Ticker => (!trades().is_empty()).then(|| ticker(market, listing, subscription, at)).flatten(),
        Kind::Book => {
            let book = market.book(listing, at)?;
            let (told, when) = subscription.told?;
            if book == told && at - when < REPEATED {
                return None;
            }
            subscription.told = Some((book, at));
            Some(Frame::Ticker(level(listing, &subscription.topic, &book, at)))
        }
        Kind::Trades => {
            let trades = trades();
            (!trades.is_empty()).then(|| Frame::Trade(trade(listing, &subscription.topic, &trades, at)))
        }
        Kind::Candles(interval) => {
            let here = interval.span(interval.floor(Timestamp::from_millis(at)));
            if here.start().millis() == at {
                // The one that closes and the one that opens come in one message.
                let closed = interval.span(interval.floor(Timestamp::from_millis(at - 1)));
                let rows = [(closed, true), (here, false)];
                let rows: Vec<_> = rows
                    .into_iter()
                    .filter_map(|(span, confirm)| Some((span, market.bar_or_flat(listing, span, at)?, confirm)))
                    .collect();
                return Some(candles(listing, &subscription.topic, &rows, at));
            }
            let changed = at % CANDLE_PACE == 0
                && market
                    .last_trade(listing, at)
                    .is_some_and(|last| last.known > at - CANDLE_PACE && last.known == last.time);
            let bar = market.bar_or_flat(listing, here, at).filter(|_| changed)?;
            Some(candles(listing, &subscription.topic, &[(here, bar, false)], at))
        }
    }
}

fn ticker(market: &Market, listing: &Listing, subscription: &Subscription, now: i64) -> Option<Frame> {
    let day = market.day(listing, now)?;
    Some(Frame::Ticker(format!(
        "{{\"topic\":\"{}\",\"ts\":{now},\"type\":\"snapshot\",\"cs\":{now},\"data\":{{{}}}}}",
        subscription.topic,
        statistics(listing, &day)
    )))
}

fn level(listing: &Listing, topic: &str, book: &Book, now: i64) -> String {
    let side = |at: i64, size: i64| format!("[\"{}\",\"{}\"]", plain(listing.price(at)), plain(listing.amount(size)));
    format!(
        "{{\"topic\":\"{topic}\",\"ts\":{now},\"type\":\"snapshot\",\"data\":{{\"s\":\"{}\",\"b\":[{}],\"a\":[{}],\
         \"u\":{update},\"seq\":{update}}},\"cts\":{now}}}",
        listing.native,
        side(book.bid, book.bid_size),
        side(book.ask, book.ask_size),
        update = book.update,
    )
}

fn trade(listing: &Listing, topic: &str, trades: &[Trade], now: i64) -> String {
    let mut rows = String::new();
    for (place, one) in trades.iter().enumerate() {
        let _ = write!(
            rows,
            "{}{{\"i\":\"{}\",\"T\":{},\"p\":\"{}\",\"v\":\"{}\",\"S\":\"{}\",\"seq\":{},\"s\":\"{}\",\"BT\":false,\
             \"RPI\":false}}",
            if place == 0 { "" } else { "," },
            one.id,
            one.time,
            plain(listing.price(one.price)),
            plain(listing.amount(one.amount)),
            if one.buy { "Buy" } else { "Sell" },
            one.id,
            listing.native,
        );
    }
    format!("{{\"topic\":\"{topic}\",\"ts\":{now},\"type\":\"snapshot\",\"data\":[{rows}]}}")
}

fn candles(listing: &Listing, topic: &str, rows: &[(TimeRange, Bar, bool)], now: i64) -> Frame {
    let name = topic.split('.').nth(1).unwrap_or("1");
    let mut data = String::new();
    for (place, (span, bar, confirm)) in rows.iter().enumerate() {
        let [open, high, low, close] =
            [bar.open, bar.high, bar.low, bar.close].map(|ticks| plain(listing.price(ticks)));
        let _ = write!(
            data,
            "{}{{\"start\":{},\"end\":{},\"interval\":\"{name}\",\"open\":\"{open}\",\"close\":\"{close}\",\
             \"high\":\"{high}\",\"low\":\"{low}\",\"volume\":\"{}\",\"turnover\":\"{}\",\"confirm\":{confirm},\
             \"timestamp\":{now}}}",
            if place == 0 { "" } else { "," },
            span.start().millis(),
            span.end().millis() - 1,
            plain(listing.amount(bar.volume)),
            plain(listing.turnover(bar.turnover)),
        );
    }
    Frame::Candle(format!("{{\"type\":\"snapshot\",\"topic\":\"{topic}\",\"data\":[{data}],\"ts\":{now}}}"))
}
