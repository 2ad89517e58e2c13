//! The dialect of Coinbase's WebSocket.

use super::profile::PROFILE;
use super::rest::{parse_time, statistics};
use super::wire::{Envelope, Message, Subscriptions, Ticker, TickerEvent, Trade, TradeEvent};
use crate::exchanges::prelude::*;

/// The codec of one connection.
#[derive(Default)]
pub(super) struct Codec {
    /// Sequence number of the last message.
    last_sequence: Option<i64>,
}

impl StreamCodec for Codec {
    type State = ();

    const RULES: StreamRules = StreamRules {
        answers: Answers::TopicList,
        topics_per_request: 200,
        // The exchange documents no limit; with 200 markets per connection, a channel needs one message.
        topics_per_connection: 400,
        // First: the exchange closes a connection on which the client sends nothing within 5 s, and channels without
        // data.
        connection_channel: Some("heartbeats"),
        ..StreamRules::new(ExchangeId::COINBASE, &PROFILE)
    };

    fn channels(channel: Channel) -> &'static [&'static str] {
        match channel {
            Channel::Ticker => &["ticker"],
            Channel::Trades => &["market_trades"],
            // The channel `candles` has five-minute candles only.
            Channel::Candles => &[],
        }
    }

    fn request(request: &Request<'_>) -> String {
        let kind = request.operation.as_str();
        let channel = request.topics[0].channel;
        let products: Vec<&str> = request.topics.iter().map(|topic| topic.market).filter(|id| !id.is_empty()).collect();
        if products.is_empty() {
            return json!({"type": kind, "channel": channel}).to_string();
        }
        json!({"type": kind, "product_ids": products, "channel": channel}).to_string()
    }

    fn decode<'a>(&mut self, text: &'a str, sink: &mut Sink<'_, ()>) -> Result<Inbound<'a>, FeedError> {
        // Most frames start with the channel name, which allows parsing the rows in one pass as their own type.
        let channel = text.strip_prefix("{\"channel\":\"").and_then(|rest| rest.split_once('"'));
        match channel.map(|(channel, _)| channel) {
            Some("ticker") => self.decode_tickers(text, sink),
            Some("market_trades") => self.decode_trades(text, sink),
            _ => self.decode_other(text, sink),
        }
    }
}

impl Codec {
    /// Checks the sequence number of a message, which starts at 0; returns whether the message is new.
    ///
    /// # Errors
    /// Messages were lost.
    fn check_sequence(&mut self, number: i64, sink: &Sink<'_, ()>) -> Result<bool, FeedError> {
        match self.last_sequence {
            // Recorded frames may be of several connections.
            _ if sink.accepts_any() => Ok(true),
            Some(last) if number <= last => Ok(false),
            Some(last) if number > last.saturating_add(1) => Err(FeedError {
                recovery: Recovery::Reconnect { after: Duration::ZERO },
                message: format!("messages {} to {} were lost", last + 1, number - 1),
            }),
            _ => {
                self.last_sequence = Some(number);
                Ok(true)
            }
        }
    }

    /// Decodes frames other than tickers and trades, and those with another order of members.
    #[cold]
    fn decode_other<'a>(&mut self, text: &'a str, sink: &mut Sink<'_, ()>) -> Result<Inbound<'a>, FeedError> {
        let Some(frame) = codec::parse_envelope::<Envelope<'_>>(text)? else { return Ok(Inbound::Ignored) };
        match frame.channel.as_deref() {
            Some("ticker") => return self.decode_tickers(text, sink),
            Some("market_trades") => return self.decode_trades(text, sink),
            _ => {}
        }
        if let Some(number) = frame.sequence_num
            && !self.check_sequence(number.0, sink)?
        {
            return Ok(Inbound::Ignored);
        }
        match (frame.channel.as_deref(), frame.kind.as_deref()) {
            (Some("subscriptions"), _) => {
                let message: Message<'_, Subscriptions<'_>> = codec::parse_frame(text)?;
                let Rows { first, more } = message.events;
                let channels = first.into_iter().chain(more).flat_map(|event| event.0.subscriptions);
                let topics = channels.flat_map(|(channel, products)| {
                    products.into_iter().map(move |product| (channel.0.clone(), product.0))
                });
                Ok(Inbound::TopicList(topics.collect()))
            }
            (None, Some("error")) => {
                let reason = frame.message.map_or("no reason".into(), |message| message.0);
                Ok(if reason.contains("rate limit") {
                    Inbound::Overloaded { reason, retry_after: PROFILE.default_ban_duration }
                } else {
                    Inbound::Refusal { answer: Answer::default(), reason }
                })
            }
            // Sent every second. Messages are in order, so everything before the heartbeat has been received.
            (Some("heartbeats"), _) => {
                let at = frame.timestamp.as_deref().and_then(parse_time);
                Ok(at.map_or(Inbound::Ignored, |at| Inbound::Notice(Notice::CompleteUntil(at))))
            }
            // A channel without a subscription.
            _ => Ok(Inbound::Ignored),
        }
    }

