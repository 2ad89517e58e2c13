//! One connection to the WebSocket v2 of Kraken.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use super::profile::PROFILE;
use super::rest::interval_by_minutes;
use super::symbols;
use super::wire::{Envelope, Message, StreamCandle, Ticker, Trade};
use crate::exchanges::codec::{self, Object, check_json, nonzero_price};
use crate::exchanges::feed::{FeedError, FeedSession, Frame, Notice, Outbox, Recovery, Subscription};
use crate::exchanges::markets::Markets;
use crate::exchanges::pending::PendingRequests;
use crate::model::{
    Candle, CandleUpdate, Channel, ExchangeId, MarketEvent, Number, Series, Side, Source, TickerPatch, Timestamp,
};

/// Maximum number of subscriptions per message.
const SUBSCRIPTIONS_PER_MESSAGE: usize = 50;

/// Time between pings. The exchange may close the connection of a client that is silent for a minute:
/// <https://docs.kraken.com/api/docs/websocket-v2/ping>.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Delay before a reconnect after too many messages.
const RECONNECT_DELAY: Duration = Duration::from_secs(5);

/// One connection.
pub(super) struct Session {
    /// Sent in `on_open`.
    subscriptions: Vec<Subscription>,
    markets: Markets<()>,
    pending: PendingRequests,
    last_ping: Timestamp,
}

/// Kraken's name of a channel.
const fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Ticker => "ticker",
        Channel::Trades => "trade",
        Channel::Candles => "ohlc",
    }
}

fn channel_by_name(name: &str) -> Option<Channel> {
    Channel::ALL.into_iter().find(|channel| channel_name(*channel) == name)
}

/// A request to subscribe or unsubscribe symbols of one channel.
fn request_frame(method: &str, channel: Channel, symbols: &[&str], id: u64) -> String {
    let mut params = json!({"channel": channel_name(channel), "symbol": symbols});
    match channel {
        // The default sends updates for trades only, and so misses most changes of the order book.
        Channel::Ticker => params["event_trigger"] = "bbo".into(),
        // Trades of a snapshot are old and must not count towards a candle.
        Channel::Trades if method == "subscribe" => params["snapshot"] = false.into(),
        Channel::Trades => {}
        Channel::Candles => params["interval"] = 1.into(),
    }
    json!({"method": method, "params": params, "req_id": id}).to_string()
}

impl Session {
    /// A session with initial subscriptions.
    pub fn new(subscriptions: Vec<Subscription>) -> Self {
        let markets = Markets::subscribed(&subscriptions);
        Self { subscriptions, markets, pending: PendingRequests::new(&PROFILE), last_ping: Timestamp::EPOCH }
    }

    /// A session that accepts frames of any market.
    pub fn decoder() -> Self {
        let markets = Markets::any(symbols::guess_symbol);
        Self { subscriptions: vec![], markets, pending: PendingRequests::new(&PROFILE), last_ping: Timestamp::EPOCH }
    }

    /// Subscribes to one channel of several markets.
    fn subscribe(&mut self, subscriptions: &[Subscription], now: Timestamp, out: &mut Outbox) {
        let Some(channel) = subscriptions.first().map(|first| first.channel) else { return };
        let id = self.pending.add(subscriptions.to_vec(), now);
        let symbols: Vec<&str> = subscriptions.iter().map(|one| one.instrument.stream_name()).collect();
        out.frames.push(request_frame("subscribe", channel, &symbols, id));
    }

    fn subscribe_all(&mut self, subscriptions: &[Subscription], now: Timestamp, out: &mut Outbox) {
        for channel in Channel::ALL {
            let of_channel: Vec<_> = subscriptions.iter().filter(|one| one.channel == channel).cloned().collect();
            for part in of_channel.chunks(SUBSCRIPTIONS_PER_MESSAGE) {
                self.subscribe(part, now, out);
            }
        }
    }

    /// Handles acknowledgements and rejections, and data with another order of members.
    #[cold]
    fn on_other_frame(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if text.trim_start().starts_with('[') {
            return check_json(text);
        }
        let frame: Envelope<'_> = codec::parse_frame(text)?;
        if let Some(channel) = frame.channel.as_deref() {
            // "Sent approximately once every second in the absence of any other channel updates":
            // <https://docs.kraken.com/api/docs/websocket-v2/heartbeat>
            if channel == "heartbeat" {
                out.notices.push(Notice::Heartbeat);
            }
            return channel_by_name(channel).map_or(Ok(()), |channel| self.on_data(channel, text, received, out));
        }
        match (frame.method.as_deref(), frame.error.as_deref()) {
            (Some("subscribe"), None) if frame.success != Some(false) => {
                self.on_ack(&frame, out);
                Ok(())
            }
            // The response to an unsubscribe request or a ping, or a message without relevance.
            (Some("unsubscribe" | "ping"), _) | (_, None) => Ok(()),
            (_, Some(reason)) => self.on_rejection(&frame, reason, received, out),
        }
    }

