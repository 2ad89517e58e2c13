//! One connection to Coinbase's WebSocket.

use std::time::Duration;

use serde_json::json;

use super::super::codec::{self, Blank, Named, Rows, json_at_least, price};
use super::super::markets::Markets;
use super::super::pending::Pending;
use super::super::{FeedError, FeedSession, Frame, Notice, Outbox, Recovery, Subscription};
use super::rest::moment;
use super::wire::{Envelope, Message, Subscriptions, Ticker, Tickers, Trade, Trades};
use super::{PROFILE, symbols};
use crate::model::{Channel, ExchangeId, MarketEvent, Side, Source, TickerPatch, Timestamp};

/// Markets in one message.
const MARKETS_PER_MESSAGE: usize = 200;

/// One connection.
pub(super) struct Session {
    subscriptions: Vec<Subscription>,
    markets: Markets<()>,
    /// Requests are answered in their order, without an id.
    pending: Pending,
    /// The number of the last message.
    sequence: Option<i64>,
}

/// A channel's name on the wire. Candles have none that is of use.
const fn channel_name(channel: Channel) -> Option<&'static str> {
    match channel {
        Channel::Ticker => Some("ticker"),
        Channel::Trades => Some("market_trades"),
        Channel::Candles => None,
    }
}

impl Session {
    /// A session that subscribes to these.
    pub fn new(subscriptions: Vec<Subscription>) -> Self {
        let markets = Markets::listed(&subscriptions);
        Self { subscriptions, markets, pending: Pending::new(&PROFILE), sequence: None }
    }

    /// A session for frames of any market.
    pub fn decoder() -> Self {
        let markets = Markets::guessed(symbols::guess);
        Self { subscriptions: vec![], markets, pending: Pending::new(&PROFILE), sequence: None }
    }

    /// Says one message for each channel; `ask` makes it a request that is to be confirmed.
    fn say(&mut self, kind: &str, subscriptions: &[Subscription], ask: bool, now: Timestamp, out: &mut Outbox) {
        for channel in Channel::ALL {
            let Some(name) = channel_name(channel) else { continue };
            let of_channel: Vec<_> = subscriptions.iter().filter(|one| one.channel == channel).cloned().collect();
            for part in of_channel.chunks(MARKETS_PER_MESSAGE) {
                // Several symbols may be names of one book.
                let mut products: Vec<&str> = part.iter().map(|one| one.instrument.stream_name()).collect();
                products.sort_unstable();
                products.dedup();
                out.frames.push(json!({"type": kind, "product_ids": products, "channel": name}).to_string());
                self.pending.request(if ask { part.to_vec() } else { Vec::new() }, now);
            }
        }
    }

    /// Messages are numbered from 0, so that a lost one is noticed. Says whether this one is new.
    fn count(&mut self, number: i64) -> Result<bool, FeedError> {
        if self.markets.is_guessing() {
            return Ok(true);
        }
        match self.sequence {
            Some(last) if number <= last => Ok(false),
            Some(last) if number > last + 1 => Err(FeedError {
                recovery: Recovery::Reconnect { after: Duration::ZERO },
                message: format!("messages {} to {} did not come", last + 1, number - 1),
            }),
            _ => {
                self.sequence = Some(number);
                Ok(true)
            }
        }
    }

    /// All but tickers and trades.
    #[cold]
    fn other_frame(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if text.trim_start().starts_with('[') {
            return json_at_least(text);
        }
        let frame: Envelope<'_> = codec::frame(text)?;
        if let Some(number) = frame.sequence_num
            && !matches!(frame.channel.as_deref(), Some("ticker" | "market_trades"))
            && !self.count(number.0)?
        {
            return Ok(());
        }
        match (frame.channel.as_deref(), frame.kind.as_deref()) {
            (Some("ticker"), _) => self.tickers(text, received, out),
            (Some("market_trades"), _) => self.trades(text, received, out),
            (Some("subscriptions"), _) => self.answered(text, out),
            (None, Some("error")) => self.refused(frame.message.as_deref().unwrap_or("no reason"), received, out),
            // Each second; messages are in order, so all that it was to tell before has come.
            (Some("heartbeats"), _) => {
                out.notices.extend(frame.timestamp.as_deref().and_then(moment).map(Notice::Reached));
                Ok(())
            }
            // A channel that nobody asked for.
            _ => Ok(()),
        }
    }

