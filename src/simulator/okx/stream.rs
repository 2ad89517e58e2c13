//! OKX's WebSocket, version 5.
//! <https://www.okx.com/docs-v5/en/#overview-websocket>, `#order-book-trading-market-data-ws-tickers-channel`,
//! `…-ws-trades-channel`, `…-ws-candlesticks-channel`

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model::{ExchangeId, Timestamp};
use crate::simulator::Shared;
use crate::simulator::catalog::Listing;
use crate::simulator::faults::FaultKind;
use crate::simulator::market::Market;
use crate::simulator::socket::{Dialect, End, Flow, Frame, Habits, INSTANT};
use crate::simulator::tape::Trade;

use super::{Grid, HOUR, plain, row, ticker};

/// "'subscribe'/'unsubscribe'/'login' requests per connection is limited to 480 times per hour."
const REQUESTS_AN_HOUR: usize = 480;
/// A connection on which nothing was said for longer is closed, in milliseconds.
const LONGEST_SILENCE: i64 = 30_000;
/// "The fastest interval 1 second push the data."
const CANDLE_PACE: i64 = 1_000;

/// Which of the paths a connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `/ws/v5/public`
    Public,
    /// `/ws/v5/business`
    Business,
}

/// One connection to OKX.
pub struct Feed {
    shared: Arc<Shared>,
    door: Door,
    subscriptions: Vec<Subscription>,
    /// When something was last said, in Unix milliseconds.
    spoke: i64,
    /// When requests of the last hour came.
    requests: VecDeque<i64>,
    /// Names the connection in answers.
    id: String,
}

struct Subscription {
    index: usize,
    channel: String,
    topic: Topic,
    /// The update of the book that was told last.
    told: i64,
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
    pub fn new(shared: Arc<Shared>, door: Door) -> Self {
        Self { shared, door, subscriptions: Vec::new(), spoke: 0, requests: VecDeque::new(), id: String::new() }
    }

    /// What an argument asks for; `None` where it "doesn't exist" on this path.
    fn meaning(&self, argument: &Argument) -> Option<(usize, Topic)> {
        let market = &self.shared.market;
        let listing = market.named(ExchangeId::Okx, &argument.inst_id)?;
        let topic = match (self.door, argument.channel.as_str()) {
            (Door::Public, "tickers") => Topic::Tickers,
            (Door::Public, "trades") => Topic::Trades,
            (Door::Business, channel) => Topic::Candles(Grid::named(channel.strip_prefix("candle")?)?),
            (Door::Public, _) => return None,
        };
        Some((listing.index, topic))
    }

