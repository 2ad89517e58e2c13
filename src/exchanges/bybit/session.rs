//! One connection to Bybit's WebSocket.

use std::collections::HashSet;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::json;

use super::super::codec::{self, Named, Rows, json_at_least, price};
use super::super::markets::{Market, Markets};
use super::super::pending::Pending;
use super::super::{FeedError, FeedSession, Frame, Notice, Outbox, Subscription};
use super::rest::{interval_named, statistics};
use super::wire::{Book, Envelope, Kline, Message, Ticker, Trade};
use super::{PROFILE, symbols};
use crate::model::{
    BadEvent, Candle, CandleUpdate, Channel, ExchangeId, MarketEvent, Number, Series, Side, Source, TickerPatch,
    Timestamp,
};

/// "Spot can input up to 10 args for each subscription request": <https://bybit-exchange.github.io/docs/v5/ws/connect>
const ARGS_PER_MESSAGE: usize = 10;

/// Topics of one subscription: a ticker comes together from two.
const ARGS_PER_SUBSCRIPTION: usize = 2;

/// "We recommend client sends ping heartbeat packet every 20 seconds", on the same page.
const PING_EVERY: Duration = Duration::from_secs(20);

/// One connection.
pub(super) struct Session {
    subscriptions: Vec<Subscription>,
    /// Each with its ticker as it comes together from statistics and book.
    markets: Markets<TickerPatch>,
    pending: Pending,
    pinged: Timestamp,
    /// Topics that the exchange says it had already; each belongs to a subscription of this connection.
    already: HashSet<String>,
}

/// The topics of one subscription.
fn topics(subscription: &Subscription) -> impl Iterator<Item = String> {
    let names: &'static [&'static str] = match subscription.channel {
        Channel::Ticker => &["tickers", "orderbook.1"],
        Channel::Trades => &["publicTrade"],
        Channel::Candles => &["kline.1"],
    };
    let symbol = subscription.instrument.stream_name().to_owned();
    names.iter().map(move |name| format!("{name}.{symbol}"))
}

/// What a topic carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ticker,
    Book,
    Trades,
    Candles,
    Other,
}

impl Kind {
    fn of(topic: &str) -> Self {
        match topic.split_once('.') {
            Some(("tickers", _)) => Self::Ticker,
            Some(("orderbook", rest)) if rest.starts_with("1.") => Self::Book,
            Some(("publicTrade", _)) => Self::Trades,
            Some(("kline", _)) => Self::Candles,
            _ => Self::Other,
        }
    }
}

impl Session {
    /// A session that subscribes to these.
    pub fn new(subscriptions: Vec<Subscription>) -> Self {
        let markets = Markets::listed(&subscriptions);
        Self {
            subscriptions,
            markets,
            pending: Pending::new(&PROFILE),
            pinged: Timestamp::EPOCH,
            already: HashSet::new(),
        }
    }

    /// A session for frames of any market.
    pub fn decoder() -> Self {
        let markets = Markets::guessed(symbols::guess);
        Self {
            subscriptions: vec![],
            markets,
            pending: Pending::new(&PROFILE),
            pinged: Timestamp::EPOCH,
            already: HashSet::new(),
        }
    }

    fn subscribe(&mut self, subscriptions: Vec<Subscription>, now: Timestamp, out: &mut Outbox) {
        let args = subscriptions.iter().flat_map(topics).filter(|topic| !self.already.contains(topic));
        let args: Vec<String> = args.collect();
        let id = self.pending.request(subscriptions, now);
        out.frames.push(json!({"req_id": id.to_string(), "op": "subscribe", "args": args}).to_string());
    }

    fn subscribe_all(&mut self, subscriptions: &[Subscription], now: Timestamp, out: &mut Outbox) {
        for part in subscriptions.chunks(ARGS_PER_MESSAGE / ARGS_PER_SUBSCRIPTION) {
            self.subscribe(part.to_vec(), now, out);
        }
    }

