//! What adapters use.

pub(super) use std::borrow::Cow;
pub(super) use std::time::Duration;

pub(super) use rust_decimal::Decimal;
pub(super) use serde::Deserialize;
pub(super) use serde::de::IgnoredAny;
pub(super) use serde_json::json;
pub(super) use serde_json::value::RawValue;

pub(super) use super::adapter::Exchange;
pub(super) use super::candle_rows::{CandleRows, first_column};
pub(super) use super::codec::{
    self, Int, InvalidRow, Lenient, Object, OptionalNumber, RequestId, RowMessage, Rows, Text, new_candle,
    nonzero_price, optional_level, price_level,
};
pub(super) use super::feed::{ConnectionPlan, FeedError, FeedSession, Notice, Recovery, Subscription};
pub(super) use super::listing::{self, Listing, RowIssue, Step};
pub(super) use super::profile::{MinuteCandles, PageCost, Profile, RateLimit};
pub(super) use super::response::{RestError, RestErrorKind, RestResponse};
pub(super) use super::rest::{CandlePage, MarketResponse, RestCall, ServerTime};
pub(super) use super::session::{
    Answer, Answers, Inbound, NativeTopic, NewTrade, Operation, Ping, Request, Session, Sink, StreamCodec, StreamRules,
};
pub(super) use crate::model::{
    Candle, Channel, ExchangeId, Instrument, InstrumentStatus, Interval, Number, Side, Symbol, TickerPatch, Timestamp,
};