    fn decode_tickers<'a>(&mut self, text: &str, sink: &mut Sink<'_, ()>) -> Result<Inbound<'a>, FeedError> {
        let rows = codec::parse_rows(text);
        let (message, invalid): (Message<'_, TickerEvent<Object<Ticker<'_>>>>, _) =
            rows.or_else(|error| self.on_invalid_message(text, error, sink))?;
        if self.check_sequence(message.sequence_num.0, sink)? {
            let timestamp = message.timestamp.as_deref().and_then(parse_time);
            for row in message.events.iter().flat_map(|event| event.tickers.iter()) {
                sink.ticker(&row.product_id, || ticker(row, timestamp));
            }
        }
        sink.skip_rows(&invalid);
        Ok(Inbound::Data)
    }

    fn decode_trades<'a>(&mut self, text: &str, sink: &mut Sink<'_, ()>) -> Result<Inbound<'a>, FeedError> {
        let rows = codec::parse_rows(text);
        let (message, invalid): (Message<'_, TradeEvent<'_, Object<Trade<'_>>>>, _) = rows.or_else(|error| {
            sink.skip_trade_of_unknown_market();
            self.on_invalid_message(text, error, sink)
        })?;
        if !self.check_sequence(message.sequence_num.0, sink)? {
            return Ok(Inbound::Data);
        }
        for event in message.events.iter() {
            // Trades of a snapshot are old and must not count towards a candle.
            if &*event.kind == "snapshot" && !sink.accepts_any() {
                continue;
            }
            // The newest trade is first.
            let rows = event.trades.more.iter().rev().chain(&event.trades.first);
            rows.for_each(|row| sink.trade(&row.product_id, || trade(row)));
        }
        sink.skip_trades(&invalid, "product_id");
        Ok(Inbound::Data)
    }

    /// Checks the sequence number of a message without valid rows: the message was not lost.
    #[cold]
    fn on_invalid_message<T>(&mut self, text: &str, error: FeedError, sink: &Sink<'_, ()>) -> Result<T, FeedError> {
        let envelope: Option<Envelope<'_>> = serde_json::from_str(text).ok();
        if let Some(number) = envelope.and_then(|envelope| envelope.sequence_num) {
            self.check_sequence(number.0, sink)?;
        }
        Err(error)
    }
}

fn ticker(row: &Ticker<'_>, timestamp: Option<Timestamp>) -> Result<TickerPatch, String> {
    if let Some(kind) = row.kind.as_deref().filter(|kind| !matches!(*kind, "ticker" | "ticker_batch")) {
        return Err(format!("{kind:?} where a ticker is expected"));
    }
    let (bid, bid_size) = optional_level(row.best_bid.0, row.best_bid_quantity.0);
    let (ask, ask_size) = optional_level(row.best_ask.0, row.best_ask_quantity.0);
    Ok(TickerPatch { bid, bid_size, ask, ask_size, timestamp, ..statistics(row) })
}

fn trade(row: &Trade<'_>) -> Result<NewTrade, String> {
    // Coinbase has the maker's side; ours is the taker's.
    let side = match codec::parse_side(&row.side)? {
        Side::Sell => Side::Buy,
        Side::Buy => Side::Sell,
    };
    let timestamp = parse_time(&row.time).ok_or_else(|| format!("no time in {:?}", &*row.time))?;
    Ok(NewTrade { id: (*row.id).into(), price: row.price, amount: row.size, side, timestamp })
}
