//! One connection to the WebSocket of Coinbase.

use std::time::Duration;

use serde_json::json;

use super::profile::PROFILE;
use super::rest::parse_time;
use super::symbols;
use super::wire::{Envelope, Message, Subscriptions, Ticker, TickerEvent, Trade, TradeEvent};
use crate::exchanges::codec::{self, Object, OptionalNumber, Rows, check_json, nonzero_price};
use crate::exchanges::feed::{FeedError, FeedSession, Frame, Notice, Outbox, Recovery, Subscription};
use crate::exchanges::markets::Markets;
use crate::exchanges::pending::PendingRequests;
use crate::model::{Channel, ExchangeId, MarketEvent, Side, Source, TickerPatch, Timestamp};

/// Maximum number of subscriptions per message.
const SUBSCRIPTIONS_PER_MESSAGE: usize = 200;

/// One connection.
pub(super) struct Session {
    /// Sent in `on_open`.
    subscriptions: Vec<Subscription>,
    markets: Markets<()>,
    /// The exchange answers requests in order, without an id.
    pending: PendingRequests,
    /// Sequence number of the last message.
    last_sequence: Option<i64>,
}

/// Coinbase's name of a channel. It has no usable channel of candles.
const fn channel_name(channel: Channel) -> Option<&'static str> {
    match channel {
        Channel::Ticker => Some("ticker"),
        Channel::Trades => Some("market_trades"),
        Channel::Candles => None,
    }
}

impl Session {
    /// A session with initial subscriptions.
    pub fn new(subscriptions: Vec<Subscription>) -> Self {
        let markets = Markets::subscribed(&subscriptions);
        Self { subscriptions, markets, pending: PendingRequests::new(&PROFILE), last_sequence: None }
    }

    /// A session that accepts frames of any market.
    pub fn decoder() -> Self {
        let markets = Markets::any(symbols::guess_symbol);
        Self { subscriptions: vec![], markets, pending: PendingRequests::new(&PROFILE), last_sequence: None }
    }

    fn subscribe_all(&mut self, subscriptions: &[Subscription], now: Timestamp, out: &mut Outbox) {
        self.send_requests("subscribe", subscriptions, true, now, out);
    }

    /// Sends requests, at least one for each channel; `needs_ack` adds their subscriptions to the pending ones.
    fn send_requests(
        &mut self,
        method: &str,
        subscriptions: &[Subscription],
        needs_ack: bool,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        for channel in Channel::ALL {
            let Some(name) = channel_name(channel) else { continue };
            let of_channel: Vec<_> = subscriptions.iter().filter(|one| one.channel == channel).cloned().collect();
            for part in of_channel.chunks(SUBSCRIPTIONS_PER_MESSAGE) {
                // Several symbols may share an order book.
                let mut products: Vec<&str> = part.iter().map(|one| one.instrument.stream_name()).collect();
                products.sort_unstable();
                products.dedup();
                out.frames.push(json!({"type": method, "product_ids": products, "channel": name}).to_string());
                self.pending.add(if needs_ack { part.to_vec() } else { Vec::new() }, now);
            }
        }
    }

    /// Checks the sequence number of a message, which starts at 0; returns whether the message is new.
    ///
    /// # Errors
    /// Messages were lost.
    fn check_sequence(&mut self, number: i64) -> Result<bool, FeedError> {
        if self.markets.accepts_any() {
            return Ok(true);
        }
        match self.last_sequence {
            Some(last) if number <= last => Ok(false),
            Some(last) if number > last + 1 => Err(FeedError {
                recovery: Recovery::Reconnect { after: Duration::ZERO },
                message: format!("messages {} to {} were lost", last + 1, number - 1),
            }),
            _ => {
                self.last_sequence = Some(number);
                Ok(true)
            }
        }
    }

    /// Handles frames other than tickers and trades, and those with another order of members.
    #[cold]
    fn on_other_frame(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if text.trim_start().starts_with('[') {
            return check_json(text);
        }
        let frame: Envelope<'_> = codec::parse_frame(text)?;
        if let Some(number) = frame.sequence_num
            && !matches!(frame.channel.as_deref(), Some("ticker" | "market_trades"))
            && !self.check_sequence(number.0)?
        {
            return Ok(());
        }
        match (frame.channel.as_deref(), frame.kind.as_deref()) {
            (Some("ticker"), _) => self.on_tickers(text, received, out),
            (Some("market_trades"), _) => self.on_trades(text, received, out),
            (Some("subscriptions"), _) => self.on_ack(text, out),
            (None, Some("error")) => self.on_rejection(frame.message.as_deref().unwrap_or("no reason"), received, out),
            // Sent every second. Messages are in order, so everything before the heartbeat has been received.
            (Some("heartbeats"), _) => {
                out.notices.extend(frame.timestamp.as_deref().and_then(parse_time).map(Notice::CompleteUntil));
                Ok(())
            }
            // A channel without a subscription.
            _ => Ok(()),
        }
    }

