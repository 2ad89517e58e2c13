//! Encodes and decodes the values and messages in Redis.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

use crate::cache::{BusEvent, BusEventKind, CachedTicker, CollectorReply, CollectorRequest, RequestError, Version};
use crate::model::{
    Candle, ExchangeId, GapReason, Number, Series, Source, Symbol, Ticker, TickerPatch, TimeRange, Timestamp, Topic,
    wire,
};

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    seq: u64,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    reason: Option<GapReason>,
}

/// Decodes an event. Its data is a slice of the frame.
pub(super) fn decode_event(frame: &Bytes) -> Option<BusEvent> {
    let read: Frame<'_> = serde_json::from_slice(frame).ok()?;
    let kind = match (read.data, read.reason) {
        (Some(data), _) => BusEventKind::Data(frame.slice_ref(data.get().as_bytes())),
        (None, reason) => BusEventKind::Gap(reason?),
    };
    Some(BusEvent { epoch: read.epoch.into(), seq: read.seq, kind })
}

/// Encodes an event for other replicas.
pub(super) fn encode_event(topic: &Topic, event: &BusEvent) -> Bytes {
    match &event.kind {
        BusEventKind::Data(data) => wire::data_frame(topic, &event.epoch, event.seq, data),
        BusEventKind::Gap(reason) => wire::bus_gap_frame(topic, &event.epoch, event.seq, *reason),
    }
    .into()
}

#[derive(Deserialize)]
struct TickerJson {
    exchange: ExchangeId,
    symbol: Symbol,
    last: Option<Number>,
    bid: Option<Number>,
    bid_size: Option<Number>,
    ask: Option<Number>,
    ask_size: Option<Number>,
    open: Option<Number>,
    high: Option<Number>,
    low: Option<Number>,
    base_volume: Option<Number>,
    quote_volume: Option<Number>,
    change_percent: Option<Number>,
    timestamp: Option<Timestamp>,
    received_at: Timestamp,
    source: Source,
    simulated: bool,
}

/// Decodes the JSON object of a ticker.
pub(super) fn decode_ticker(json: &Bytes, version: Version) -> Option<CachedTicker> {
    let read: TickerJson = serde_json::from_slice(json).ok()?;
    let number = |number: Option<Number>| number.map(|number| number.0);
    let values = TickerPatch {
        last: number(read.last),
        bid: number(read.bid),
        bid_size: number(read.bid_size),
        ask: number(read.ask),
        ask_size: number(read.ask_size),
        open: number(read.open),
        high: number(read.high),
        low: number(read.low),
        base_volume: number(read.base_volume),
        quote_volume: number(read.quote_volume),
        change_percent: number(read.change_percent),
        timestamp: read.timestamp,
    };
    let ticker = Ticker {
        exchange: read.exchange,
        symbol: read.symbol,
        values,
        received_at: read.received_at,
        source: read.source,
    };
    Some(CachedTicker { ticker, simulated: read.simulated, version, json: json.slice(..json.len() - 1) })
}

/// The complete JSON object of a cached ticker.
pub(super) fn ticker_json(cached: &CachedTicker) -> Vec<u8> {
    let mut json = Vec::with_capacity(cached.json.len() + 1);
    json.extend_from_slice(&cached.json);
    json.push(b'}');
    json
}

/// Decodes a ticker as the scripts store it: `token seq s|r received_at JSON`.
pub(super) fn decode_stored_ticker(value: &Bytes) -> Option<CachedTicker> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.splitn(5, ' ');
    let (token, seq) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let json = parts.nth(2)?;
    decode_ticker(&value.slice_ref(json.as_bytes()), Version { token, seq })
}

#[derive(Deserialize)]
struct CandleJson {
    timestamp: Timestamp,
    open: Number,
    high: Number,
    low: Number,
    close: Number,
    volume: Number,
    quote_volume: Option<Number>,
    trades: Option<u64>,
    closed: bool,
    revision: u32,
}

