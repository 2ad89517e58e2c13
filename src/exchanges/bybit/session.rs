//! One connection to the WebSocket of Bybit. A stream is what Bybit calls a topic.

use std::collections::HashSet;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::json;

use super::profile::PROFILE;
use super::rest::{interval_by_name, statistics};
use super::symbols;
use super::wire::{Envelope, Message, OrderBook, StreamCandle, Ticker, Trade};
use crate::exchanges::codec::{self, Object, Rows, check_json, nonzero_price};
use crate::exchanges::feed::{FeedError, FeedSession, Frame, Notice, Outbox, Subscription};
use crate::exchanges::markets::{Market, Markets};
use crate::exchanges::pending::PendingRequests;
use crate::model::{
    BadEvent, Candle, CandleUpdate, Channel, ExchangeId, MarketEvent, Number, Series, Side, Source, TickerPatch,
    Timestamp,
};

/// Maximum number of streams per message: "Spot can input up to 10 args for each subscription request",
/// <https://bybit-exchange.github.io/docs/v5/ws/connect>
const STREAMS_PER_MESSAGE: usize = 10;

/// Maximum number of streams of one subscription: a ticker has two.
const MAX_STREAMS_PER_SUBSCRIPTION: usize = 2;

/// Time between pings: "We recommend client sends ping heartbeat packet every 20 seconds", on the same page.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// One connection.
pub(super) struct Session {
    /// Sent in `on_open`.
    subscriptions: Vec<Subscription>,
    /// Each market with its ticker, merged from statistics and order book.
    markets: Markets<TickerPatch>,
    pending: PendingRequests,
    last_ping: Timestamp,
    /// Streams that the exchange reports as already subscribed; each belongs to a subscription of this connection.
    already_subscribed: HashSet<String>,
}

/// The streams of one subscription.
fn stream_names(subscription: &Subscription) -> impl Iterator<Item = String> {
    let names: &'static [&'static str] = match subscription.channel {
        Channel::Ticker => &["tickers", "orderbook.1"],
        Channel::Trades => &["publicTrade"],
        Channel::Candles => &["kline.1"],
    };
    let symbol = subscription.instrument.stream_name().to_owned();
    names.iter().map(move |name| format!("{name}.{symbol}"))
}

/// Kinds of streams.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DataKind {
    Ticker,
    OrderBook,
    Trades,
    Candles,
    Other,
}

impl DataKind {
    /// By the name of a stream: `kline.1.BTCUSDT`.
    fn from_stream(stream: &str) -> Self {
        match stream.split_once('.') {
            Some(("tickers", _)) => Self::Ticker,
            Some(("orderbook", rest)) if rest.starts_with("1.") => Self::OrderBook,
            Some(("publicTrade", _)) => Self::Trades,
            Some(("kline", _)) => Self::Candles,
            _ => Self::Other,
        }
    }
}

impl Session {
    /// A session with initial subscriptions.
    pub fn new(subscriptions: Vec<Subscription>) -> Self {
        let markets = Markets::subscribed(&subscriptions);
        Self {
            subscriptions,
            markets,
            pending: PendingRequests::new(&PROFILE),
            last_ping: Timestamp::EPOCH,
            already_subscribed: HashSet::new(),
        }
    }

    /// A session that accepts frames of any market.
    pub fn decoder() -> Self {
        let markets = Markets::any(symbols::guess_symbol);
        Self {
            subscriptions: vec![],
            markets,
            pending: PendingRequests::new(&PROFILE),
            last_ping: Timestamp::EPOCH,
            already_subscribed: HashSet::new(),
        }
    }

    fn subscribe(&mut self, subscriptions: Vec<Subscription>, now: Timestamp, out: &mut Outbox) {
        let streams = subscriptions.iter().flat_map(stream_names);
        let streams: Vec<String> = streams.filter(|stream| !self.already_subscribed.contains(stream)).collect();
        let id = self.pending.add(subscriptions, now);
        out.frames.push(json!({"req_id": id.to_string(), "op": "subscribe", "args": streams}).to_string());
    }