    /// The exchange answered the oldest request, with all subscriptions of the connection. A subscription that is
    /// missing is rejected.
    fn on_ack(&mut self, text: &str, out: &mut Outbox) -> Result<(), FeedError> {
        let message: Message<'_, Subscriptions<'_>> = codec::parse_frame(text)?;
        let Some(id) = self.pending.oldest_id() else { return Ok(()) };
        let requested = self.pending.take(id).unwrap_or_default();
        let is_acknowledged = |one: &Subscription| {
            let name = channel_name(one.channel).unwrap_or("");
            let products = message.events.iter().filter_map(|event| event.subscriptions.get(name));
            products.flatten().any(|product| product == one.instrument.stream_name())
        };
        let (acknowledged, rejected): (Vec<_>, Vec<_>) =
            requested.into_iter().filter(|one| self.markets.is_subscribed(one)).partition(is_acknowledged);
        if !acknowledged.is_empty() {
            out.notices.push(Notice::Acknowledged(acknowledged));
        }
        for subscription in rejected {
            self.markets.remove(&subscription);
            let reason = "missing in the exchange's acknowledgement".to_owned();
            out.notices.push(Notice::Rejected { subscription, reason });
        }
        Ok(())
    }

    /// The exchange rejected the oldest request as a whole. If it has several subscriptions, each is requested again
    /// separately, to find those that the exchange rejects.
    fn on_rejection(&mut self, reason: &str, now: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        if self.markets.accepts_any() {
            return Ok(());
        }
        if reason.contains("rate limit") {
            let recovery = Recovery::Reconnect { after: PROFILE.default_ban_duration };
            return Err(FeedError { recovery, message: format!("error of the exchange: {reason}") });
        }
        let Some(id) = self.pending.oldest_id() else {
            let message = format!("the exchange rejected an unidentified request: {reason}");
            return Err(FeedError { recovery: Recovery::SkipFrame, message });
        };
        let mut rejected = self.pending.take(id).unwrap_or_default();
        rejected.retain(|subscription| self.markets.is_subscribed(subscription));
        if rejected.len() > 1 {
            for subscription in rejected {
                self.subscribe_all(&[subscription], now, out);
            }
        } else if let Some(subscription) = rejected.pop() {
            self.markets.remove(&subscription);
            out.notices.push(Notice::Rejected { subscription, reason: reason.to_owned() });
        }
        Ok(())
    }

    fn on_tickers(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let rows = codec::parse_rows(text);
        let (message, invalid): (Message<'_, TickerEvent<Object<Ticker<'_>>>>, _) =
            rows.or_else(|error| self.on_invalid_message(text, error))?;
        let mut result = Ok(());
        if self.check_sequence(message.sequence_num.0)? {
            let timestamp = message.timestamp.as_deref().and_then(parse_time);
            for row in message.events.iter().flat_map(|event| event.tickers.iter()) {
                if let (Ok(()), Err(what)) = (&result, self.on_ticker(row, timestamp, received, out)) {
                    result = Err(FeedError::malformed(what, text));
                }
            }
        }
        result.and_then(|()| codec::first_error(&invalid))
    }

