//! One connection to Kraken's WebSocket v2.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use super::super::codec::{self, Named, json_at_least, price};
use super::super::markets::Markets;
use super::super::pending::Pending;
use super::super::{FeedError, FeedSession, Frame, Notice, Outbox, Recovery, Subscription};
use super::wire::{Envelope, Message, Ohlc, Ticker, Trade};
use super::{PROFILE, symbols};
use crate::model::{
    Candle, CandleUpdate, Channel, ExchangeId, MarketEvent, Number, Series, Side, Source, TickerPatch, Timestamp,
};

/// Symbols in one message.
const SYMBOLS_PER_MESSAGE: usize = 50;

/// A silent client may be cut after a minute: <https://docs.kraken.com/api/docs/websocket-v2/ping>.
const PING_EVERY: Duration = Duration::from_secs(15);

/// How long to stay away after too many messages.
const RATE_PAUSE: Duration = Duration::from_secs(5);

/// One connection.
pub(super) struct Session {
    subscriptions: Vec<Subscription>,
    markets: Markets<()>,
    pending: Pending,
    pinged: Timestamp,
}

/// A channel's name on the wire.
const fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Ticker => "ticker",
        Channel::Trades => "trade",
        Channel::Candles => "ohlc",
    }
}

fn channel_of(name: &str) -> Option<Channel> {
    Channel::ALL.into_iter().find(|channel| channel_name(*channel) == name)
}

/// Subscribes or unsubscribes symbols of one channel.
fn request(method: &str, channel: Channel, symbols: &[&str], id: u64) -> String {
    let mut params = json!({"channel": channel_name(channel), "symbol": symbols});
    match channel {
        // The default follows trades only, and so misses most changes of the book.
        Channel::Ticker => params["event_trigger"] = "bbo".into(),
        // Trades of a snapshot are old and must not enter a candle.
        Channel::Trades if method == "subscribe" => params["snapshot"] = false.into(),
        Channel::Trades => {}
        Channel::Candles => params["interval"] = 1.into(),
    }
    json!({"method": method, "params": params, "req_id": id}).to_string()
}

impl Session {
    /// A session that subscribes to these.
    pub fn new(subscriptions: Vec<Subscription>) -> Self {
        let markets = Markets::listed(&subscriptions);
        Self { subscriptions, markets, pending: Pending::new(&PROFILE), pinged: Timestamp::EPOCH }
    }

    /// A session for frames of any market.
    pub fn decoder() -> Self {
        let markets = Markets::guessed(symbols::guess);
        Self { subscriptions: vec![], markets, pending: Pending::new(&PROFILE), pinged: Timestamp::EPOCH }
    }

    /// Subscribes to markets of one channel.
    fn subscribe(&mut self, subscriptions: &[Subscription], now: Timestamp, out: &mut Outbox) {
        let Some(channel) = subscriptions.first().map(|first| first.channel) else { return };
        let id = self.pending.request(subscriptions.to_vec(), now);
        let symbols: Vec<&str> = subscriptions.iter().map(|one| one.instrument.stream_name()).collect();
        out.frames.push(request("subscribe", channel, &symbols, id));
    }

    fn subscribe_all(&mut self, subscriptions: &[Subscription], now: Timestamp, out: &mut Outbox) {
        for channel in Channel::ALL {
            let of_channel: Vec<_> = subscriptions.iter().filter(|one| one.channel == channel).cloned().collect();
            for part in of_channel.chunks(SYMBOLS_PER_MESSAGE) {
                self.subscribe(part, now, out);
            }
        }
    }

    /// Answers, and data whose members stand in another order than usual.
    #[cold]
    fn other_frame(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if text.trim_start().starts_with('[') {
            return json_at_least(text);
        }
        let frame: Envelope<'_> = codec::frame(text)?;
        if let Some(channel) = frame.channel.as_deref() {
            // "Sent approximately once every second in the absence of any other channel updates":
            // <https://docs.kraken.com/api/docs/websocket-v2/heartbeat>
            if channel == "heartbeat" {
                out.notices.push(Notice::Alive);
            }
            return channel_of(channel).map_or(Ok(()), |channel| self.data(channel, text, received, out));
        }
        match (frame.method.as_deref(), frame.error.as_deref()) {
            (Some("subscribe"), None) if frame.success != Some(false) => {
                self.confirmed(&frame, out);
                Ok(())
            }
            // Refused to leave what is left already, or meant nothing to us.
            (Some("unsubscribe" | "ping"), _) | (_, None) => Ok(()),
            (_, Some(reason)) => self.refused(&frame, reason, received, out),
        }
    }