    fn subscribe_all(&mut self, subscriptions: &[Subscription], now: Timestamp, out: &mut Outbox) {
        for part in subscriptions.chunks(STREAMS_PER_MESSAGE / MAX_STREAMS_PER_SUBSCRIPTION) {
            self.subscribe(part.to_vec(), now, out);
        }
    }

    /// Handles acknowledgements and rejections, and data with another order of members.
    #[cold]
    fn on_other_frame(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if text.trim_start().starts_with('[') {
            return check_json(text);
        }
        let frame: Envelope<'_> = codec::parse_frame(text)?;
        if let Some(stream) = frame.topic.as_deref() {
            return self.on_data(stream, text, received, out);
        }
        let id = frame.req_id.as_deref().and_then(|id| id.parse().ok()).or_else(|| self.pending.oldest_id());
        match (frame.op.as_deref(), frame.success, id) {
            (Some("subscribe"), Some(true), Some(id)) => self.on_ack(id, out),
            (Some("subscribe"), Some(false), Some(id)) => {
                let reason = frame.ret_msg.as_deref().unwrap_or("no reason");
                match reason.split_once("already subscribed,topic:") {
                    // Terminates: each such rejection names a stream that was not named before.
                    Some((_, stream)) if !self.already_subscribed.contains(stream.trim()) => {
                        self.on_already_subscribed(id, stream.trim(), received, out);
                    }
                    Some(_) => self.on_ack(id, out),
                    None => self.on_rejection(id, reason, received, out),
                }
            }
            // The response to a ping or to an unsubscribe request.
            _ => {}
        }
        Ok(())
    }

    /// The exchange rejects a request because one of its streams is subscribed already:
    /// `error:already subscribed,topic:tickers.BTCUSDT`, as seen in <https://github.com/sieblyio/bybit-api/issues/477>.
    /// Whether it accepted the other streams of the request is unknown: they are requested again, without this one.
    fn on_already_subscribed(&mut self, id: u64, stream: &str, now: Timestamp, out: &mut Outbox) {
        let mut rejected = self.pending.take(id).unwrap_or_default();
        rejected.retain(|subscription| self.markets.is_subscribed(subscription));
        let is_requested = rejected.iter().flat_map(stream_names).any(|requested| requested == stream);
        if is_requested {
            self.already_subscribed.insert(stream.to_owned());
        }
        // If the stream is not part of the request, another request would get the same response.
        let (missing, acknowledged): (Vec<_>, Vec<_>) = rejected.into_iter().partition(|subscription| {
            is_requested && stream_names(subscription).any(|stream| !self.already_subscribed.contains(&stream))
        });
        if !acknowledged.is_empty() {
            out.notices.push(Notice::Acknowledged(acknowledged));
        }
        if !missing.is_empty() {
            self.subscribe(missing, now, out);
        }
    }

    /// The exchange acknowledged a request.
    fn on_ack(&mut self, id: u64, out: &mut Outbox) {
        let mut acknowledged = self.pending.take(id).unwrap_or_default();
        acknowledged.retain(|subscription| self.markets.is_subscribed(subscription));
        if !acknowledged.is_empty() {
            out.notices.push(Notice::Acknowledged(acknowledged));
        }
    }

    /// The exchange rejected a request. If it has several subscriptions, each is requested again separately, to find
    /// those that the exchange rejects.
    fn on_rejection(&mut self, id: u64, reason: &str, now: Timestamp, out: &mut Outbox) {
        let mut rejected = self.pending.take(id).unwrap_or_default();
        rejected.retain(|subscription| self.markets.is_subscribed(subscription));
        if rejected.len() > 1 {
            for subscription in rejected {
                self.subscribe(vec![subscription], now, out);
            }
        } else if let Some(subscription) = rejected.pop() {
            self.markets.remove(&subscription);
            out.notices.push(Notice::Rejected { subscription, reason: reason.to_owned() });
        }
    }