    /// Answers, and data whose members stand in another order than usual.
    #[cold]
    fn other_frame(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if text.trim_start().starts_with('[') {
            return json_at_least(text);
        }
        let frame: Envelope<'_> = codec::frame(text)?;
        if let Some(topic) = frame.topic.as_deref() {
            return self.data(topic, text, received, out);
        }
        let id = frame.req_id.as_deref().and_then(|id| id.parse().ok()).or_else(|| self.pending.oldest());
        match (frame.op.as_deref(), frame.success, id) {
            (Some("subscribe"), Some(true), Some(id)) => self.confirmed(id, out),
            (Some("subscribe"), Some(false), Some(id)) => {
                let reason = frame.ret_msg.as_deref().unwrap_or("no reason");
                match reason.split_once("already subscribed,topic:") {
                    // Each such answer names one that was not named before, so that this ends.
                    Some((_, topic)) if !self.already.contains(topic.trim()) => {
                        self.already(id, topic.trim(), received, out);
                    }
                    Some(_) => self.confirmed(id, out),
                    None => self.refused(id, reason, received, out),
                }
            }
            // An answer to a ping, or to leaving something.
            _ => {}
        }
        Ok(())
    }

    /// The exchange has a topic of a request already: `error:already subscribed,topic:tickers.BTCUSDT`, as seen by
    /// <https://github.com/sieblyio/bybit-api/issues/477>. Whether it took the other topics of the request is not known: they
    /// are asked for again, without this one.
    fn already(&mut self, id: u64, topic: &str, now: Timestamp, out: &mut Outbox) {
        let mut answered = self.pending.answered(id).unwrap_or_default();
        answered.retain(|subscription| self.markets.wants(subscription));
        let asked_for = answered.iter().flat_map(topics).any(|asked| asked == topic);
        if asked_for {
            self.already.insert(topic.to_owned());
        }
        // Without a topic that was asked for, asking again would be answered in the same way again.
        let (missing, there): (Vec<_>, Vec<_>) =
            answered.into_iter().partition(|one| asked_for && topics(one).any(|topic| !self.already.contains(&topic)));
        if !there.is_empty() {
            out.notices.push(Notice::Confirmed(there));
        }
        if !missing.is_empty() {
            self.subscribe(missing, now, out);
        }
    }

    /// The exchange took a request.
    fn confirmed(&mut self, id: u64, out: &mut Outbox) {
        let mut answered = self.pending.answered(id).unwrap_or_default();
        answered.retain(|subscription| self.markets.wants(subscription));
        if !answered.is_empty() {
            out.notices.push(Notice::Confirmed(answered));
        }
    }

    /// The exchange refused a request. Where it held several subscriptions, each is asked for on its own, so that the
    /// good ones come and the bad ones are named.
    fn refused(&mut self, id: u64, reason: &str, now: Timestamp, out: &mut Outbox) {
        let mut answered = self.pending.answered(id).unwrap_or_default();
        answered.retain(|subscription| self.markets.wants(subscription));
        if answered.len() > 1 {
            for subscription in answered {
                self.subscribe(vec![subscription], now, out);
            }
        } else if let Some(subscription) = answered.pop() {
            self.markets.remove(&subscription);
            out.notices.push(Notice::Refused { subscription, reason: reason.to_owned() });
        }
    }

    fn data(&mut self, topic: &str, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let told = match Kind::of(topic) {
            Kind::Ticker => self.ticker(&codec::frame(text)?, received, out),
            Kind::Book => self.book(&codec::frame(text)?, received, out).map_err(|error| error.to_string()),
            Kind::Trades => return self.trades(text, received, out),
            Kind::Candles => return self.candles(topic, text, received, out),
            Kind::Other => return json_at_least(text),
        };
        told.map_err(|what| FeedError::malformed(what, text))
    }

    fn ticker(
        &mut self,
        message: &Message<'_, Named<Ticker<'_>>>,
        received: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), String> {
        let (row, is_delta) = (&message.data, message.kind.as_deref() == Some("delta"));
        // A derivative's, which comes in parts and has a mark price.
        if row.mark_price.is_some() || is_delta {
            return Ok(());
        }
        let Some(market) = self.markets.get(&row.symbol, Channel::Ticker) else { return Ok(()) };
        let TickerPatch { bid, bid_size, ask, ask_size, timestamp, .. } = market.state;
        let read = statistics(row);
        if read == TickerPatch::default() {
            return Err("a ticker without any value".to_owned());
        }
        let values = TickerPatch { bid, bid_size, ask, ask_size, timestamp, ..read };
        tell_ticker(market, values, message.ts.millis(), received, out).map_err(|error| error.to_string())
    }

    fn book(
        &mut self,
        message: &Message<'_, Named<Book<'_>>>,
        received: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), BadEvent> {
        let is_delta = message.kind.as_deref() == Some("delta");
        let Some(market) = self.markets.get(&message.data.s, Channel::Ticker) else { return Ok(()) };
        let mut values = market.state;
        // A side that a delta does not name is as it was.
        if let Some((bid, size)) = best(&message.data.b, is_delta) {
            (values.bid, values.bid_size) = (bid, size);
        }
        if let Some((ask, size)) = best(&message.data.a, is_delta) {
            (values.ask, values.ask_size) = (ask, size);
        }
        tell_ticker(market, values, message.ts.millis(), received, out)
    }

