//! The dialect of Bybit's WebSocket. A topic is what Bybit calls a topic, too: `kline.1.BTCUSDT`.

use super::profile::PROFILE;
use super::rest::{INTERVAL_NAMES, statistics};
use super::wire::{Envelope, Message, OrderBook, StreamCandle, Ticker, Trade};
use crate::exchanges::prelude::*;

/// The codec of one connection.
#[derive(Default)]
pub(super) struct Codec;

impl StreamCodec for Codec {
    /// The ticker, merged from statistics and order book.
    type State = TickerPatch;

    const RULES: StreamRules = StreamRules {
        answers: Answers::InOrder,
        mixes_channels: true,
        // "Spot can input up to 10 args for each subscription request",
        // <https://bybit-exchange.github.io/docs/v5/ws/connect>
        topics_per_request: 10,
        // "The length of the args array" may be 21,000 characters, on the same page; this stays far below.
        topics_per_connection: 400,
        // "We recommend client sends ping heartbeat packet every 20 seconds", on the same page.
        ping: Some(Ping {
            interval: Duration::from_secs(20),
            only_if_idle: false,
            message: |id, _| json!({"req_id": id.to_string(), "op": "ping"}).to_string(),
        }),
        ..StreamRules::new(ExchangeId::BYBIT, &PROFILE)
    };

    fn channels(channel: Channel) -> &'static [&'static str] {
        match channel {
            Channel::Ticker => &["tickers", "orderbook.1"],
            Channel::Trades => &["publicTrade"],
            Channel::Candles => &["kline.1"],
        }
    }

    fn request(request: &Request<'_>) -> String {
        let topics = request.topics.iter().map(|topic| format!("{}.{}", topic.channel, topic.market));
        let (id, operation) = (request.id.to_string(), request.operation.as_str());
        json!({"req_id": id, "op": operation, "args": topics.collect::<Vec<_>>()}).to_string()
    }

    fn decode<'a>(&mut self, text: &'a str, sink: &mut Sink<'_, TickerPatch>) -> Result<Inbound<'a>, FeedError> {
        // Most frames start with the topic, some after the type, which allows parsing the rows in one pass as their own
        // type.
        let rest = text.strip_prefix("{\"type\":\"snapshot\",").or_else(|| text.strip_prefix('{')).unwrap_or(text);
        match rest.strip_prefix("\"topic\":\"").and_then(|rest| rest.split_once('"')) {
            Some((topic, _)) => decode_data(topic, text, sink),
            None => decode_other(text, sink),
        }
    }
}

/// Decodes acknowledgements and refusals, and data with another order of members.
#[cold]
fn decode_other<'a>(text: &'a str, sink: &mut Sink<'_, TickerPatch>) -> Result<Inbound<'a>, FeedError> {
    let Some(frame) = codec::parse_envelope::<Envelope<'_>>(text)? else { return Ok(Inbound::Ignored) };
    if let Some(topic) = frame.topic.as_deref() {
        return decode_data(topic, text, sink);
    }
    let mut answer = Answer { request: frame.req_id.0, ..Answer::default() };
    Ok(match (frame.op.as_deref(), frame.success) {
        (Some("subscribe"), Some(true)) => Inbound::Ack(answer),
        (Some("subscribe"), Some(false)) => {
            let reason = frame.ret_msg.map_or("no reason".into(), |reason| reason.0);
            // The exchange refuses a request because one of its topics is subscribed already:
            // `error:already subscribed,topic:tickers.BTCUSDT`, as seen in
            // <https://github.com/sieblyio/bybit-api/issues/477>. Whether it accepted the others is unknown.
            let Some((_, topic)) = reason.split_once("already subscribed,topic:") else {
                return Ok(Inbound::Refusal { answer, reason });
            };
            if let Some((channel, market)) = topic.trim().rsplit_once('.') {
                (answer.channel, answer.market) = (Some(channel.to_owned().into()), Some(market.to_owned().into()));
            }
            Inbound::AlreadySubscribed(answer)
        }
        // The response to a ping or to an unsubscribe request.
        _ => Inbound::Ignored,
    })
}