    /// Handles data of a stream.
    fn on_data(&mut self, stream: &str, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let result = match DataKind::from_stream(stream) {
            DataKind::Ticker => self.on_ticker(&codec::parse_frame(text)?, received, out),
            DataKind::OrderBook => {
                self.on_order_book(&codec::parse_frame(text)?, received, out).map_err(|error| error.to_string())
            }
            DataKind::Trades => return self.on_trades(text, received, out),
            DataKind::Candles => return self.on_candles(stream, text, received, out),
            DataKind::Other => return check_json(text),
        };
        result.map_err(|what| FeedError::malformed(what, text))
    }

    fn on_ticker(
        &mut self,
        message: &Message<'_, Object<Ticker<'_>>>,
        received: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), String> {
        let (row, is_delta) = (&message.data, message.kind.as_deref() == Some("delta"));
        // A ticker of a derivative, which has a mark price and deltas.
        if row.mark_price.is_some() || is_delta {
            return Ok(());
        }
        let Some(market) = self.markets.get(&row.symbol, Channel::Ticker) else { return Ok(()) };
        let TickerPatch { bid, bid_size, ask, ask_size, timestamp, .. } = market.state;
        let patch = statistics(row);
        if patch == TickerPatch::default() {
            return Err("a ticker without values".to_owned());
        }
        let values = TickerPatch { bid, bid_size, ask, ask_size, timestamp, ..patch };
        push_ticker(market, values, message.ts.millis(), received, out).map_err(|error| error.to_string())
    }

    fn on_order_book(
        &mut self,
        message: &Message<'_, Object<OrderBook<'_>>>,
        received: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), BadEvent> {
        let is_delta = message.kind.as_deref() == Some("delta");
        let Some(market) = self.markets.get(&message.data.s, Channel::Ticker) else { return Ok(()) };
        let mut values = market.state;
        // A delta does not name an unchanged side.
        if let Some((bid, size)) = best_level(&message.data.b, is_delta) {
            (values.bid, values.bid_size) = (bid, size);
        }
        if let Some((ask, size)) = best_level(&message.data.a, is_delta) {
            (values.ask, values.ask_size) = (ask, size);
        }
        push_ticker(market, values, message.ts.millis(), received, out)
    }

    fn on_trades(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let (message, invalid): (Message<'_, Rows<Object<Trade<'_>>>>, _) = codec::parse_rows(text)?;
        let mut result = Ok(());
        for row in message.data.iter() {
            if let (Ok(()), Err(what)) = (&result, self.on_trade(row, received, out)) {
                result = Err(FeedError::malformed(what, text));
            }
        }
        result.and_then(|()| codec::first_error(&invalid))
    }

    fn on_trade(&mut self, row: &Trade<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), String> {
        if row.tick_direction.is_some() {
            return Ok(());
        }
        let Some(market) = self.markets.get(&row.s, Channel::Trades) else { return Ok(()) };
        let trade = crate::model::Trade {
            exchange: ExchangeId::Bybit,
            symbol: market.symbol.clone(),
            id: row.id.as_ref().into(),
            price: row.p.0,
            amount: row.v.0,
            side: match &*row.side {
                "Buy" => Side::Buy,
                "Sell" => Side::Sell,
                other => return Err(format!("unknown side {other:?}")),
            },
            timestamp: row.at.millis(),
        };
        out.push_event(MarketEvent::Trade(trade), received).map_err(|error| error.to_string())
    }

