//! `GET /v1/coverage`.

use poem::Response;

use super::payload::{JSON, json};
use super::{END, EXCHANGE, INTERVAL, START, SYMBOL, schema};
use crate::api::operation::{self, Call, Content, Operation, Tag};
use crate::api::problem::{Code, Problem};
use crate::market::{CandleFields, CandleQuery, CoverageAnswer};
use crate::model::wire;

pub const COVERAGE: Operation = Operation {
    id: "getCoverage",
    path: "/v1/coverage",
    tag: Some(Tag::Reference),
    summary: "What is known of a series of candles, and how",
    description: "Disjoint ranges, ascending; what is in none of them is unknown. States: `observed` (seen on the stream), \
                  `fetched` (asked from the exchange), `derived` (from shorter candles), `empty` (nobody traded, or before \
                  the listing), `unavailable` (the exchange cannot give it).",
    parameters: &[EXCHANGE, SYMBOL, INTERVAL, START, END],
    contents: &[Content {
        media: JSON,
        schema: Some(operation::schema::<schema::Coverage>),
        example: include_str!("examples/coverage.json"),
    }],
    headers: &[],
    conditional: false,
    problems: &[
        Code::InvalidParameter,
        Code::UnknownExchange,
        Code::UnknownSymbol,
        Code::UnsupportedInterval,
        Code::StoreUnavailable,
        Code::NotReady,
    ],
    handler: |call| Box::pin(coverage(call)),
};

async fn coverage(call: Call<'_>) -> Result<Response, Problem> {
    let (market, values) = (&call.doors.market, &call.values);
    let fields = CandleFields {
        interval: values.get("interval"),
        start: values.get("start"),
        end: values.get("end"),
        ..CandleFields::default()
    };
    let query = CandleQuery::new(fields, call.doors.clock.now())?;
    let listed = market.find(values.get("exchange"), values.required("symbol")).await?;
    let answer = market.coverage(&listed, query.interval, query.range).await?;
    Ok(json(write_coverage(&answer)))
}

pub(super) fn write_coverage(answer: &CoverageAnswer) -> Vec<u8> {
    let ranges = answer.coverage.ranges();
    let mut out = Vec::with_capacity(160 + ranges.len() * 80);
    out.push(b'{');
    wire::market_fields(&mut out, answer.listed.exchange, &answer.listed.instrument.symbol);
    out.extend_from_slice(b",\"interval\":\"");
    out.extend_from_slice(answer.interval.as_str().as_bytes());
    out.extend_from_slice(b"\",\"simulated\":");
    out.extend_from_slice(if answer.listed.simulated { b"true" } else { b"false" });
    out.extend_from_slice(b",\"complete\":");
    out.extend_from_slice(if answer.complete { b"true" } else { b"false" });
    out.extend_from_slice(b",\"ranges\":[");
    for (index, known) in ranges.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        wire::covered_range(&mut out, known);
    }
    out.extend_from_slice(b"]}");
    out
}