fn decode_data<'a>(topic: &str, text: &str, sink: &mut Sink<'_, TickerPatch>) -> Result<Inbound<'a>, FeedError> {
    match topic.split_once('.') {
        Some(("tickers", _)) => on_ticker(&codec::parse_frame(text)?, sink),
        Some(("orderbook", rest)) if rest.starts_with("1.") => on_order_book(&codec::parse_frame(text)?, sink),
        Some(("publicTrade", _)) => {
            let (message, invalid): (Message<'_, Rows<Object<Trade<'_>>>>, _) = codec::parse_rows(text)?;
            // A trade of a derivative has a tick direction.
            let spot = message.data.iter().filter(|row| row.tick_direction.is_none());
            spot.for_each(|row| sink.trade(&row.s, || trade(row)));
            sink.skip_trades(&invalid, "s");
        }
        Some(("kline", rest)) => {
            let (message, invalid): (Message<'_, Rows<Object<StreamCandle<'_>>>>, _) = codec::parse_rows(text)?;
            let native = rest.rsplit('.').next().unwrap_or("");
            for row in message.data.iter() {
                let Some(interval) = codec::interval_by_name(&INTERVAL_NAMES, &row.interval) else { continue };
                sink.candle(native, interval, || Ok(candle(row)));
            }
            sink.skip_rows(&invalid);
        }
        _ => return Inbound::ignored(text),
    }
    Ok(Inbound::Data)
}

fn on_ticker(message: &Message<'_, Object<Ticker<'_>>>, sink: &mut Sink<'_, TickerPatch>) {
    let row = &message.data;
    // Only tickers of derivatives have a mark price and deltas.
    if row.mark_price.is_some() || message.kind.as_deref() == Some("delta") {
        return;
    }
    let Some(mut market) = sink.market(&row.symbol, Channel::Ticker) else { return };
    let patch = statistics(row);
    if patch == TickerPatch::default() {
        return market.record("a ticker without values");
    }
    let TickerPatch { bid, bid_size, ask, ask_size, timestamp, .. } = *market.state();
    let mut values = TickerPatch { bid, bid_size, ask, ask_size, timestamp, ..patch };
    values.update_timestamp(message.ts.millis());
    if market.ticker(values) {
        *market.state() = values;
    }
}

fn on_order_book(message: &Message<'_, Object<OrderBook<'_>>>, sink: &mut Sink<'_, TickerPatch>) {
    let is_delta = message.kind.as_deref() == Some("delta");
    let Some(mut market) = sink.market(&message.data.s, Channel::Ticker) else { return };
    let mut values = *market.state();
    // A delta does not name an unchanged side.
    if let Some((bid, size)) = best_level(&message.data.b, is_delta) {
        (values.bid, values.bid_size) = (bid, size);
    }
    if let Some((ask, size)) = best_level(&message.data.a, is_delta) {
        (values.ask, values.ask_size) = (ask, size);
    }
    values.update_timestamp(message.ts.millis());
    if market.ticker(values) {
        *market.state() = values;
    }
}

/// The best level of a side, `(None, None)` if the side is empty; `None` if a delta does not name the side.
fn best_level(rows: &Rows<(Number, Number)>, is_delta: bool) -> Option<(Option<Decimal>, Option<Decimal>)> {
    if is_delta && rows.first.is_none() {
        return None;
    }
    let level = rows.iter().find(|(_, size)| !size.0.is_zero());
    Some(level.map_or((None, None), |(price, size)| price_level(*price, *size)))
}

fn trade(row: &Trade<'_>) -> Result<NewTrade, String> {
    let (side, timestamp) = (codec::parse_side(&row.side)?, row.at.millis());
    Ok(NewTrade { id: (*row.id).into(), price: row.p, amount: row.v, side, timestamp })
}

fn candle(row: &StreamCandle<'_>) -> Candle {
    let prices = [row.open, row.high, row.low, row.close];
    let candle = new_candle(row.start.millis(), prices, row.volume);
    Candle { quote_volume: Some(row.turnover.0), closed: row.confirm, ..candle }
}