    /// The oldest request was answered: with all that the connection listens to now.
    fn answered(&mut self, text: &str, out: &mut Outbox) -> Result<(), FeedError> {
        let message: Message<'_, Subscriptions<'_>> = codec::frame(text)?;
        let Some(request) = self.pending.oldest() else { return Ok(()) };
        let asked = self.pending.answered(request).unwrap_or_default();
        let holds = |one: &Subscription| {
            let name = channel_name(one.channel).unwrap_or("");
            let products = message.events.iter().filter_map(|event| event.subscriptions.get(name));
            products.flatten().any(|product| product == one.instrument.stream_name())
        };
        let (confirmed, left_out): (Vec<_>, Vec<_>) =
            asked.into_iter().filter(|one| self.markets.wants(one)).partition(holds);
        if !confirmed.is_empty() {
            out.notices.push(Notice::Confirmed(confirmed));
        }
        for subscription in left_out {
            self.markets.remove(&subscription);
            let reason = "the exchange left it out of its answer".to_owned();
            out.notices.push(Notice::Refused { subscription, reason });
        }
        Ok(())
    }

    /// The oldest request was refused as a whole. Where it held several subscriptions, each is asked for on its own.
    fn refused(&mut self, reason: &str, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if self.markets.is_guessing() {
            return Ok(());
        }
        if reason.contains("rate limit") {
            let recovery = Recovery::Reconnect { after: PROFILE.ban_pause };
            return Err(FeedError { recovery, message: format!("the exchange says: {reason}") });
        }
        let Some(request) = self.pending.oldest() else {
            let message = format!("the exchange refuses something that was not asked for: {reason}");
            return Err(FeedError { recovery: Recovery::SkipFrame, message });
        };
        let mut asked = self.pending.answered(request).unwrap_or_default();
        asked.retain(|one| self.markets.wants(one));
        if asked.len() > 1 {
            for subscription in asked {
                self.say("subscribe", &[subscription], true, now, out);
            }
        } else if let Some(subscription) = asked.pop() {
            self.markets.remove(&subscription);
            out.notices.push(Notice::Refused { subscription, reason: reason.to_owned() });
        }
        Ok(())
    }

    fn tickers(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let rows = codec::rows(text);
        let (message, bad): (Message<'_, Tickers<Named<Ticker<'_>>>>, _) =
            rows.or_else(|error| self.unreadable(text, error))?;
        let mut result = Ok(());
        if self.count(message.sequence_num.0)? {
            let timestamp = message.timestamp.as_deref().and_then(moment);
            for row in message.events.iter().flat_map(|event| event.tickers.iter()) {
                if let (Ok(()), Err(what)) = (&result, self.ticker(row, timestamp, received, out)) {
                    result = Err(FeedError::malformed(what, text));
                }
            }
        }
        result.and_then(|()| codec::first_bad(&bad))
    }

