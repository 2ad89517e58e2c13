//! `GET /v1/instruments`.

use poem::Response;

use super::payload::{JSON, json};
use super::{CURSOR, EXCHANGE, schema};
use crate::api::operation::{self, Call, Content, Kind, Operation, Parameter, Tag};
use crate::api::problem::{Code, Problem, Refused};
use crate::market::{InstrumentPage, InstrumentQuery};
use crate::model::wire;

/// How many instruments a page has when nothing is said, and at most.
const LIMIT: (u32, u32) = (500, 5_000);

/// About the longest instrument in JSON.
const INSTRUMENT_BYTES: usize = 200;

pub const INSTRUMENTS: Operation = Operation {
    id: "listInstruments",
    path: "/v1/instruments",
    tag: Some(Tag::Reference),
    summary: "What can be asked for",
    description: "The spot markets that the enabled exchanges list, by exchange and symbol. Texts compare without case.",
    parameters: &[
        Parameter { description: "Only those of this exchange.", ..EXCHANGE },
        Parameter::query("base", Kind::Text, "Only those of this base asset.", "BTC"),
        Parameter::query("quote", Kind::Text, "Only those of this quote asset.", "USDT"),
        Parameter::query("q", Kind::Text, "Only those whose symbol or own id has this in it.", "btc"),
        Parameter::query(
            "limit",
            Kind::Count { default: LIMIT.0, max: LIMIT.1 },
            "How many instruments a page has at most.",
            "100",
        ),
        Parameter { example: "binance:BTC/USDT", ..CURSOR },
    ],
    contents: &[Content {
        media: JSON,
        schema: Some(operation::schema::<schema::Instruments>),
        example: include_str!("examples/instruments.json"),
    }],
    headers: &[],
    conditional: false,
    problems: &[Code::InvalidParameter, Code::UnknownExchange, Code::NotReady],
    handler: |call| Box::pin(instruments(call)),
};

async fn instruments(call: Call<'_>) -> Result<Response, Problem> {
    let (market, values) = (&call.doors.market, &call.values);
    let owned = |name| values.get(name).map(str::to_owned);
    let limit = match values.get("limit") {
        None => LIMIT.0,
        Some(text) => text.parse().ok().filter(|limit| (1..=LIMIT.1).contains(limit)).ok_or_else(|| {
            let detail = format!("`limit` is a whole number from 1 to {}", LIMIT.1);
            Problem::invalid(vec![Refused { parameter: "limit".into(), detail: detail.into() }])
        })?,
    };
    let query = InstrumentQuery {
        exchange: values.get("exchange").map(|name| market.exchange_id(name)).transpose()?,
        base: owned("base"),
        quote: owned("quote"),
        q: owned("q"),
        limit: limit as usize,
        cursor: owned("cursor"),
    };
    let page = market.instruments(&query).await?;
    Ok(json(write_instruments(&page)))
}

pub(super) fn write_instruments(page: &InstrumentPage) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + page.instruments.len() * INSTRUMENT_BYTES);
    out.extend_from_slice(b"{\"instruments\":[");
    for (index, instrument) in page.instruments.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        wire::instrument(&mut out, instrument);
    }
    out.extend_from_slice(b"],\"next_cursor\":");
    match &page.next_cursor {
        Some(cursor) => wire::string(&mut out, cursor),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    out
}