    /// The exchange acknowledged one symbol of a request.
    fn on_ack(&mut self, frame: &Envelope<'_>, out: &mut Outbox) {
        let Some(result) = &frame.result else { return };
        let channel = result.channel.as_deref().and_then(channel_by_name);
        let id = frame.req_id.and_then(codec::Int::count);
        let matches = |one: &Subscription| {
            let symbol = one.instrument.stream_name();
            result.symbol.as_deref() == Some(symbol) && channel.is_none_or(|channel| channel == one.channel)
        };
        let acknowledged =
            self.pending.take_one(id, matches).filter(|subscription| self.markets.is_subscribed(subscription));
        out.notices.extend(acknowledged.map(|subscription| Notice::Acknowledged(vec![subscription])));
    }

    /// The exchange rejected one symbol of a request, or a request as a whole.
    fn on_rejection(
        &mut self,
        frame: &Envelope<'_>,
        reason: &str,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), FeedError> {
        if self.markets.accepts_any() {
            return Ok(());
        }
        if reason.contains("msg rate") || reason.contains("Rate limit") {
            let recovery = Recovery::Reconnect { after: RECONNECT_DELAY };
            return Err(FeedError { recovery, message: format!("error of the exchange: {reason}") });
        }
        let id = frame.req_id.and_then(codec::Int::count);
        let mut rejected = match (frame.symbol.as_deref(), id) {
            (Some(symbol), _) => {
                Vec::from_iter(self.pending.take_one(id, |one| one.instrument.stream_name() == symbol))
            }
            (None, Some(id)) => self.pending.take(id).unwrap_or_default(),
            (None, None) => {
                let message = format!("the exchange rejected an unidentified request: {reason}");
                return Err(FeedError { recovery: Recovery::SkipFrame, message });
            }
        };
        rejected.retain(|subscription| self.markets.is_subscribed(subscription));
        // An existing subscription counts as acknowledged.
        if reason.to_ascii_lowercase().contains("already subscribed") && rejected.len() <= 1 {
            out.notices.extend((!rejected.is_empty()).then_some(Notice::Acknowledged(rejected)));
            return Ok(());
        }
        if rejected.len() > 1 {
            for subscription in rejected {
                self.subscribe(&[subscription], now, out);
            }
        } else if let Some(subscription) = rejected.pop() {
            self.markets.remove(&subscription);
            out.notices.push(Notice::Rejected { subscription, reason: reason.to_owned() });
        }
        Ok(())
    }

    /// Handles data of a channel. Valid rows become events even if another row of the frame is invalid.
    fn on_data(
        &mut self,
        channel: Channel,
        text: &str,
        received: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), FeedError> {
        let mut result = Ok(());
        let mut record = |row: Result<(), String>| {
            if let (Ok(()), Err(what)) = (&result, row) {
                result = Err(FeedError::malformed(what, text));
            }
        };
        let invalid = match channel {
            Channel::Ticker => {
                let (message, invalid): (Message<'_, Object<Ticker<'_>>>, _) = codec::parse_rows(text)?;
                message.data.iter().for_each(|row| record(self.on_ticker(row, received, out)));
                invalid
            }
            Channel::Trades => {
                let (message, invalid): (Message<'_, Object<Trade<'_>>>, _) = codec::parse_rows(text)?;
                if message.kind != "snapshot" || self.markets.accepts_any() {
                    message.data.iter().for_each(|row| record(self.on_trade(row, received, out)));
                }
                invalid
            }
            Channel::Candles => {
                let (message, invalid): (Message<'_, Object<StreamCandle<'_>>>, _) = codec::parse_rows(text)?;
                let newest = if message.data.more.is_empty() {
                    HashMap::new()
                } else {
                    newest_open_times(message.data.iter().map(|row| &row.0))
                };
                message.data.iter().for_each(|row| record(self.on_candle(row, &newest, received, out)));
                invalid
            }
        };
        result.and_then(|()| codec::first_error(&invalid))
    }