    fn ticker(
        &mut self,
        row: &Ticker<'_>,
        timestamp: Option<Timestamp>,
        received_at: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), String> {
        // Most members are optional, so that a trade looks like a ticker without them.
        if let Some(kind) = row.kind.as_deref().filter(|kind| !matches!(*kind, "ticker" | "ticker_batch")) {
            return Err(format!("{kind:?} where a ticker is expected"));
        }
        let Some(market) = self.markets.get(&row.product_id, Channel::Ticker) else { return Ok(()) };
        let side = |at: Blank, size: Blank| match at.0.and_then(price) {
            Some(at) => (Some(at), size.0.map(|size| size.0)),
            None => (None, None),
        };
        let (bid, bid_size) = side(row.best_bid, row.best_bid_quantity);
        let (ask, ask_size) = side(row.best_ask, row.best_ask_quantity);
        let values = TickerPatch {
            last: row.price.0.and_then(price),
            bid,
            bid_size,
            ask,
            ask_size,
            open: None,
            high: row.high_24_h.0.and_then(price),
            low: row.low_24_h.0.and_then(price),
            base_volume: row.volume_24_h.0.map(|volume| volume.0),
            quote_volume: None,
            change_percent: row.price_percent_chg_24_h.0.map(|change| change.0),
            timestamp,
        };
        for symbol in market.symbols(Channel::Ticker) {
            let (exchange, symbol) = (ExchangeId::Coinbase, symbol.clone());
            let ticker = crate::model::Ticker { exchange, symbol, values, received_at, source: Source::Stream };
            out.event(MarketEvent::Ticker(ticker), received_at).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn trades(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let rows = codec::rows(text);
        let (message, bad): (Message<'_, Trades<'_, Named<Trade<'_>>>>, _) = rows.or_else(|error| {
            out.notices.push(Notice::TradeSkipped(None));
            self.unreadable(text, error)
        })?;
        if !self.count(message.sequence_num.0)? {
            return Ok(());
        }
        let mut result = Ok(());
        for event in message.events.iter() {
            // Trades of a snapshot are old and must not enter a candle.
            if event.kind == "snapshot" && !self.markets.is_guessing() {
                continue;
            }
            for row in oldest_first(&event.trades) {
                if let Err(what) = self.trade(row, received, out) {
                    self.skipped(Some(&row.product_id), out);
                    result = result.and(Err(FeedError::malformed(what, text)));
                }
            }
        }
        for (row, _) in &bad {
            self.skipped(codec::member(row, "product_id").as_deref(), out);
        }
        result.and_then(|()| codec::first_bad(&bad))
    }

    /// A trade could not be read. Minutes are built from trades: one without it would be wrong, under each name of the market.
    fn skipped(&mut self, native: Option<&str>, out: &mut Outbox) {
        let Some(native) = native else { return out.notices.push(Notice::TradeSkipped(None)) };
        if let Some(market) = self.markets.get(native, Channel::Trades) {
            let symbols = market.symbols(Channel::Trades);
            out.notices.extend(symbols.map(|symbol| Notice::TradeSkipped(Some(symbol.clone()))));
        }
    }

    /// A message of which no row can be read counts all the same: it was not lost.
    #[cold]
    fn unreadable<T>(&mut self, text: &str, error: FeedError) -> Result<T, FeedError> {
        let envelope: Option<Envelope<'_>> = serde_json::from_str(text).ok();
        if let Some(number) = envelope.and_then(|envelope| envelope.sequence_num) {
            self.count(number.0)?;
        }
        Err(error)
    }

    fn trade(&mut self, row: &Trade<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), String> {
        let Some(market) = self.markets.get(&row.product_id, Channel::Trades) else { return Ok(()) };
        // The side is the maker's; ours is the taker's.
        let side = match &*row.side {
            "SELL" => Side::Buy,
            "BUY" => Side::Sell,
            other => return Err(format!("unknown side {other:?}")),
        };
        let timestamp = moment(&row.time).ok_or_else(|| format!("no time in {:?}", row.time))?;
        for symbol in market.symbols(Channel::Trades) {
            let trade = crate::model::Trade {
                exchange: ExchangeId::Coinbase,
                symbol: symbol.clone(),
                id: row.id.as_ref().into(),
                price: row.price.0,
                amount: row.size.0,
                side,
                timestamp,
            };
            out.event(MarketEvent::Trade(trade), received).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// The rows of a message come newest first.
fn oldest_first<T>(rows: &Rows<T>) -> impl Iterator<Item = &T> {
    rows.more.iter().rev().chain(&rows.first)
}

impl FeedSession for Session {
    fn on_open(&mut self, now: Timestamp, out: &mut Outbox) {
        // Heartbeats first: who says nothing within 5 s is cut, and channels without news would be closed.
        out.frames.push(json!({"type": "subscribe", "channel": "heartbeats"}).to_string());
        self.pending.request(Vec::new(), now);
        let subscriptions = std::mem::take(&mut self.subscriptions);
        self.say("subscribe", &subscriptions, true, now, out);
    }

    fn change(&mut self, add: &[Subscription], remove: &[Subscription], now: Timestamp, out: &mut Outbox) {
        let mut gone: Vec<_> = remove.iter().filter(|one| self.markets.remove(one)).cloned().collect();
        // Another name of the same book may still be listened to.
        gone.retain(|one| !self.markets.listens(one.instrument.stream_name(), one.channel));
        self.say("unsubscribe", &gone, false, now, out);
        let new: Vec<_> = add.iter().filter(|one| self.markets.add(one)).cloned().collect();
        self.say("subscribe", &new, true, now, out);
    }

    fn on_frame(&mut self, frame: Frame<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let Frame::Text(text) = frame else { return Ok(()) };
        // Frames begin with the name of their channel, so that the rows are read in one pass by their own type.
        let channel = text.strip_prefix("{\"channel\":\"").and_then(|rest| rest.split_once('"'));
        match channel.map(|(channel, _)| channel) {
            Some("ticker") => self.tickers(text, received, out),
            Some("market_trades") => self.trades(text, received, out),
            _ => self.other_frame(text, received, out),
        }
    }

    fn on_timer(&mut self, now: Timestamp, _: &mut Outbox) -> Result<(), FeedError> {
        self.pending.check(now)
    }
}
