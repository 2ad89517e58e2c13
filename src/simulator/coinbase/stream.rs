//! Coinbase's WebSocket.
//! <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels>

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{ExchangeId, Timestamp};
use crate::simulator::Shared;
use crate::simulator::catalog::Listing;
use crate::simulator::faults::FaultKind;
use crate::simulator::market::{Book, Market};
use crate::simulator::socket::{Dialect, End, Flow, Frame, Habits, INSTANT};
use crate::simulator::tape::{MINUTE, Trade};

use super::{change, plain, time, trade};

/// Trades of a snapshot. How many there are is not documented; real ones had some dozens.
const SNAPSHOT_TRADES: usize = 50;
/// How far back they are looked for, in minutes.
const SNAPSHOT_MINUTES: i64 = 60;
/// "You must send a subscribe message within 5 seconds", in milliseconds.
const FIRST_WORD: i64 = 5_000;
/// Heartbeats come each second, in milliseconds.
const HEARTBEAT: i64 = 1_000;

/// One connection to Coinbase.
pub struct Feed {
    shared: Arc<Shared>,
    /// What is listened to, by channel and place in the catalog, and the book that was told last.
    tickers: BTreeMap<usize, Option<Book>>,
    trades: BTreeSet<usize>,
    /// When the last heartbeat was, once they are asked for, in Unix milliseconds.
    beat: Option<i64>,
    opened: i64,
    has_asked: bool,
    /// The number of the next message.
    sequence: u64,
}

#[derive(Deserialize)]
struct Request {
    #[serde(rename = "type")]
    kind: String,
    channel: String,
    #[serde(default)]
    product_ids: Vec<String>,
}

impl Feed {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            tickers: BTreeMap::new(),
            trades: BTreeSet::new(),
            beat: None,
            opened: 0,
            has_asked: false,
            sequence: 0,
        }
    }

    /// Numbers a message.
    fn message(&mut self, channel: &str, events: &str, now: i64) -> String {
        let number = self.sequence;
        self.sequence += 1;
        let at = time(now);
        format!("{{\"channel\":\"{channel}\",\"timestamp\":\"{at}\",\"sequence_num\":{number},\"events\":[{events}]}}")
    }

    /// Does what is asked, or says why not.
    fn obey(&mut self, request: &Request, now: i64, out: &mut Vec<Frame>) -> Result<(), String> {
        let subscribe = match request.kind.as_str() {
            "subscribe" => true,
            "unsubscribe" => false,
            other => return Err(format!("unknown message type {other}")),
        };
        let at = Timestamp::from_millis(now);
        let data = matches!(request.channel.as_str(), "ticker" | "market_trades");
        if subscribe && data && self.shared.faults.strikes(ExchangeId::Coinbase, FaultKind::Refuse, at) {
            return Err("subscription refused by a scripted fault".to_owned());
        }
        let find = |id: &String| {
            // Another name of a book is heard under the book's own: <https://github.com/ccxt/ccxt/pull/30567>
            let found = self.shared.market.named(ExchangeId::Coinbase, id);
            found
                .map(|listing| listing.book.unwrap_or(listing.index))
                .ok_or_else(|| format!("{id} is not a valid product"))
        };
        let products = request.product_ids.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        match request.channel.as_str() {
            "heartbeats" => self.beat = subscribe.then_some(now),
            "ticker" => {
                for index in products {
                    if subscribe {
                        let shared = Arc::clone(&self.shared);
                        let Some(listing) = shared.market.listing(index) else { continue };
                        self.tickers.insert(index, shared.market.book(listing, now));
                        if let Some(event) = ticker(&shared.market, listing, "snapshot", now) {
                            let message = self.message("ticker", &event, now);
                            out.push(Frame::Ticker(message));
                        }
                    } else {
                        self.tickers.remove(&index);
                    }
                }
            }
            "market_trades" => {
                for index in products {
                    if subscribe {
                        self.trades.insert(index);
                        let event = self.snapshot(index, now).unwrap_or_default();
                        let message = self.message("market_trades", &event, now);
                        out.push(Frame::Trade(message));
                    } else {
                        self.trades.remove(&index);
                    }
                }
            }
            other => return Err(format!("channel {other} is not simulated")),
        }
        Ok(())
    }

    /// The last trades, which are old.
    fn snapshot(&self, index: usize, now: i64) -> Option<String> {
        let market = &self.shared.market;
        let listing = market.listing(index)?;
        let mut trades: Vec<Trade> = Vec::new();
        for minute in (now / MINUTE - SNAPSHOT_MINUTES..=now / MINUTE).rev() {
            trades.splice(0..0, market.trades(listing, minute, now));
            if trades.len() >= SNAPSHOT_TRADES {
                break;
            }
        }
        let newest = trades.len().saturating_sub(SNAPSHOT_TRADES);
        Some(event(listing, &trades[newest..], "snapshot"))
    }

    /// All that the connection listens to.
    fn subscriptions(&mut self, now: i64) -> Frame {
        let market = &self.shared.market;
        let names = |indices: Vec<usize>| -> Vec<&str> {
            indices.into_iter().filter_map(|index| Some(market.listing(index)?.native)).collect()
        };
        let mut all = serde_json::Map::new();
        for (channel, products) in [
            ("ticker", names(self.tickers.keys().copied().collect())),
            ("market_trades", names(self.trades.iter().copied().collect())),
        ] {
            if !products.is_empty() {
                all.insert(channel.to_owned(), json!(products));
            }
        }
        if self.beat.is_some() {
            all.insert("heartbeats".to_owned(), json!(["heartbeats"]));
        }
        let event = json!({ "subscriptions": Value::Object(all) }).to_string();
        Frame::Reply(self.message("subscriptions", &event, now))
    }
}