    fn on_candles(&mut self, stream: &str, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let (message, invalid): (Message<'_, Rows<Object<StreamCandle<'_>>>>, _) = codec::parse_rows(text)?;
        let native = stream.rsplit('.').next().unwrap_or("");
        let Some(market) = self.markets.get(native, Channel::Candles) else { return Ok(()) };
        let mut result = Ok(());
        for row in message.data.iter() {
            let Some(interval) = interval_by_name(&row.interval) else { continue };
            let candle = Candle {
                timestamp: row.start.millis(),
                open: row.open.0,
                high: row.high.0,
                low: row.low.0,
                close: row.close.0,
                volume: row.volume.0,
                quote_volume: Some(row.turnover.0),
                trades: None,
                closed: row.confirm,
                revision: 0,
            };
            let series = Series { exchange: ExchangeId::Bybit, symbol: market.symbol.clone(), interval };
            if let Err(error) = out.push_event(MarketEvent::Candle(CandleUpdate { series, candle }), received) {
                result = Err(FeedError::malformed(error, text));
            }
        }
        result.and_then(|()| codec::first_error(&invalid))
    }
}

/// The best level of a side, `(None, None)` if the side is empty; `None` if a delta does not name the side.
fn best_level(rows: &Rows<(Number, Number)>, is_delta: bool) -> Option<(Option<Decimal>, Option<Decimal>)> {
    if is_delta && rows.first.is_none() {
        return None;
    }
    let level = rows.iter().find(|(_, size)| !size.0.is_zero());
    Some(level.and_then(|(price, size)| Some((nonzero_price(*price)?, size.0))).unzip())
}

/// Adds a ticker event, and stores its values if they are valid.
fn push_ticker(
    market: &mut Market<TickerPatch>,
    mut values: TickerPatch,
    at: Timestamp,
    received_at: Timestamp,
    out: &mut Outbox,
) -> Result<(), BadEvent> {
    values.update_timestamp(at);
    let (exchange, symbol) = (ExchangeId::Bybit, market.symbol.clone());
    let ticker = crate::model::Ticker { exchange, symbol, values, received_at, source: Source::Stream };
    out.push_event(MarketEvent::Ticker(ticker), received_at)?;
    market.state = values;
    Ok(())
}

impl FeedSession for Session {
    fn on_open(&mut self, now: Timestamp, out: &mut Outbox) {
        self.last_ping = now;
        let subscriptions = std::mem::take(&mut self.subscriptions);
        self.subscribe_all(&subscriptions, now, out);
    }

    fn update_subscriptions(
        &mut self,
        add: &[Subscription],
        remove: &[Subscription],
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let removed: Vec<&Subscription> = remove.iter().filter(|one| self.markets.remove(one)).collect();
        let streams: Vec<String> = removed.into_iter().flat_map(stream_names).collect();
        for stream in &streams {
            self.already_subscribed.remove(stream);
        }
        for part in streams.chunks(STREAMS_PER_MESSAGE) {
            let id = self.pending.next_id(now).to_string();
            out.frames.push(json!({"req_id": id, "op": "unsubscribe", "args": part}).to_string());
        }
        let added: Vec<Subscription> = add.iter().filter(|one| self.markets.add(one)).cloned().collect();
        self.subscribe_all(&added, now, out);
    }

    fn on_frame(&mut self, frame: Frame<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let Frame::Text(text) = frame else { return Ok(()) };
        // Most frames start with the stream name, some after the type, which allows parsing the rows in one pass as
        // their own type.
        let rest = text.strip_prefix("{\"type\":\"snapshot\",").or_else(|| text.strip_prefix('{')).unwrap_or(text);
        let stream = rest.strip_prefix("\"topic\":\"").and_then(|rest| rest.split_once('"'));
        match stream {
            Some((stream, _)) => self.on_data(stream, text, received, out),
            None => self.on_other_frame(text, received, out),
        }
    }

    fn on_timer(&mut self, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if now.since(self.last_ping) >= PING_INTERVAL {
            self.last_ping = now;
            let id = self.pending.next_id(now).to_string();
            out.frames.push(json!({"req_id": id, "op": "ping"}).to_string());
        }
        self.pending.check_deadlines(now)
    }
}
