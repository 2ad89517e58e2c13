//! The dialect of Kraken's WebSocket v2.

use std::collections::HashMap;

use super::profile::PROFILE;
use super::rest::interval_by_minutes;
use super::wire::{Envelope, Message, StreamCandle, Ticker, Trade};
use crate::exchanges::prelude::*;

/// The codec of one connection.
#[derive(Default)]
pub(super) struct Codec;

/// Delay before a reconnect after too many messages.
const RECONNECT_DELAY: Duration = Duration::from_secs(5);

fn channel_by_name(name: &str) -> Option<Channel> {
    match name {
        "ticker" => Some(Channel::Ticker),
        "trade" => Some(Channel::Trades),
        "ohlc" => Some(Channel::Candles),
        _ => None,
    }
}

impl StreamCodec for Codec {
    type State = ();

    const RULES: StreamRules = StreamRules {
        answers: Answers::ByTopic,
        topics_per_request: 50,
        // The exchange documents no limit; this limits the traffic of a connection.
        topics_per_connection: 600,
        // The exchange may close the connection of a client that is silent for a minute:
        // <https://docs.kraken.com/api/docs/websocket-v2/ping>.
        ping: Some(Ping {
            interval: Duration::from_secs(15),
            only_if_idle: false,
            message: |id, _| json!({"method": "ping", "req_id": id}).to_string(),
        }),
        ..StreamRules::new(ExchangeId::KRAKEN, &PROFILE)
    };

    fn channels(channel: Channel) -> &'static [&'static str] {
        match channel {
            Channel::Ticker => &["ticker"],
            Channel::Trades => &["trade"],
            Channel::Candles => &["ohlc"],
        }
    }

    fn request(request: &Request<'_>) -> String {
        let (channel, is_subscribe) = (request.topics[0].channel, request.operation == Operation::Subscribe);
        let symbols: Vec<&str> = request.topics.iter().map(|topic| topic.market).collect();
        let mut params = json!({"channel": channel, "symbol": symbols});
        match channel_by_name(channel) {
            // The default sends updates for trades only, and so misses most changes of the order book.
            Some(Channel::Ticker) => params["event_trigger"] = "bbo".into(),
            // Trades of a snapshot are old and must not count towards a candle.
            Some(Channel::Trades) if is_subscribe => params["snapshot"] = false.into(),
            Some(Channel::Candles) => params["interval"] = 1.into(),
            _ => {}
        }
        json!({"method": request.operation.as_str(), "params": params, "req_id": request.id}).to_string()
    }

    fn decode<'a>(&mut self, text: &'a str, sink: &mut Sink<'_, ()>) -> Result<Inbound<'a>, FeedError> {
        // Most frames start with the channel name, which allows parsing the rows in one pass as their own type.
        let channel = text.strip_prefix("{\"channel\":\"").and_then(|rest| rest.split_once('"'));
        match channel.and_then(|(channel, _)| channel_by_name(channel)) {
            Some(channel) => decode_data(channel, text, sink),
            None => decode_other(text, sink),
        }
    }
}

/// Decodes acknowledgements and refusals, and data with another order of members.
#[cold]
fn decode_other<'a>(text: &'a str, sink: &mut Sink<'_, ()>) -> Result<Inbound<'a>, FeedError> {
    let Some(frame) = codec::parse_envelope::<Envelope<'_>>(text)? else { return Ok(Inbound::Ignored) };
    if let Some(channel) = frame.channel.as_deref() {
        return match channel_by_name(channel) {
            Some(channel) => decode_data(channel, text, sink),
            // "Sent approximately once every second in the absence of any other channel updates":
            // <https://docs.kraken.com/api/docs/websocket-v2/heartbeat>
            None if channel == "heartbeat" => Ok(Inbound::Notice(Notice::Heartbeat)),
            None => Ok(Inbound::Ignored),
        };
    }
    let result = frame.result.unwrap_or_default();
    let market = result.symbol.or(frame.symbol).map(|symbol| symbol.0);
    let answer = Answer { request: frame.req_id.0, channel: result.channel.map(|channel| channel.0), market };
    Ok(match (frame.method.as_deref(), frame.error) {
        (Some("subscribe"), None) if frame.success != Some(false) && answer.market.is_some() => Inbound::Ack(answer),
        // The response to an unsubscribe request or a ping, or a message without relevance.
        (Some("unsubscribe" | "ping"), _) | (_, None) => Inbound::Ignored,
        (_, Some(Text(reason))) if reason.contains("msg rate") || reason.contains("Rate limit") => {
            Inbound::Overloaded { reason, retry_after: RECONNECT_DELAY }
        }
        (_, Some(reason)) if reason.to_ascii_lowercase().contains("already subscribed") => {
            Inbound::AlreadySubscribed(answer)
        }
        (_, Some(Text(reason))) => Inbound::Refusal { answer, reason },
    })
}

