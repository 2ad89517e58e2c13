//! The bodies of backfills.

use std::borrow::Cow;

use poem_openapi::Object;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde::Serialize;
use serde_json::Value;

use crate::market::BackfillStatus;

/// The range of candles to fetch.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct NewBackfill {
    /// The id of the exchange. Without it, the first enabled exchange that lists the symbol is used.
    #[oai(validator(min_length = 1))]
    pub exchange: Option<String>,
    /// The market: `BTC/USDT`, `BTC-USDT` or `BTC_USDT` in upper or lower case, or the exchange's native symbol. A
    /// contract has its settlement asset, `BTC/USDT:USDT`, and a future also its expiry date, `BTC/USDT:USDT-270326`.
    #[oai(validator(min_length = 1))]
    pub symbol: String,
    /// The candle interval. Default: `1m`.
    #[oai(validator(pattern = "^(1m|3m|5m|15m|30m|1h|2h|4h|6h|8h|12h|1d|3d|1w|1M)$"))]
    pub interval: Option<String>,
    /// The first open time, inclusive.
    pub since: Time,
    /// The end of the range, exclusive. Default: now.
    pub until: Option<Time>,
}

/// A backfill: a range of candles that is fetched on request.
#[derive(Debug, Object, Serialize)]
pub struct Backfill {
    id: String,
    exchange: String,
    symbol: String,
    interval: String,
    /// Whether the data comes from the simulator.
    simulated: bool,
    /// The first open time, inclusive, in Unix milliseconds.
    start: i64,
    /// The end of the range, exclusive, in Unix milliseconds.
    end: i64,
    /// `waiting`, `running`, `done` or `failed`.
    state: String,
    /// Whether no part of the range is unknown or unavailable.
    complete: bool,
    /// Length of the known part of the range, in milliseconds.
    known_ms: u64,
    /// Length of the range, in milliseconds.
    total_ms: u64,
    /// The reason of a failure.
    detail: Option<String>,
    /// Time of creation, in Unix milliseconds.
    created_at: i64,
    /// Time of the last change of `state`, in Unix milliseconds.
    updated_at: i64,
}

impl Backfill {
    pub fn new(status: &BackfillStatus) -> Self {
        let backfill = &status.backfill;
        let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            id: backfill.id.clone(),
            exchange: backfill.series.exchange.to_string(),
            symbol: backfill.series.symbol.to_string(),
            interval: backfill.series.interval.to_string(),
            simulated: status.simulated,
            start: backfill.range.start().millis(),
            end: backfill.range.end().millis(),
            state: backfill.state.to_string(),
            complete: status.complete,
            known_ms: millis(status.known),
            total_ms: millis(backfill.range.duration()),
            detail: backfill.detail.clone(),
            created_at: backfill.created_at.millis(),
            updated_at: backfill.updated_at.millis(),
        }
    }
}

/// The latest backfills, newest first.
#[derive(Debug, Object, Serialize)]
pub struct Backfills {
    pub backfills: Vec<Backfill>,
}

/// A time in a request body: Unix milliseconds or RFC 3339. Validated where it is used.
#[derive(Clone, Debug)]
pub struct Time(pub String);

impl Type for Time {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "Time".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let inline = |schema| MetaSchemaRef::Inline(Box::new(schema));
        let millis = MetaSchema { minimum: Some(0.0), ..MetaSchema::new_with_format("integer", "int64") };
        let one_of = vec![inline(millis), inline(MetaSchema::new_with_format("string", "date-time"))];
        inline(MetaSchema { one_of, example: Some("2025-11-20T21:00:00Z".into()), ..MetaSchema::ANY })
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromJSON for Time {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value.unwrap_or_default() {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            other => Err(ParseError::expected_type(other)),
        }
    }
}

impl ToJSON for Time {
    fn to_json(&self) -> Option<Value> {
        Some(Value::String(self.0.clone()))
    }
}