    /// The exchange took one symbol of a request.
    fn confirmed(&mut self, frame: &Envelope<'_>, out: &mut Outbox) {
        let Some(result) = &frame.result else { return };
        let channel = result.channel.as_deref().and_then(channel_of);
        let id = frame.req_id.and_then(codec::Int::count);
        let is = |one: &Subscription| {
            result.symbol.as_deref() == Some(one.instrument.stream_name()) && channel.is_none_or(|it| it == one.channel)
        };
        let confirmed = self.pending.part(id, is).filter(|subscription| self.markets.wants(subscription));
        out.notices.extend(confirmed.map(|subscription| Notice::Confirmed(vec![subscription])));
    }

    /// The exchange refused one symbol of a request, or all of it.
    fn refused(
        &mut self,
        frame: &Envelope<'_>,
        reason: &str,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), FeedError> {
        if self.markets.is_guessing() {
            return Ok(());
        }
        if reason.contains("msg rate") || reason.contains("Rate limit") {
            let recovery = Recovery::Reconnect { after: RATE_PAUSE };
            return Err(FeedError { recovery, message: format!("the exchange says: {reason}") });
        }
        let id = frame.req_id.and_then(codec::Int::count);
        let mut refused = match (frame.symbol.as_deref(), id) {
            (Some(symbol), _) => Vec::from_iter(self.pending.part(id, |one| one.instrument.stream_name() == symbol)),
            (None, Some(id)) => self.pending.answered(id).unwrap_or_default(),
            (None, None) => {
                let message = format!("the exchange refused a request without saying which: {reason}");
                return Err(FeedError { recovery: Recovery::SkipFrame, message });
            }
        };
        refused.retain(|subscription| self.markets.wants(subscription));
        // Who is subscribed already has what was asked for.
        if reason.to_ascii_lowercase().contains("already subscribed") && refused.len() <= 1 {
            out.notices.extend((!refused.is_empty()).then_some(Notice::Confirmed(refused)));
            return Ok(());
        }
        if refused.len() > 1 {
            for subscription in refused {
                self.subscribe(&[subscription], now, out);
            }
        } else if let Some(subscription) = refused.pop() {
            self.markets.remove(&subscription);
            out.notices.push(Notice::Refused { subscription, reason: reason.to_owned() });
        }
        Ok(())
    }

    /// Reads the rows of a channel. Good rows are told even where another of the frame is bad.
    fn data(&mut self, channel: Channel, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let mut result = Ok(());
        let mut note = |row: Result<(), String>| {
            if let (Ok(()), Err(what)) = (&result, row) {
                result = Err(FeedError::malformed(what, text));
            }
        };
        let bad = match channel {
            Channel::Ticker => {
                let (message, bad): (Message<'_, Named<Ticker<'_>>>, _) = codec::rows(text)?;
                message.data.iter().for_each(|row| note(self.ticker(row, received, out)));
                bad
            }
            Channel::Trades => {
                let (message, bad): (Message<'_, Named<Trade<'_>>>, _) = codec::rows(text)?;
                if message.kind != "snapshot" || self.markets.is_guessing() {
                    message.data.iter().for_each(|row| note(self.trade(row, received, out)));
                }
                bad
            }
            Channel::Candles => {
                let (message, bad): (Message<'_, Named<Ohlc<'_>>>, _) = codec::rows(text)?;
                let newest = if message.data.more.is_empty() {
                    HashMap::new()
                } else {
                    newest(message.data.iter().map(|row| &row.0))
                };
                message.data.iter().for_each(|row| note(self.candle(row, &newest, received, out)));
                bad
            }
        };
        result.and_then(|()| codec::first_bad(&bad))
    }

    fn ticker(&mut self, row: &Ticker<'_>, received_at: Timestamp, out: &mut Outbox) -> Result<(), String> {
        let Some(market) = self.markets.get(&row.symbol, Channel::Ticker) else { return Ok(()) };
        // All members are optional, so that the row of another channel looks like a ticker without them.
        if row.last.is_none() && row.bid.is_none() && row.ask.is_none() {
            return Err("a ticker without a price".to_owned());
        }
        // 1970 stands for "never".
        let timestamp = row.timestamp.as_deref().map(time).transpose()?.filter(|at| *at > Timestamp::EPOCH);
        let side = |at: Option<Number>, size: Option<Number>| match at.and_then(price) {
            Some(at) => (Some(at), size.map(|size| size.0)),
            None => (None, None),
        };
        let (bid, bid_size) = side(row.bid, row.bid_qty);
        let (ask, ask_size) = side(row.ask, row.ask_qty);
        let values = TickerPatch {
            last: row.last.and_then(price),
            bid,
            bid_size,
            ask,
            ask_size,
            open: None,
            high: row.high.and_then(price),
            low: row.low.and_then(price),
            base_volume: row.volume.map(|volume| volume.0),
            quote_volume: None,
            change_percent: row.change_pct.map(|change| change.0),
            timestamp,
        };
        let (exchange, symbol) = (ExchangeId::Kraken, market.symbol.clone());
        let ticker = crate::model::Ticker { exchange, symbol, values, received_at, source: Source::Stream };
        out.event(MarketEvent::Ticker(ticker), received_at).map_err(|error| error.to_string())
    }

