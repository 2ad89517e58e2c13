//! OKX's WebSocket, version 5.
//! <https://www.okx.com/docs-v5/en/#overview-websocket>, `#order-book-trading-market-data-ws-tickers-channel`,
//! `…-ws-trades-channel`, `…-ws-candlesticks-channel`

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model::{ExchangeId, Timestamp};
use crate::simulator::catalog::Listing;
use crate::simulator::faults::FaultKind;
use crate::simulator::market::Market;
use crate::simulator::shared::Shared;
use crate::simulator::socket::{Disconnect, Flow, Frame, SocketRules, StreamProtocol, TICK};
use crate::simulator::trades::Trade;

use super::format::{Grid, HOUR, format_decimal, row, ticker};

/// "'subscribe'/'unsubscribe'/'login' requests per connection is limited to 480 times per hour."
const REQUESTS_PER_HOUR: usize = 480;
/// Time without a message in either direction after which OKX closes a connection, in milliseconds.
const IDLE_TIMEOUT: i64 = 30_000;
/// "The fastest interval 1 second push the data."
const CANDLE_UPDATE_INTERVAL: i64 = 1_000;

/// URL path of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamPath {
    /// `/ws/v5/public`
    Public,
    /// `/ws/v5/business`
    Business,
}

/// One connection to OKX.
pub(super) struct Feed {
    shared: Arc<Shared>,
    path: StreamPath,
    subscriptions: Vec<Subscription>,
    /// Time of the last message in either direction, in Unix milliseconds.
    last_activity_at: i64,
    /// Times of the requests of the last hour in Unix milliseconds.
    requests: VecDeque<i64>,
    /// Connection id in replies.
    id: String,
}

struct Subscription {
    index: usize,
    channel: String,
    topic: Topic,
    /// Update id of the last published order book.
    last_update: i64,
}

#[derive(Clone, Copy)]
enum Topic {
    Tickers,
    Trades,
    Candles(Grid),
}

#[derive(Deserialize)]
struct Request {
    id: Option<String>,
    op: String,
    #[serde(default)]
    args: Vec<Argument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    channel: String,
    #[serde(default)]
    inst_id: String,
}

impl Feed {
    pub fn new(shared: Arc<Shared>, path: StreamPath) -> Self {
        Self {
            shared,
            path,
            subscriptions: Vec::new(),
            last_activity_at: 0,
            requests: VecDeque::new(),
            id: String::new(),
        }
    }

    /// Parses an argument into a listing index and a topic; `None` if it "doesn't exist" on this path.
    fn parse_argument(&self, argument: &Argument) -> Option<(usize, Topic)> {
        let market = &self.shared.market;
        let listing = market.find_by_name(ExchangeId::OKX, &argument.inst_id)?;
        let topic = match (self.path, argument.channel.as_str()) {
            (StreamPath::Public, "tickers") => Topic::Tickers,
            (StreamPath::Public, "trades") => Topic::Trades,
            (StreamPath::Business, channel) => Topic::Candles(Grid::parse(channel.strip_prefix("candle")?)?),
            (StreamPath::Public, _) => return None,
        };
        Some((listing.index, topic))
    }