    fn on_ticker(
        &mut self,
        row: &Ticker<'_>,
        timestamp: Option<Timestamp>,
        received_at: Timestamp,
        out: &mut Outbox,
    ) -> Result<(), String> {
        // Most members are optional: a trade could be parsed as a ticker without them.
        if let Some(kind) = row.kind.as_deref().filter(|kind| !matches!(*kind, "ticker" | "ticker_batch")) {
            return Err(format!("{kind:?} where a ticker is expected"));
        }
        let Some(market) = self.markets.get(&row.product_id, Channel::Ticker) else { return Ok(()) };
        let side = |price: OptionalNumber, size: OptionalNumber| match price.0.and_then(nonzero_price) {
            Some(price) => (Some(price), size.0.map(|size| size.0)),
            None => (None, None),
        };
        let (bid, bid_size) = side(row.best_bid, row.best_bid_quantity);
        let (ask, ask_size) = side(row.best_ask, row.best_ask_quantity);
        let values = TickerPatch {
            last: row.price.0.and_then(nonzero_price),
            bid,
            bid_size,
            ask,
            ask_size,
            open: None,
            high: row.high_24_h.0.and_then(nonzero_price),
            low: row.low_24_h.0.and_then(nonzero_price),
            base_volume: row.volume_24_h.0.map(|volume| volume.0),
            quote_volume: None,
            change_percent: row.price_percent_chg_24_h.0.map(|change| change.0),
            timestamp,
        };
        for symbol in market.symbols(Channel::Ticker) {
            let (exchange, symbol) = (ExchangeId::Coinbase, symbol.clone());
            let ticker = crate::model::Ticker { exchange, symbol, values, received_at, source: Source::Stream };
            out.push_event(MarketEvent::Ticker(ticker), received_at).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn on_trades(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let rows = codec::parse_rows(text);
        let (message, invalid): (Message<'_, TradeEvent<'_, Object<Trade<'_>>>>, _) = rows.or_else(|error| {
            out.notices.push(Notice::TradeSkipped(None));
            self.on_invalid_message(text, error)
        })?;
        if !self.check_sequence(message.sequence_num.0)? {
            return Ok(());
        }
        let mut result = Ok(());
        for event in message.events.iter() {
            // Trades of a snapshot are old and must not count towards a candle.
            if event.kind == "snapshot" && !self.markets.accepts_any() {
                continue;
            }
            for row in oldest_first(&event.trades) {
                if let Err(what) = self.on_trade(row, received, out) {
                    self.report_skipped_trade(Some(&row.product_id), out);
                    result = result.and(Err(FeedError::malformed(what, text)));
                }
            }
        }
        for (row, _) in &invalid {
            self.report_skipped_trade(codec::text_member(row, "product_id").as_deref(), out);
        }
        result.and_then(|()| codec::first_error(&invalid))
    }

    /// Reports a trade that cannot be parsed, for each symbol of the market: candles are built from trades, so that a
    /// candle without the trade is wrong.
    fn report_skipped_trade(&mut self, native: Option<&str>, out: &mut Outbox) {
        let Some(native) = native else { return out.notices.push(Notice::TradeSkipped(None)) };
        if let Some(market) = self.markets.get(native, Channel::Trades) {
            let symbols = market.symbols(Channel::Trades);
            out.notices.extend(symbols.map(|symbol| Notice::TradeSkipped(Some(symbol.clone()))));
        }
    }

    /// Checks the sequence number of a message without valid rows: the message was not lost.
    #[cold]
    fn on_invalid_message<T>(&mut self, text: &str, error: FeedError) -> Result<T, FeedError> {
        let envelope: Option<Envelope<'_>> = serde_json::from_str(text).ok();
        if let Some(number) = envelope.and_then(|envelope| envelope.sequence_num) {
            self.check_sequence(number.0)?;
        }
        Err(error)
    }

    fn on_trade(&mut self, row: &Trade<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), String> {
        let Some(market) = self.markets.get(&row.product_id, Channel::Trades) else { return Ok(()) };
        // Coinbase has the maker's side; ours is the taker's.
        let side = match &*row.side {
            "SELL" => Side::Buy,
            "BUY" => Side::Sell,
            other => return Err(format!("unknown side {other:?}")),
        };
        let timestamp = parse_time(&row.time).ok_or_else(|| format!("no time in {:?}", row.time))?;
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
            out.push_event(MarketEvent::Trade(trade), received).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// The rows of a message, which has the newest first.
fn oldest_first<T>(rows: &Rows<T>) -> impl Iterator<Item = &T> {
    rows.more.iter().rev().chain(&rows.first)
}

impl FeedSession for Session {
    fn on_open(&mut self, now: Timestamp, out: &mut Outbox) {
        // Heartbeats first: the exchange closes a connection on which the client sends nothing within 5 s, and channels
        // without data.
        out.frames.push(json!({"type": "subscribe", "channel": "heartbeats"}).to_string());
        self.pending.add(Vec::new(), now);
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
        let mut removed: Vec<_> = remove.iter().filter(|one| self.markets.remove(one)).cloned().collect();
        // Another symbol of the same order book may still be subscribed.
        removed.retain(|one| !self.markets.has_channel(one.instrument.stream_name(), one.channel));
        self.send_requests("unsubscribe", &removed, false, now, out);
        let added: Vec<_> = add.iter().filter(|one| self.markets.add(one)).cloned().collect();
        self.subscribe_all(&added, now, out);
    }

    fn on_frame(&mut self, frame: Frame<'_>, received: Timestamp, out: &mut Outbox) -> Result<(), FeedError> {
        let Frame::Text(text) = frame else { return Ok(()) };
        // Most frames start with the channel name, which allows parsing the rows in one pass as their own type.
        let channel = text.strip_prefix("{\"channel\":\"").and_then(|rest| rest.split_once('"'));
        match channel.map(|(channel, _)| channel) {
            Some("ticker") => self.on_tickers(text, received, out),
            Some("market_trades") => self.on_trades(text, received, out),
            _ => self.on_other_frame(text, received, out),
        }
    }

    fn on_timer(&mut self, now: Timestamp, _: &mut Outbox) -> Result<(), FeedError> {
        self.pending.check_deadlines(now)
    }
}
