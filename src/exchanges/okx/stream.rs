//! The dialect of OKX's WebSocket.

use super::profile::PROFILE;
use super::rest::{INTERVAL_NAMES, candle, ticker_patch};
use super::wire::{CandleRow, Envelope, Message, Ticker, Trade};
use crate::exchanges::prelude::*;

/// The codec of one connection.
#[derive(Default)]
pub(super) struct Codec;

/// Time without a frame until the session sends a ping, which the exchange answers. The exchange closes a connection on
/// which it has sent nothing for 30 s.
/// <https://www.okx.com/docs-v5/en/#overview-websocket-connect>
pub(super) const PING_AFTER_IDLE: Duration = Duration::from_secs(20);

/// Delay before a reconnect after too many requests or an internal error of the exchange.
const RECONNECT_DELAY: Duration = Duration::from_secs(5);

/// Kinds of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DataKind {
    Tickers,
    Trades,
    Candles(Interval),
}

impl DataKind {
    /// By the name of a channel; `None` for candles that are not on our grid.
    fn from_channel(channel: &str) -> Option<Self> {
        match channel {
            "tickers" => Some(Self::Tickers),
            "trades" => Some(Self::Trades),
            _ => codec::interval_by_name(&INTERVAL_NAMES, channel.strip_prefix("candle")?).map(Self::Candles),
        }
    }
}

impl StreamCodec for Codec {
    type State = ();

    const RULES: StreamRules = StreamRules {
        answers: Answers::ByTopic,
        mixes_channels: true,
        // Keeps a message below 4 KiB. The documented limit is 64 KB.
        topics_per_request: 50,
        // The "total length" of the topics may be 64 KB, at about 50 bytes each; there is also an undocumented maximum
        // number (close code 4008): <https://www.okx.com/docs-v5/en/#overview-websocket-subscribe>.
        topics_per_connection: 400,
        ping: Some(Ping { interval: PING_AFTER_IDLE, only_if_idle: true, message: |_, _| "ping".to_owned() }),
        ..StreamRules::new(ExchangeId::OKX, &PROFILE)
    };

    fn channels(channel: Channel) -> &'static [&'static str] {
        match channel {
            Channel::Ticker => &["tickers"],
            Channel::Trades => &["trades"],
            Channel::Candles => &["candle1m"],
        }
    }

    fn request(request: &Request<'_>) -> String {
        let argument = |topic: &NativeTopic<'_>| json!({"channel": topic.channel, "instId": topic.market});
        let arguments: Vec<_> = request.topics.iter().map(argument).collect();
        // The acknowledgement of each topic has the id of the request.
        json!({"id": request.id.to_string(), "op": request.operation.as_str(), "args": arguments}).to_string()
    }

    fn decode<'a>(&mut self, text: &'a str, sink: &mut Sink<'_, ()>) -> Result<Inbound<'a>, FeedError> {
        match peek_data_kind(text) {
            Some(kind) => decode_data(kind, text, sink),
            None => decode_other(text, sink),
        }
    }
}

/// The kind of a data frame. Most data frames start with the channel name, which allows parsing the rows in one pass as
/// their own type. An acknowledgement may start in the same way, but has no data after it.
fn peek_data_kind(text: &str) -> Option<DataKind> {
    let (channel, rest) = text.strip_prefix("{\"arg\":{\"channel\":\"")?.split_once('"')?;
    let (_, rest) = rest.split_once('}')?;
    if rest.starts_with(",\"data\":") { DataKind::from_channel(channel) } else { None }
}

/// Decodes acknowledgements, refusals and notices, and data with another order of members.
#[cold]
fn decode_other<'a>(text: &'a str, sink: &mut Sink<'_, ()>) -> Result<Inbound<'a>, FeedError> {
    if text == "pong" {
        return Ok(Inbound::Ignored);
    }
    let Some(frame) = codec::parse_envelope::<Envelope<'_>>(text)? else { return Ok(Inbound::Ignored) };
    let mut answer = Answer { request: frame.id.0, ..Answer::default() };
    Ok(match (frame.event.as_deref(), frame.code.as_deref()) {
        (None, _) => match frame.arg.and_then(|arg| DataKind::from_channel(&arg.channel)) {
            Some(kind) => return decode_data(kind, text, sink),
            None => Inbound::Ignored,
        },
        (Some("subscribe"), _) => {
            let (channel, market) = frame.arg.map(|arg| (arg.channel.0, arg.inst_id.map(|id| id.0))).unzip();
            Inbound::Ack(Answer { channel, market: market.flatten(), ..answer })
        }
        // Requests too frequent; failed due to an internal error:
        // <https://www.okx.com/docs-v5/en/#error-code-websocket>
        (Some("error"), Some(code @ ("60014" | "64007" | "63999"))) => {
            Inbound::Overloaded { reason: reason(code, frame.msg.as_deref()), retry_after: RECONNECT_DELAY }
        }
        // Of a request with several topics, the exchange refuses one, which only the message names, or all. Whether it
        // accepts the others is not documented; in practice it did. Otherwise they miss their deadline.
        (Some("error"), code) => {
            let reason = reason(code.unwrap_or_default(), frame.msg.as_deref());
            if let Some((channel, market)) = refused_topic(&reason) {
                (answer.channel, answer.market) = (Some(channel.to_owned().into()), Some(market.to_owned().into()));
            }
            Inbound::Refusal { answer, reason }
        }
        (Some("notice"), Some("64008")) => Inbound::Notice(Notice::Rotate),
        // The response to an unsubscribe request, or a message without relevance.
        (Some(_), _) => Inbound::Ignored,
    })
}

fn reason<'a>(code: &str, message: Option<&str>) -> Cow<'a, str> {
    format!("{} (code {code})", message.unwrap_or_default()).into()
}

/// The channel and the native id in an error message: `… channel:tickers,instId:NO-USDT doesn't exist …`.
fn refused_topic(text: &str) -> Option<(&str, &str)> {
    let (channel, rest) = text.split_once("channel:")?.1.split_once(",instId:")?;
    Some((channel, rest.split(|c: char| c.is_whitespace() || c == ',').next()?))
}

fn decode_data<'a>(kind: DataKind, text: &str, sink: &mut Sink<'_, ()>) -> Result<Inbound<'a>, FeedError> {
    match kind {
        DataKind::Tickers => {
            let (message, invalid): (Message<'_, Object<Ticker<'_>>>, _) = codec::parse_rows(text)?;
            message.data.iter().for_each(|row| sink.ticker(&message.arg.inst_id, || Ok(ticker_patch(row))));
            sink.skip_rows(&invalid);
        }
        DataKind::Trades => {
            let (message, invalid): (Message<'_, Object<Trade<'_>>>, _) = codec::parse_rows(text)?;
            message.data.iter().for_each(|row| sink.trade(&message.arg.inst_id, || trade(row)));
            sink.skip_trades(&invalid, "instId");
        }
        DataKind::Candles(interval) => {
            let (message, invalid): (Message<'_, CandleRow>, _) = codec::parse_rows(text)?;
            message.data.iter().for_each(|row| sink.candle(&message.arg.inst_id, interval, || Ok(candle(row))));
            sink.skip_rows(&invalid);
        }
    }
    Ok(Inbound::Data)
}

fn trade(row: &Trade<'_>) -> Result<NewTrade, String> {
    let (side, timestamp) = (codec::parse_side(&row.side)?, row.ts.millis());
    Ok(NewTrade { id: row.id.to_id(), price: row.px, amount: row.sz, side, timestamp })
}