    fn on_ticker(&mut self, row: &Ticker<'_>, received_at: Timestamp, out: &mut Outbox) -> Result<(), String> {
        let Some(market) = self.markets.get(&row.symbol, Channel::Ticker) else { return Ok(()) };
        // All members are optional: a row of another channel could be parsed as a ticker without them.
        if row.last.is_none() && row.bid.is_none() && row.ask.is_none() {
            return Err("a ticker without a price".to_owned());
        }
        // 1970 means "never".
        let timestamp = row.timestamp.as_deref().map(parse_time).transpose()?.filter(|at| *at > Timestamp::EPOCH);
        let side = |price: Option<Number>, size: Option<Number>| match price.and_then(nonzero_price) {
            Some(price) => (Some(price), size.map(|size| size.0)),
            None => (None, None),
        };
        let (bid, bid_size) = side(row.bid, row.bid_qty);
        let (ask, ask_size) = side(row.ask, row.ask_qty);
        let values = TickerPatch {
            last: row.last.and_then(nonzero_price),
            bid,
            bid_size,
            ask,
            ask_size,
            open: None,
            high: row.high.and_then(nonzero_price),
            low: row.low.and_then(nonzero_price),
            base_volume: row.volume.map(|volume| volume.0),
            quote_volume: None,
            change_percent: row.change_pct.map(|change| change.0),
            timestamp,
        };
        let (exchange, symbol) = (ExchangeId::Kraken, market.symbol.clone());
        let ticker = crate::model::Ticker { exchange, symbol, values, received_at, source: Source::Stream };
        out.push_event(MarketEvent::Ticker(ticker), received_at).map_err(|error| error.to_string())
    }

    fn on_trade(&mut self, row: &Trade<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), String> {
        let Some(market) = self.markets.get(&row.symbol, Channel::Trades) else { return Ok(()) };
        let trade = crate::model::Trade {
            exchange: ExchangeId::Kraken,
            symbol: market.symbol.clone(),
            id: row.id.to_id(),
            price: row.price.0,
            amount: row.qty.0,
            side: match &*row.side {
                "buy" => Side::Buy,
                "sell" => Side::Sell,
                other => return Err(format!("unknown side {other:?}")),
            },
            timestamp: parse_time(&row.timestamp)?,
        };
        out.push_event(MarketEvent::Trade(trade), received).map_err(|error| error.to_string())
    }

    /// Kraken has no closed flag: a candle is closed if a later one of its series is in the same message. The candle
    /// finalizer, which knows the exchange's clock, closes the others.
    fn on_candle(
        &mut self,
        row: &StreamCandle<'_>,
        newest: &HashMap<&str, &str>,
        received: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), String> {
        let Some(interval) = interval_by_minutes(row.interval.0) else { return Ok(()) };
        let Some(market) = self.markets.get(&row.symbol, Channel::Candles) else { return Ok(()) };
        let timestamp = parse_time(&row.interval_begin)?;
        let has_later = newest.get(&*row.symbol).is_some_and(|newest| *newest > &*row.interval_begin);
        let candle = Candle {
            timestamp,
            open: row.open.0,
            high: row.high.0,
            low: row.low.0,
            close: row.close.0,
            volume: row.volume.0,
            quote_volume: None,
            trades: row.trades.and_then(codec::Int::count),
            closed: has_later,
            revision: 0,
        };
        let series = Series { exchange: ExchangeId::Kraken, symbol: market.symbol.clone(), interval };
        out.push_event(MarketEvent::Candle(CandleUpdate { series, candle }), received)
            .map_err(|error| error.to_string())
    }
}

/// The newest open time of each symbol, as text: RFC 3339 in one format sorts like the times.
fn newest_open_times<'a>(rows: impl Iterator<Item = &'a StreamCandle<'a>>) -> HashMap<&'a str, &'a str> {
    let mut newest: HashMap<&str, &str> = HashMap::new();
    for row in rows {
        let known = newest.entry(&row.symbol).or_insert(&row.interval_begin);
        *known = (*known).max(&row.interval_begin);
    }
    newest
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    codec::parse_time(text).map_err(|error| format!("{text:?}: {error}"))
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
        for channel in Channel::ALL {
            let of_channel = removed.iter().filter(|one| one.channel == channel);
            let symbols: Vec<&str> = of_channel.map(|one| one.instrument.stream_name()).collect();
            for part in symbols.chunks(SUBSCRIPTIONS_PER_MESSAGE) {
                out.frames.push(request_frame("unsubscribe", channel, part, self.pending.next_id(now)));
            }
        }
        let added: Vec<Subscription> = add.iter().filter(|one| self.markets.add(one)).cloned().collect();
        self.subscribe_all(&added, now, out);
    }

    fn on_frame(&mut self, frame: Frame<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let Frame::Text(text) = frame else { return Ok(()) };
        // Most frames start with the channel name, which allows parsing the rows in one pass as their own type.
        let channel = text.strip_prefix("{\"channel\":\"").and_then(|rest| rest.split_once('"'));
        match channel.and_then(|(channel, _)| channel_by_name(channel)) {
            Some(channel) => self.on_data(channel, text, received, out),
            None => self.on_other_frame(text, received, out),
        }
    }

    fn on_timer(&mut self, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if now.since(self.last_ping) >= PING_INTERVAL {
            self.last_ping = now;
            let id = self.pending.next_id(now);
            out.frames.push(json!({"method": "ping", "req_id": id}).to_string());
        }
        self.pending.check_deadlines(now)
    }
}