impl Dialect for Feed {
    fn habits(&self) -> Habits {
        Habits {
            exchange: ExchangeId::Coinbase,
            // <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-rate-limits>
            connects: (8, 1_000),
            messages_per_second: Some(8),
            ping: None,
            max_age: None,
        }
    }

    fn open(&mut self, now: i64, _: &mut Vec<Frame>) {
        self.opened = now;
    }

    fn text(&mut self, text: &str, now: i64, out: &mut Vec<Frame>) -> Flow {
        let obeyed = match serde_json::from_str::<Request>(text) {
            Ok(request) => self.obey(&request, now, out),
            Err(error) => Err(format!("malformed request: {error}")),
        };
        match obeyed {
            Ok(()) => {
                self.has_asked = true;
                let answer = self.subscriptions(now);
                out.push(answer);
            }
            Err(message) => out.push(Frame::Reply(json!({ "type": "error", "message": message }).to_string())),
        }
        ControlFlow::Continue(())
    }

    fn instant(&mut self, at: i64, out: &mut Vec<Frame>) {
        // Numbered in the order in which the frames of a moment are sent: answers, trades, tickers.
        if self.beat.is_some_and(|last| at - last >= HEARTBEAT) {
            self.beat = Some(at);
            let event = json!({ "current_time": time(at), "heartbeat_counter": at / HEARTBEAT }).to_string();
            let message = self.message("heartbeats", &event, at);
            out.push(Frame::Reply(message));
        }
        let shared = Arc::clone(&self.shared);
        let market = &shared.market;
        // A message that gets lost on the way has its number all the same.
        let lost = shared.faults.lasts(ExchangeId::Coinbase, FaultKind::SkipCandle, Timestamp::from_millis(at));
        for index in self.trades.iter().copied().collect::<Vec<_>>() {
            let Some(listing) = market.listing(index) else { continue };
            let trades = market.trades_between(listing, at - INSTANT, at);
            if !trades.is_empty() {
                let message = self.message("market_trades", &event(listing, &trades, "update"), at);
                if !lost {
                    out.push(Frame::Trade(message));
                }
            }
        }
        for index in self.tickers.keys().copied().collect::<Vec<_>>() {
            let Some(listing) = market.listing(index) else { continue };
            let book = market.book(listing, at);
            if self.tickers.get(&index) != Some(&book) {
                self.tickers.insert(index, book);
                if let Some(event) = ticker(market, listing, "update", at) {
                    let message = self.message("ticker", &event, at);
                    out.push(Frame::Ticker(message));
                }
            }
        }
    }

    fn farewell(&mut self, _: i64, _: &mut Vec<Frame>) {
        // Coinbase announces nothing.
    }

    fn goes_on(&mut self, at: i64) -> Flow {
        if !self.has_asked && at - self.opened > FIRST_WORD {
            return ControlFlow::Break(End::Cut);
        }
        ControlFlow::Continue(())
    }
}

fn ticker(market: &Market, listing: &Listing, kind: &str, now: i64) -> Option<String> {
    let (day, book) = (market.day(listing, now)?, market.book(listing, now)?);
    let price = |ticks: i64| plain(listing.price(ticks));
    let amount = |steps: i64| plain(listing.amount(steps));
    Some(format!(
        "{{\"type\":\"{kind}\",\"tickers\":[{{\"type\":\"ticker\",\"product_id\":\"{}\",\"price\":\"{}\",\
         \"volume_24_h\":\"{}\",\"low_24_h\":\"{}\",\"high_24_h\":\"{}\",\"low_52_w\":\"{}\",\"high_52_w\":\"{}\",\
         \"price_percent_chg_24_h\":\"{}\",\"best_bid\":\"{}\",\"best_ask\":\"{}\",\"best_bid_quantity\":\"{}\",\
         \"best_ask_quantity\":\"{}\"}}]}}",
        listing.native,
        price(day.bar.close),
        amount(day.bar.volume),
        price(day.bar.low),
        price(day.bar.high),
        price(day.bar.low),
        price(day.bar.high),
        change(&day),
        price(book.bid),
        price(book.ask),
        amount(book.bid_size),
        amount(book.ask_size),
    ))
}

/// Trades of one market, newest first.
fn event(listing: &Listing, trades: &[Trade], kind: &str) -> String {
    let mut event = format!("{{\"type\":\"{kind}\",\"trades\":[");
    for (place, one) in trades.iter().rev().enumerate() {
        let _ = write!(event, "{}{}", if place == 0 { "" } else { "," }, trade(listing, one));
    }
    event.push_str("]}");
    event
}