    fn trades(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let (message, bad): (Message<'_, Rows<Named<Trade<'_>>>>, _) = codec::rows(text)?;
        let mut result = Ok(());
        for row in message.data.iter() {
            if let (Ok(()), Err(what)) = (&result, self.trade(row, received, out)) {
                result = Err(FeedError::malformed(what, text));
            }
        }
        result.and_then(|()| codec::first_bad(&bad))
    }

    fn trade(&mut self, row: &Trade<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), String> {
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
        out.event(MarketEvent::Trade(trade), received).map_err(|error| error.to_string())
    }

    fn candles(&mut self, topic: &str, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let (message, bad): (Message<'_, Rows<Named<Kline<'_>>>>, _) = codec::rows(text)?;
        let native = topic.rsplit('.').next().unwrap_or("");
        let Some(market) = self.markets.get(native, Channel::Candles) else { return Ok(()) };
        let mut result = Ok(());
        for row in message.data.iter() {
            let Some(interval) = interval_named(&row.interval) else { continue };
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
            if let Err(error) = out.event(MarketEvent::Candle(CandleUpdate { series, candle }), received) {
                result = Err(FeedError::malformed(error, text));
            }
        }
        result.and_then(|()| codec::first_bad(&bad))
    }
}

/// The best level of a side, `(None, None)` where the side is empty; `None` where a delta does not name the side.
fn best(rows: &Rows<(Number, Number)>, is_delta: bool) -> Option<(Option<Decimal>, Option<Decimal>)> {
    if is_delta && rows.first.is_none() {
        return None;
    }
    let level = rows.iter().find(|(_, size)| !size.0.is_zero());
    Some(level.and_then(|(at, size)| Some((price(*at)?, size.0))).unzip())
}

/// Tells a ticker, and remembers its values if they can be true.
fn tell_ticker(
    market: &mut Market<TickerPatch>,
    mut values: TickerPatch,
    at: Timestamp,
    received_at: Timestamp,
    out: &mut Outbox,
) -> Result<(), BadEvent> {
    values.told_at(at);
    let (exchange, symbol) = (ExchangeId::Bybit, market.symbol.clone());
    let ticker = crate::model::Ticker { exchange, symbol, values, received_at, source: Source::Stream };
    out.event(MarketEvent::Ticker(ticker), received_at)?;
    market.state = values;
    Ok(())
}

impl FeedSession for Session {
    fn on_open(&mut self, now: Timestamp, out: &mut Outbox) {
        self.pinged = now;
        let subscriptions = std::mem::take(&mut self.subscriptions);
        self.subscribe_all(&subscriptions, now, out);
    }

    fn change(&mut self, add: &[Subscription], remove: &[Subscription], now: Timestamp, out: &mut Outbox) {
        let gone: Vec<&Subscription> = remove.iter().filter(|one| self.markets.remove(one)).collect();
        let args: Vec<String> = gone.into_iter().flat_map(topics).collect();
        for topic in &args {
            self.already.remove(topic);
        }
        for part in args.chunks(ARGS_PER_MESSAGE) {
            let id = self.pending.id(now).to_string();
            out.frames.push(json!({"req_id": id, "op": "unsubscribe", "args": part}).to_string());
        }
        let new: Vec<Subscription> = add.iter().filter(|one| self.markets.add(one)).cloned().collect();
        self.subscribe_all(&new, now, out);
    }

    fn on_frame(&mut self, frame: Frame<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let Frame::Text(text) = frame else { return Ok(()) };
        // Frames begin with their topic, some after their type, so that the rows are read in one pass by their own type.
        let rest = text.strip_prefix("{\"type\":\"snapshot\",").or_else(|| text.strip_prefix('{')).unwrap_or(text);
        let topic = rest.strip_prefix("\"topic\":\"").and_then(|rest| rest.split_once('"'));
        match topic {
            Some((topic, _)) => self.data(topic, text, received, out),
            None => self.other_frame(text, received, out),
        }
    }

    fn on_timer(&mut self, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if now.since(self.pinged) >= PING_EVERY {
            self.pinged = now;
            let id = self.pending.id(now).to_string();
            out.frames.push(json!({"req_id": id, "op": "ping"}).to_string());
        }
        self.pending.check(now)
    }
}
