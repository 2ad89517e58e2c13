//! Coinbase's WebSocket.
//! <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels>

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{ExchangeId, Timestamp};
use crate::simulator::catalog::Listing;
use crate::simulator::corrupt::{self, CANDLE_ROW};
use crate::simulator::faults::FaultKind;
use crate::simulator::market::{Market, TopOfBook};
use crate::simulator::shared::Shared;
use crate::simulator::socket::{Disconnect, Flow, Frame, SocketRules, StreamProtocol, TICK};
use crate::simulator::trades::{MINUTE, Trade};

use super::format::{change_percent, format_decimal, format_time, trade_json};

/// Trades in a snapshot. The number is not documented; observed snapshots had several dozen.
const SNAPSHOT_TRADES: usize = 50;
/// How far back the trades of a snapshot are searched, in minutes.
const SNAPSHOT_MINUTES: i64 = 60;
/// "You must send a subscribe message within 5 seconds", in milliseconds.
const SUBSCRIBE_TIMEOUT: i64 = 5_000;
/// Interval of heartbeats in milliseconds.
const HEARTBEAT_INTERVAL: i64 = 1_000;

/// One connection to Coinbase.
pub(super) struct Feed {
    shared: Arc<Shared>,
    /// Subscribed tickers: by listing, the last published order book.
    tickers: BTreeMap<usize, Option<TopOfBook>>,
    /// Subscribed trades, by listing.
    trades: BTreeSet<usize>,
    /// Time of the last heartbeat in Unix milliseconds; `None` without a heartbeat subscription.
    last_heartbeat: Option<i64>,
    opened: i64,
    has_subscribed: bool,
    /// Sequence number of the next message.
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
            last_heartbeat: None,
            opened: 0,
            has_subscribed: false,
            sequence: 0,
        }
    }

    /// A message with the next sequence number.
    fn message(&mut self, channel: &str, events: &str, now: i64) -> String {
        let number = self.sequence;
        self.sequence += 1;
        let at = format_time(now);
        format!("{{\"channel\":\"{channel}\",\"timestamp\":\"{at}\",\"sequence_num\":{number},\"events\":[{events}]}}")
    }

    /// Subscribes or unsubscribes. Returns the message of the error otherwise.
    fn handle_request(&mut self, request: &Request, now: i64, out: &mut Vec<Frame>) -> Result<(), String> {
        let subscribe = match request.kind.as_str() {
            "subscribe" => true,
            "unsubscribe" => false,
            other => return Err(format!("unknown message type {other}")),
        };
        let at = Timestamp::from_millis(now);
        let is_data = matches!(request.channel.as_str(), "ticker" | "market_trades");
        if subscribe && is_data && self.shared.faults.trigger(ExchangeId::COINBASE, FaultKind::Refuse, at) {
            return Err("subscription refused by a scripted fault".to_owned());
        }
        let find = |id: &String| {
            // Data of an alias have the product id of its original: <https://github.com/ccxt/ccxt/pull/30567>
            let found = self.shared.market.find_by_name(ExchangeId::COINBASE, id);
            found
                .map(|listing| listing.alias_of.unwrap_or(listing.index))
                .ok_or_else(|| format!("{id} is not a valid product"))
        };
        let products = request.product_ids.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        match request.channel.as_str() {
            "heartbeats" => self.last_heartbeat = subscribe.then_some(now),
            "ticker" => {
                for index in products {
                    if subscribe {
                        let shared = Arc::clone(&self.shared);
                        let Some(listing) = shared.market.listing(index) else { continue };
                        self.tickers.insert(index, shared.market.top_of_book(listing, now));
                        if let Some(event) = ticker_event(&shared.market, listing, "snapshot", now) {
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
                        let event = self.trade_snapshot(index, now).unwrap_or_default();
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

    /// The last trades before the subscription.
    fn trade_snapshot(&self, index: usize, now: i64) -> Option<String> {
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
        Some(trades_event(listing, &trades[newest..], "snapshot"))
    }

    /// The confirmation that lists all subscriptions of the connection.
    fn subscriptions_message(&mut self, now: i64) -> Frame {
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
        if self.last_heartbeat.is_some() {
            all.insert("heartbeats".to_owned(), json!(["heartbeats"]));
        }
        let event = json!({ "subscriptions": Value::Object(all) }).to_string();
        Frame::Control(self.message("subscriptions", &event, now))
    }
}

impl StreamProtocol for Feed {
    fn rules(&self) -> SocketRules {
        SocketRules {
            exchange: ExchangeId::COINBASE,
            // <https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-rate-limits>
            connection_limit: (8, 1_000),
            messages_per_second: Some(8),
            ping: None,
            max_age: None,
        }
    }

    fn on_open(&mut self, now: i64, _: &mut Vec<Frame>) {
        self.opened = now;
    }

    fn on_text(&mut self, text: &str, now: i64, out: &mut Vec<Frame>) -> Flow {
        let result = match serde_json::from_str::<Request>(text) {
            Ok(request) => self.handle_request(&request, now, out),
            Err(error) => Err(format!("malformed request: {error}")),
        };
        match result {
            Ok(()) => {
                self.has_subscribed = true;
                let confirmation = self.subscriptions_message(now);
                out.push(confirmation);
            }
            Err(message) => out.push(Frame::Control(json!({ "type": "error", "message": message }).to_string())),
        }
        ControlFlow::Continue(())
    }

    fn on_tick(&mut self, at: i64, out: &mut Vec<Frame>) {
        // Sequence numbers follow the order in which the frames of a tick are sent: control, trades, tickers.
        if self.last_heartbeat.is_some_and(|last| at - last >= HEARTBEAT_INTERVAL) {
            self.last_heartbeat = Some(at);
            let event =
                json!({ "current_time": format_time(at), "heartbeat_counter": at / HEARTBEAT_INTERVAL }).to_string();
            let message = self.message("heartbeats", &event, at);
            out.push(Frame::Control(message));
        }
        let shared = Arc::clone(&self.shared);
        let market = &shared.market;
        // A lost message has a sequence number all the same.
        let is_lost = shared.faults.is_active(ExchangeId::COINBASE, FaultKind::SkipCandle, Timestamp::from_millis(at));
        for index in self.trades.iter().copied().collect::<Vec<_>>() {
            let Some(listing) = market.listing(index) else { continue };
            let trades = market.trades_between(listing, at - TICK, at);
            if !trades.is_empty() {
                let message = self.message("market_trades", &trades_event(listing, &trades, "update"), at);
                if !is_lost {
                    out.push(Frame::Trade(message));
                }
            }
        }
        for index in self.tickers.keys().copied().collect::<Vec<_>>() {
            let Some(listing) = market.listing(index) else { continue };
            let book = market.top_of_book(listing, at);
            if self.tickers.get(&index) != Some(&book) {
                self.tickers.insert(index, book);
                if let Some(event) = ticker_event(market, listing, "update", at) {
                    let message = self.message("ticker", &event, at);
                    out.push(Frame::Ticker(message));
                }
            }
        }
    }

    fn with_candle_row(&self, text: &str) -> String {
        corrupt::replace_data(text, "events", &format!("[{CANDLE_ROW}]"))
    }

    fn announce_shutdown(&mut self, _: i64, _: &mut Vec<Frame>) {
        // Coinbase sends no notice.
    }

    fn check_timeouts(&mut self, at: i64) -> Flow {
        if !self.has_subscribed && at - self.opened > SUBSCRIBE_TIMEOUT {
            return ControlFlow::Break(Disconnect::Abort);
        }
        ControlFlow::Continue(())
    }
}

fn ticker_event(market: &Market, listing: &Listing, kind: &str, now: i64) -> Option<String> {
    let (day, book) = (market.day_statistics(listing, now)?, market.top_of_book(listing, now)?);
    let price = |ticks: i64| format_decimal(listing.price(ticks));
    let amount = |steps: i64| format_decimal(listing.amount(steps));
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
        change_percent(&day),
        price(book.bid),
        price(book.ask),
        amount(book.bid_size),
        amount(book.ask_size),
    ))
}

/// Trades of one market, newest first.
fn trades_event(listing: &Listing, trades: &[Trade], kind: &str) -> String {
    let mut event = format!("{{\"type\":\"{kind}\",\"trades\":[");
    for (index, one) in trades.iter().rev().enumerate() {
        let _ = write!(event, "{}{}", if index == 0 { "" } else { "," }, trade_json(listing, one));
    }
    event.push_str("]}");
    event
}