    fn handle_request(&mut self, request: &Request, now: i64, out: &mut Vec<Frame>) {
        self.requests.retain(|at| at + HOUR > now);
        if self.requests.len() >= REQUESTS_PER_HOUR {
            return out.push(self.error(request.id.as_deref(), 60_014, "Requests too frequent"));
        }
        self.requests.push_back(now);
        let subscribe = match request.op.as_str() {
            "subscribe" => true,
            "unsubscribe" => false,
            other => return out.push(self.error(request.id.as_deref(), 60_019, &format!("Invalid op: {other}"))),
        };
        if request.args.is_empty() {
            return out.push(self.error(request.id.as_deref(), 60_013, "Invalid args"));
        }
        let at = Timestamp::from_millis(now);
        let refused = subscribe && self.shared.faults.trigger(ExchangeId::OKX, FaultKind::Refuse, at);
        for argument in &request.args {
            let Argument { channel, inst_id } = argument;
            let Some((index, topic)) = self.parse_argument(argument).filter(|_| !refused) else {
                let message = format!(
                    "Wrong URL or channel:{channel},instId:{inst_id} doesn't exist. Please use the correct URL, channel and \
                     parameters referring to API document."
                );
                out.push(self.error(request.id.as_deref(), 60_018, &message));
                continue;
            };
            let arg = json!({ "channel": channel, "instId": inst_id });
            out.push(self.reply(request.id.as_deref(), json!({ "event": request.op, "arg": arg })));
            self.subscriptions.retain(|existing| existing.index != index || existing.channel != *channel);
            if subscribe {
                let mut subscription = Subscription { index, channel: channel.clone(), topic, last_update: 0 };
                // The newest data are sent immediately: not documented, but observed.
                out.extend(self.snapshot(&mut subscription, now));
                self.subscriptions.push(subscription);
            }
        }
    }

    fn reply(&self, id: Option<&str>, message: Value) -> Frame {
        let mut members = match message {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        if let Some(id) = id {
            members.insert("id".to_owned(), id.into());
        }
        members.insert("connId".to_owned(), self.id.as_str().into());
        Frame::Control(Value::Object(members).to_string())
    }

    fn error(&self, id: Option<&str>, code: u32, message: &str) -> Frame {
        self.reply(id, json!({ "event": "error", "code": code.to_string(), "msg": message }))
    }

    fn snapshot(&self, subscription: &mut Subscription, now: i64) -> Option<Frame> {
        let market = &self.shared.market;
        let listing = market.listing(subscription.index)?;
        match subscription.topic {
            Topic::Tickers => ticker_frame(market, listing, subscription, now),
            Topic::Trades => market.last_trade(listing, now).map(|last| trade_frame(listing, &last)),
            Topic::Candles(grid) => candle_frame(market, listing, &subscription.channel, grid, now, now),
        }
    }

    /// The frames of a subscription at a tick.
    fn frames_at(market: &Market, subscription: &mut Subscription, at: i64) -> Vec<Frame> {
        let Some(listing) = market.listing(subscription.index) else { return Vec::new() };
        match subscription.topic {
            // "The events which can trigger update: trade, the change on best ask/bid."
            Topic::Tickers => {
                let book = market.top_of_book(listing, at);
                let has_changed = book.is_some_and(|book| book.update != subscription.last_update);
                let due = has_changed || !market.trades_between(listing, at - TICK, at).is_empty();
                if due { ticker_frame(market, listing, subscription, at).into_iter().collect() } else { Vec::new() }
            }
            Topic::Trades => {
                market.trades_between(listing, at - TICK, at).iter().map(|trade| trade_frame(listing, trade)).collect()
            }
            Topic::Candles(grid) => {
                let closes = grid.span(at).start().millis() == at;
                let changed = at % CANDLE_UPDATE_INTERVAL == 0
                    && market.last_trade(listing, at).is_some_and(|last| last.known_at > at - CANDLE_UPDATE_INTERVAL);
                // At a boundary, this is the candle that closes, as known at that time.
                let frame = (closes || changed)
                    .then(|| candle_frame(market, listing, &subscription.channel, grid, at - 1, at))
                    .flatten();
                frame.into_iter().collect()
            }
        }
    }
}

impl StreamProtocol for Feed {
    fn rules(&self) -> SocketRules {
        SocketRules {
            exchange: ExchangeId::OKX,
            // "Connection limit: 3 requests per second (based on IP)":
            // <https://www.okx.com/docs-v5/en/#overview-websocket-connect>
            connection_limit: (3, 1_000),
            messages_per_second: None,
            ping: None,
            max_age: None,
        }
    }