fn decode_data<'a>(channel: Channel, text: &str, sink: &mut Sink<'_, ()>) -> Result<Inbound<'a>, FeedError> {
    match channel {
        Channel::Ticker => {
            let (message, invalid): (Message<'_, Object<Ticker<'_>>>, _) = codec::parse_rows(text)?;
            message.data.iter().for_each(|row| sink.ticker(&row.symbol, || ticker(row)));
            sink.skip_rows(&invalid);
        }
        Channel::Trades => {
            let (message, invalid): (Message<'_, Object<Trade<'_>>>, _) = codec::parse_rows(text)?;
            if &*message.kind != "snapshot" || sink.accepts_any() {
                message.data.iter().for_each(|row| sink.trade(&row.symbol, || trade(row)));
            }
            sink.skip_trades(&invalid, "symbol");
        }
        Channel::Candles => {
            let (message, invalid): (Message<'_, Object<StreamCandle<'_>>>, _) = codec::parse_rows(text)?;
            let newest = newest_open_times(&message.data);
            for row in message.data.iter() {
                let Some(interval) = interval_by_minutes(row.interval.0) else { continue };
                sink.candle(&row.symbol, interval, || candle(row, &newest));
            }
            sink.skip_rows(&invalid);
        }
    }
    Ok(Inbound::Data)
}

fn ticker(row: &Ticker<'_>) -> Result<TickerPatch, String> {
    let (bid, bid_size) = optional_level(row.bid.0, row.bid_qty.0);
    let (ask, ask_size) = optional_level(row.ask.0, row.ask_qty.0);
    Ok(TickerPatch {
        last: row.last.price(),
        bid,
        bid_size,
        ask,
        ask_size,
        high: row.high.price(),
        low: row.low.price(),
        base_volume: row.volume.value(),
        change_percent: row.change_pct.value(),
        // 1970 means "never".
        timestamp: row.timestamp.as_deref().map(parse_time).transpose()?.filter(|at| *at > Timestamp::EPOCH),
        ..TickerPatch::default()
    })
}

fn trade(row: &Trade<'_>) -> Result<NewTrade, String> {
    let (side, timestamp) = (codec::parse_side(&row.side)?, parse_time(&row.timestamp)?);
    Ok(NewTrade { id: row.id.to_id(), price: row.price, amount: row.qty, side, timestamp })
}

/// Kraken has no closed flag: a candle is closed if a later one of its series is in the same message. The candle
/// finalizer, which knows the exchange's clock, closes the others.
fn candle(row: &StreamCandle<'_>, newest: &HashMap<&str, &str>) -> Result<Candle, String> {
    let closed = newest.get(&*row.symbol).is_some_and(|newest| *newest > &*row.interval_begin);
    let prices = [row.open, row.high, row.low, row.close];
    let candle = new_candle(parse_time(&row.interval_begin)?, prices, row.volume);
    Ok(Candle { trades: row.trades.and_then(Int::count), closed, ..candle })
}

/// The newest open time of each symbol, if there are several rows. As text: RFC 3339 in one format sorts like the times.
fn newest_open_times<'a>(rows: &'a Rows<Object<StreamCandle<'_>>>) -> HashMap<&'a str, &'a str> {
    let mut newest: HashMap<&str, &str> = HashMap::new();
    for row in rows.iter().filter(|_| !rows.more.is_empty()) {
        let known = newest.entry(&row.symbol).or_insert(&row.interval_begin);
        *known = (*known).max(&row.interval_begin);
    }
    newest
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    codec::parse_time(text).map_err(|error| format!("{text:?}: {error}"))
}
