//! How shared values are written.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

use crate::cache::{Answer, BusEvent, BusEventKind, KeptTicker, Position, Question, RequestError};
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

/// The event of a frame; its data are a part of the frame's own bytes.
pub(super) fn event(frame: &Bytes) -> Option<BusEvent> {
    let read: Frame<'_> = serde_json::from_slice(frame).ok()?;
    let kind = match (read.data, read.reason) {
        (Some(data), _) => BusEventKind::Data(frame.slice_ref(data.get().as_bytes())),
        (None, reason) => BusEventKind::Gap(reason?),
    };
    Some(BusEvent { epoch: read.epoch.into(), seq: read.seq, kind })
}

/// An event on its way to other replicas.
pub(super) fn frame(topic: &Topic, event: &BusEvent) -> Bytes {
    match &event.kind {
        BusEventKind::Data(data) => wire::data_frame(topic, &event.epoch, event.seq, data),
        BusEventKind::Gap(reason) => wire::gap_frame(topic, &event.epoch, event.seq, *reason),
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

/// A ticker as events tell it: the whole object.
pub(super) fn ticker(json: &Bytes, position: Position) -> Option<KeptTicker> {
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
    Some(KeptTicker { ticker, simulated: read.simulated, position, json: json.slice(..json.len() - 1) })
}

/// The JSON of a kept ticker, with its closing brace.
pub(super) fn ticker_json(kept: &KeptTicker) -> Vec<u8> {
    let mut json = Vec::with_capacity(kept.json.len() + 1);
    json.extend_from_slice(&kept.json);
    json.push(b'}');
    json
}

/// A ticker as the scripts keep it: `token seq s|r received_at JSON`.
pub(super) fn kept_ticker(value: &Bytes) -> Option<KeptTicker> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.splitn(5, ' ');
    let (token, seq) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let json = parts.nth(2)?;
    ticker(&value.slice_ref(json.as_bytes()), Position { token, seq })
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

/// A candle as the scripts keep it: `token seq closed JSON`.
pub(super) fn kept_candle(value: &str) -> Option<Candle> {
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

/// A question on its way to a collector.
#[derive(Serialize, Deserialize)]
pub(super) struct Asking {
    pub id: u64,
    /// The channel that waits for the answer.
    pub answer_to: String,
    pub question: QuestionJson,
    /// Where the asker is in its trace: a `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum QuestionJson {
    Ticker { exchange: ExchangeId, symbol: Symbol },
    Candles { series: Series, start: Timestamp, end: Timestamp },
}

impl From<&Question> for QuestionJson {
    fn from(question: &Question) -> Self {
        match question {
            Question::Ticker { exchange, symbol } => Self::Ticker { exchange: *exchange, symbol: symbol.clone() },
            Question::Candles { series, range } => {
                Self::Candles { series: series.clone(), start: range.start(), end: range.end() }
            }
        }
    }
}

impl From<QuestionJson> for Question {
    fn from(question: QuestionJson) -> Self {
        match question {
            QuestionJson::Ticker { exchange, symbol } => Self::Ticker { exchange, symbol },
            QuestionJson::Candles { series, start, end } => Self::Candles { series, range: TimeRange::new(start, end) },
        }
    }
}

/// An answer on its way back.
#[derive(Serialize, Deserialize)]
pub(super) struct Answering {
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

impl From<Result<Answer, RequestError>> for ReplyJson {
    fn from(reply: Result<Answer, RequestError>) -> Self {
        match reply {
            Ok(Answer::Stored) => Self::Stored,
            Ok(Answer::Ticker(kept)) => Self::Ticker {
                token: kept.position.token,
                seq: kept.position.seq,
                json: String::from_utf8_lossy(&ticker_json(&kept)).into_owned(),
            },
            Err(RequestError::Offline) => Self::Offline,
            Err(RequestError::Pending) => Self::Pending,
            Err(RequestError::RateLimited(until)) => Self::RateLimited(until),
            Err(RequestError::UnknownSymbol) => Self::UnknownSymbol,
            Err(RequestError::Failed(why)) => Self::Failed(why),
        }
    }
}

impl From<ReplyJson> for Result<Answer, RequestError> {
    fn from(reply: ReplyJson) -> Self {
        Err(match reply {
            ReplyJson::Stored => return Ok(Answer::Stored),
            ReplyJson::Ticker { token, seq, json } => match ticker(&json.into(), Position { token, seq }) {
                Some(kept) => return Ok(Answer::Ticker(kept)),
                None => RequestError::Failed("the collector's answer is no ticker".to_owned()),
            },
            ReplyJson::Offline => RequestError::Offline,
            ReplyJson::Pending => RequestError::Pending,
            ReplyJson::RateLimited(until) => RequestError::RateLimited(until),
            ReplyJson::UnknownSymbol => RequestError::UnknownSymbol,
            ReplyJson::Failed(why) => RequestError::Failed(why),
        })
    }
}