    fn obey(&mut self, request: &Request, now: i64, out: &mut Vec<Frame>) {
        self.requests.retain(|at| at + HOUR > now);
        if self.requests.len() >= REQUESTS_AN_HOUR {
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
        let refused = subscribe && self.shared.faults.strikes(ExchangeId::Okx, FaultKind::Refuse, at);
        for argument in &request.args {
            let Argument { channel, inst_id } = argument;
            let Some((index, topic)) = self.meaning(argument).filter(|_| !refused) else {
                let what = format!(
                    "Wrong URL or channel:{channel},instId:{inst_id} doesn't exist. Please use the correct URL, channel and \
                     parameters referring to API document."
                );
                out.push(self.error(request.id.as_deref(), 60_018, &what));
                continue;
            };
            let arg = json!({ "channel": channel, "instId": inst_id });
            out.push(self.reply(request.id.as_deref(), json!({ "event": request.op, "arg": arg })));
            self.subscriptions.retain(|one| one.index != index || one.channel != *channel);
            if subscribe {
                let mut subscription = Subscription { index, channel: channel.clone(), topic, told: 0 };
                // What is newest comes at once: not documented, but seen.
                out.extend(self.newest(&mut subscription, now));
                self.subscriptions.push(subscription);
            }
        }
    }

    fn reply(&self, id: Option<&str>, answer: Value) -> Frame {
        let mut members = match answer {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        if let Some(id) = id {
            members.insert("id".to_owned(), id.into());
        }
        members.insert("connId".to_owned(), self.id.as_str().into());
        Frame::Reply(Value::Object(members).to_string())
    }

    fn error(&self, id: Option<&str>, code: u32, message: &str) -> Frame {
        self.reply(id, json!({ "event": "error", "code": code.to_string(), "msg": message }))
    }

    fn newest(&self, subscription: &mut Subscription, now: i64) -> Option<Frame> {
        let market = &self.shared.market;
        let listing = market.listing(subscription.index)?;
        match subscription.topic {
            Topic::Tickers => tickers(market, listing, subscription, now),
            Topic::Trades => market.last_trade(listing, now).map(|last| trade(listing, &last)),
            Topic::Candles(grid) => candle(market, listing, &subscription.channel, grid, now, now),
        }
    }

    /// What a subscription says at a moment.
    fn events(market: &Market, subscription: &mut Subscription, at: i64) -> Vec<Frame> {
        let Some(listing) = market.listing(subscription.index) else { return Vec::new() };
        match subscription.topic {
            // "The events which can trigger update: trade, the change on best ask/bid."
            Topic::Tickers => {
                let moved = market.book(listing, at).is_some_and(|book| book.update != subscription.told);
                let due = moved || !market.trades_between(listing, at - INSTANT, at).is_empty();
                if due { tickers(market, listing, subscription, at).into_iter().collect() } else { Vec::new() }
            }
            Topic::Trades => {
                market.trades_between(listing, at - INSTANT, at).iter().map(|one| trade(listing, one)).collect()
            }
            Topic::Candles(grid) => {
                let closes = grid.span(at).start().millis() == at;
                let changed = at % CANDLE_PACE == 0
                    && market.last_trade(listing, at).is_some_and(|last| last.known > at - CANDLE_PACE);
                // At its end the candle that closes is told, with what is known by then.
                let told = (closes || changed)
                    .then(|| candle(market, listing, &subscription.channel, grid, at - 1, at))
                    .flatten();
                told.into_iter().collect()
            }
        }
    }
}

impl Dialect for Feed {
    fn habits(&self) -> Habits {
        Habits {
            exchange: ExchangeId::Okx,
            // "Connection limit: 3 requests per second (based on IP)": <https://www.okx.com/docs-v5/en/#overview-websocket-connect>
            connects: (3, 1_000),
            messages_per_second: None,
            ping: None,
            max_age: None,
        }
    }

    fn open(&mut self, now: i64, _out: &mut Vec<Frame>) {
        self.spoke = now;
        self.id = format!("{:08x}", now & 0xffff_ffff);
    }

    fn text(&mut self, text: &str, now: i64, out: &mut Vec<Frame>) -> Flow {
        match serde_json::from_str::<Request>(text) {
            _ if text == "ping" => out.push(Frame::Reply("pong".to_owned())),
            Ok(request) => self.obey(&request, now, out),
            Err(_) => out.push(self.error(None, 60_012, &format!("Invalid request: {text}"))),
        }
        self.spoke = now;
        ControlFlow::Continue(())
    }

    fn instant(&mut self, at: i64, out: &mut Vec<Frame>) {
        for subscription in &mut self.subscriptions {
            out.extend(Self::events(&self.shared.market, subscription, at));
        }
        if !out.is_empty() {
            self.spoke = at;
        }
    }

    /// "The connection will break automatically if the subscription is not established or data has not been pushed for
    /// more than 30 seconds": <https://www.okx.com/docs-v5/en/#overview-websocket-connect>
    fn goes_on(&mut self, at: i64) -> Flow {
        if at - self.spoke > LONGEST_SILENCE {
            return ControlFlow::Break(End::Close(4004, "No data received in 30s"));
        }
        ControlFlow::Continue(())
    }

    /// "Supported by WebSocket Public and Private for now": the other path ends without a word.
    /// <https://www.okx.com/docs-v5/en/#overview-websocket-notification>
    fn farewell(&mut self, _now: i64, out: &mut Vec<Frame>) {
        if self.door == Door::Public {
            let message = "The connection will soon be closed for a service upgrade. Please reconnect.";
            out.push(self.reply(None, json!({ "event": "notice", "code": "64008", "msg": message })));
        }
    }
}

/// `{"arg":{"channel":"…","instId":"…"},"data":[…]}`
fn push(listing: &Listing, channel: &str, data: &str) -> String {
    format!("{{\"arg\":{{\"channel\":\"{channel}\",\"instId\":\"{}\"}},\"data\":[{data}]}}", listing.native)
}

fn tickers(market: &Market, listing: &Listing, subscription: &mut Subscription, now: i64) -> Option<Frame> {
    let (day, book) = (market.day(listing, now)?, market.book(listing, now)?);
    subscription.told = book.update;
    Some(Frame::Ticker(push(listing, &subscription.channel, &ticker(listing, &day, &book, now))))
}

/// Each trade is an aggregate of its own.
fn trade(listing: &Listing, trade: &Trade) -> Frame {
    let data = format!(
        "{{\"instId\":\"{}\",\"tradeId\":\"{}\",\"px\":\"{}\",\"sz\":\"{}\",\"side\":\"{}\",\"ts\":\"{}\",\"count\":\"1\",\
         \"source\":\"0\",\"seqId\":{}}}",
        listing.native,
        trade.id,
        plain(listing.price(trade.price)),
        plain(listing.amount(trade.amount)),
        if trade.buy { "buy" } else { "sell" },
        trade.time,
        trade.id,
    );
    Frame::Trade(push(listing, "trades", &data))
}

/// The candle that holds `moment`, as known at `now`.
fn candle(market: &Market, listing: &Listing, channel: &str, grid: Grid, moment: i64, now: i64) -> Option<Frame> {
    let span = grid.span(moment);
    let bar = market.bar_or_flat(listing, span, now)?;
    Some(Frame::Candle(push(listing, channel, &row(listing, span, &bar, now))))
}