    fn on_open(&mut self, now: i64, _out: &mut Vec<Frame>) {
        self.last_activity_at = now;
        self.id = format!("{:08x}", now & 0xffff_ffff);
    }

    fn on_text(&mut self, text: &str, now: i64, out: &mut Vec<Frame>) -> Flow {
        match serde_json::from_str::<Request>(text) {
            _ if text == "ping" => out.push(Frame::Control("pong".to_owned())),
            Ok(request) => self.handle_request(&request, now, out),
            Err(_) => out.push(self.error(None, 60_012, &format!("Invalid request: {text}"))),
        }
        self.last_activity_at = now;
        ControlFlow::Continue(())
    }

    fn on_tick(&mut self, at: i64, out: &mut Vec<Frame>) {
        for subscription in &mut self.subscriptions {
            out.extend(Self::frames_at(&self.shared.market, subscription, at));
        }
        if !out.is_empty() {
            self.last_activity_at = at;
        }
    }

    /// "The connection will break automatically if the subscription is not established or data has not been pushed for
    /// more than 30 seconds": <https://www.okx.com/docs-v5/en/#overview-websocket-connect>
    fn check_timeouts(&mut self, at: i64) -> Flow {
        if at - self.last_activity_at > IDLE_TIMEOUT {
            return ControlFlow::Break(Disconnect::Close(4004, "No data received in 30s"));
        }
        ControlFlow::Continue(())
    }

    /// "Supported by WebSocket Public and Private for now": the business path sends no notice.
    /// <https://www.okx.com/docs-v5/en/#overview-websocket-notification>
    fn is_empty_candle(&self, text: &str) -> bool {
        text.contains("\"channel\":\"candle") && text.contains(",\"0\",\"0\",\"0\",\"")
    }

    fn announce_shutdown(&mut self, _now: i64, out: &mut Vec<Frame>) {
        if self.path == StreamPath::Public {
            let message = "The connection will soon be closed for a service upgrade. Please reconnect.";
            out.push(self.reply(None, json!({ "event": "notice", "code": "64008", "msg": message })));
        }
    }
}

/// `{"arg":{"channel":"…","instId":"…"},"data":[…]}`
fn data_message(listing: &Listing, channel: &str, data: &str) -> String {
    format!("{{\"arg\":{{\"channel\":\"{channel}\",\"instId\":\"{}\"}},\"data\":[{data}]}}", listing.native)
}

fn ticker_frame(market: &Market, listing: &Listing, subscription: &mut Subscription, now: i64) -> Option<Frame> {
    let (day, book) = (market.day_statistics(listing, now)?, market.top_of_book(listing, now)?);
    subscription.last_update = book.update;
    Some(Frame::Ticker(data_message(listing, &subscription.channel, &ticker(listing, &day, &book, now))))
}

/// Every aggregate contains one trade.
fn trade_frame(listing: &Listing, trade: &Trade) -> Frame {
    let data = format!(
        "{{\"instId\":\"{}\",\"tradeId\":\"{}\",\"px\":\"{}\",\"sz\":\"{}\",\"side\":\"{}\",\"ts\":\"{}\",\"count\":\"1\",\
         \"source\":\"0\",\"seqId\":{}}}",
        listing.native,
        trade.id,
        format_decimal(listing.price(trade.price)),
        format_decimal(listing.amount(trade.amount)),
        if trade.is_buy { "buy" } else { "sell" },
        trade.time,
        trade.id,
    );
    Frame::Trade(data_message(listing, "trades", &data))
}

/// The candle that contains `moment`, as known at `now`.
fn candle_frame(market: &Market, listing: &Listing, channel: &str, grid: Grid, moment: i64, now: i64) -> Option<Frame> {
    let span = grid.span(moment);
    let bar = market.bar_or_flat(listing, span, now)?;
    Some(Frame::Candle(data_message(listing, channel, &row(listing, span, &bar, now))))
}