    fn trade(&mut self, row: &Trade<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), String> {
        let Some(market) = self.markets.get(&row.symbol, Channel::Trades) else { return Ok(()) };
        let trade = crate::model::Trade {
            exchange: ExchangeId::Kraken,
            symbol: market.symbol.clone(),
            id: row.id.id(),
            price: row.price.0,
            amount: row.qty.0,
            side: match &*row.side {
                "buy" => Side::Buy,
                "sell" => Side::Sell,
                other => return Err(format!("unknown side {other:?}")),
            },
            timestamp: time(&row.timestamp)?,
        };
        out.event(MarketEvent::Trade(trade), received).map_err(|error| error.to_string())
    }

    /// A candle has no flag: it is closed when a later one of its series came with it. Whoever knows what time it is at the
    /// exchange closes the others.
    fn candle(
        &mut self,
        row: &Ohlc<'_>,
        newest: &HashMap<&str, &str>,
        received: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), String> {
        let minutes = row.interval.0;
        let interval = PROFILE.intervals.iter().find(|interval| interval.max_millis() / 60_000 == minutes);
        let Some(&interval) = interval else { return Ok(()) };
        let Some(market) = self.markets.get(&row.symbol, Channel::Candles) else { return Ok(()) };
        let timestamp = time(&row.interval_begin)?;
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
        out.event(MarketEvent::Candle(CandleUpdate { series, candle }), received).map_err(|error| error.to_string())
    }
}

/// The newest open time of each symbol, as text: RFC 3339 of one writer sorts as time does.
fn newest<'a>(rows: impl Iterator<Item = &'a Ohlc<'a>>) -> HashMap<&'a str, &'a str> {
    let mut newest: HashMap<&str, &str> = HashMap::new();
    for row in rows {
        let known = newest.entry(&row.symbol).or_insert(&row.interval_begin);
        *known = (*known).max(&row.interval_begin);
    }
    newest
}

fn time(text: &str) -> Result<Timestamp, String> {
    codec::time(text).map_err(|error| format!("{text:?}: {error}"))
}

impl FeedSession for Session {
    fn on_open(&mut self, now: Timestamp, out: &mut Outbox) {
        self.pinged = now;
        let subscriptions = std::mem::take(&mut self.subscriptions);
        self.subscribe_all(&subscriptions, now, out);
    }

    fn change(&mut self, add: &[Subscription], remove: &[Subscription], now: Timestamp, out: &mut Outbox) {
        let gone: Vec<&Subscription> = remove.iter().filter(|one| self.markets.remove(one)).collect();
        for channel in Channel::ALL {
            let of_channel = gone.iter().filter(|one| one.channel == channel);
            let symbols: Vec<&str> = of_channel.map(|one| one.instrument.stream_name()).collect();
            for part in symbols.chunks(SYMBOLS_PER_MESSAGE) {
                out.frames.push(request("unsubscribe", channel, part, self.pending.id(now)));
            }
        }
        let new: Vec<Subscription> = add.iter().filter(|one| self.markets.add(one)).cloned().collect();
        self.subscribe_all(&new, now, out);
    }

    fn on_frame(&mut self, frame: Frame<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let Frame::Text(text) = frame else { return Ok(()) };
        // Frames begin with the name of their channel, so that the rows are read in one pass by their own type.
        let channel = text.strip_prefix("{\"channel\":\"").and_then(|rest| rest.split_once('"'));
        match channel.and_then(|(channel, _)| channel_of(channel)) {
            Some(channel) => self.data(channel, text, received, out),
            None => self.other_frame(text, received, out),
        }
    }

    fn on_timer(&mut self, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if now.since(self.pinged) >= PING_EVERY {
            self.pinged = now;
            let id = self.pending.id(now);
            out.frames.push(json!({"method": "ping", "req_id": id}).to_string());
        }
        self.pending.check(now)
    }
}