pub(super) fn candle_json(candle: &Candle) -> Vec<u8> {
    let mut json = Vec::with_capacity(256);
    json.push(b'{');
    wire::candle_fields(&mut json, candle);
    json.push(b'}');
    json
}

/// Decodes a candle as the scripts store it: `token seq closed JSON`.
pub(super) fn decode_candle(value: &str) -> Option<Candle> {
    let read: CandleJson = serde_json::from_str(value.splitn(4, ' ').nth(3)?).ok()?;
    Some(Candle {
        timestamp: read.timestamp,
        open: read.open.0,
        high: read.high.0,
        low: read.low.0,
        close: read.close.0,
        volume: read.volume.0,
        quote_volume: read.quote_volume.map(|number| number.0),
        trades: read.trades,
        closed: read.closed,
        revision: read.revision,
    })
}

/// A request to a collector.
#[derive(Serialize, Deserialize)]
pub(super) struct RequestMessage {
    pub id: u64,
    /// The channel for the reply.
    #[serde(rename = "answer_to")]
    pub reply_to: String,
    #[serde(rename = "question")]
    pub request: RequestJson,
    /// Trace context of the requester: a `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RequestJson {
    Ticker { exchange: ExchangeId, symbol: Symbol },
    Candles { series: Series, start: Timestamp, end: Timestamp },
}

impl From<&CollectorRequest> for RequestJson {
    fn from(request: &CollectorRequest) -> Self {
        match request {
            CollectorRequest::Ticker { exchange, symbol } => {
                Self::Ticker { exchange: *exchange, symbol: symbol.clone() }
            }
            CollectorRequest::Candles { series, range } => {
                Self::Candles { series: series.clone(), start: range.start(), end: range.end() }
            }
        }
    }
}

impl From<RequestJson> for CollectorRequest {
    fn from(request: RequestJson) -> Self {
        match request {
            RequestJson::Ticker { exchange, symbol } => Self::Ticker { exchange, symbol },
            RequestJson::Candles { series, start, end } => Self::Candles { series, range: TimeRange::new(start, end) },
        }
    }
}

/// A reply of a collector.
#[derive(Serialize, Deserialize)]
pub(super) struct ReplyMessage {
    pub id: u64,
    pub reply: ReplyJson,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReplyJson {
    Stored,
    Ticker { token: u64, seq: u64, json: String },
    Offline,
    Pending,
    RateLimited(Timestamp),
    UnknownSymbol,
    Failed(String),
}

impl From<Result<CollectorReply, RequestError>> for ReplyJson {
    fn from(reply: Result<CollectorReply, RequestError>) -> Self {
        match reply {
            Ok(CollectorReply::Stored) => Self::Stored,
            Ok(CollectorReply::Ticker(cached)) => Self::Ticker {
                token: cached.version.token,
                seq: cached.version.seq,
                json: String::from_utf8_lossy(&ticker_json(&cached)).into_owned(),
            },
            Err(RequestError::Offline) => Self::Offline,
            Err(RequestError::Pending) => Self::Pending,
            Err(RequestError::RateLimited(until)) => Self::RateLimited(until),
            Err(RequestError::UnknownSymbol) => Self::UnknownSymbol,
            Err(RequestError::Failed(reason)) => Self::Failed(reason),
        }
    }
}

impl From<ReplyJson> for Result<CollectorReply, RequestError> {
    fn from(reply: ReplyJson) -> Self {
        Err(match reply {
            ReplyJson::Stored => return Ok(CollectorReply::Stored),
            ReplyJson::Ticker { token, seq, json } => match decode_ticker(&json.into(), Version { token, seq }) {
                Some(cached) => return Ok(CollectorReply::Ticker(cached)),
                None => RequestError::Failed("the collector's reply is not a ticker".to_owned()),
            },
            ReplyJson::Offline => RequestError::Offline,
            ReplyJson::Pending => RequestError::Pending,
            ReplyJson::RateLimited(until) => RequestError::RateLimited(until),
            ReplyJson::UnknownSymbol => RequestError::UnknownSymbol,
            ReplyJson::Failed(reason) => RequestError::Failed(reason),
        })
    }
}
