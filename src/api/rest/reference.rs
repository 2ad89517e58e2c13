//! `GET /v1/exchanges`, `GET /v1/exchanges/{exchange}`, `GET /v1/instruments` and `GET /v1/coverage`.

use std::sync::Arc;

use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::Tag;
use super::parameters::{
    Base, CoverageLimit, Cursor, End, Exchange, INSTRUMENTS_LIMIT, InstrumentsLimit, Interval, Part, Quote, Start,
    Symbol,
};
use super::payload::RawJson;
use super::schema;
use crate::api::Doors;
use crate::api::problem::{Code, Problem, Refused};
use crate::api::refusal::Refusal;
use crate::market::{CandleFields, CoverageAnswer, InstrumentPage, InstrumentQuery, LedgerQuery};
use crate::model::wire;

/// About the longest instrument in JSON.
const INSTRUMENT_BYTES: usize = 200;

/// What can be asked for, and what is known.
pub struct ReferenceApi(pub Arc<Doors>);

#[OpenApi(tag = "Tag::Reference")]
impl ReferenceApi {
    /// All enabled exchanges
    ///
    /// In registry order, which is the order in which they are asked where a question names none.
    #[oai(path = "/v1/exchanges", method = "get", operation_id = "listExchanges")]
    async fn exchanges(&self) -> RawJson<schema::Exchanges> {
        let now = self.0.clock.now();
        let states = self.0.market.exchanges().await;
        RawJson::encode(&schema::Exchanges {
            exchanges: states.iter().map(|state| schema::Exchange::new(state, now)).collect(),
        })
    }

    /// One exchange: its state, what it offers, its connections and budgets
    ///
    /// States: `connecting` (not yet live), `live`, `stale` (connected, but silent), `reconnecting`, `down`,
    /// `simulated` (the simulator stands in for it).
    #[oai(path = "/v1/exchanges/:exchange", method = "get", operation_id = "getExchange")]
    async fn exchange(
        &self,
        /// The id of the exchange.
        exchange: Path<Exchange>,
    ) -> Result<RawJson<schema::Exchange>, Refusal> {
        let id = self.0.market.exchange_id(&exchange)?;
        let states = self.0.market.exchanges().await;
        let state = states.iter().find(|state| state.exchange == id);
        let state = state.ok_or_else(|| Problem::new(Code::NotReady, format!("nothing is known of {id} yet")))?;
        Ok(RawJson::encode(&schema::Exchange::new(state, self.0.clock.now())))
    }

    /// What can be asked for
    ///
    /// The spot markets that the enabled exchanges list, by exchange and symbol, and those that they listed once and
    /// whose history is kept (`status` is `delisted`). Texts compare without case.
    #[oai(path = "/v1/instruments", method = "get", operation_id = "listInstruments")]
    async fn instruments(
        &self,
        /// Only those of this exchange.
        exchange: Query<Option<Exchange>>,
        base: Query<Option<Base>>,
        quote: Query<Option<Quote>>,
        q: Query<Option<Part>>,
        limit: Query<Option<InstrumentsLimit>>,
        cursor: Query<Option<Cursor>>,
    ) -> Result<RawJson<schema::Instruments>, Refusal> {
        let (default, max) = INSTRUMENTS_LIMIT;
        let limit = limit.as_deref().map_or(Ok(default), str::parse);
        let limit = limit.ok().filter(|limit| (1..=max).contains(limit)).ok_or_else(|| {
            let detail = format!("`limit` is a whole number from 1 to {max}");
            Problem::invalid(vec![Refused { parameter: "limit".into(), detail: detail.into() }])
        })?;
        let query = InstrumentQuery {
            exchange: exchange.as_deref().map(|name| self.0.market.exchange_id(name)).transpose()?,
            base: base.as_deref().map(str::to_owned),
            quote: quote.as_deref().map(str::to_owned),
            q: q.as_deref().map(str::to_owned),
            limit: limit as usize,
            cursor: cursor.as_deref().map(str::to_owned),
        };
        Ok(RawJson::new(write_instruments(&self.0.market.instruments(&query).await?)))
    }

    /// What is known of a series of candles, and how
    ///
    /// Disjoint ranges, ascending; what is in none of them is unknown. States: `observed` (seen on the stream),
    /// `fetched` (asked from the exchange), `derived` (from shorter candles), `empty` (nobody traded, or before the
    /// listing), `unavailable` (the exchange cannot give it). Without `start` the first page begins with what is known
    /// first. `complete` speaks of the page's time, which ends with its last range where another page follows.
    #[oai(path = "/v1/coverage", method = "get", operation_id = "getCoverage")]
    async fn coverage(
        &self,
        exchange: Query<Option<Exchange>>,
        symbol: Query<Symbol>,
        interval: Query<Option<Interval>>,
        start: Query<Option<Start>>,
        end: Query<Option<End>>,
        limit: Query<Option<CoverageLimit>>,
        cursor: Query<Option<Cursor>>,
    ) -> Result<RawJson<schema::Coverage>, Refusal> {
        let fields = CandleFields {
            interval: interval.as_deref(),
            start: start.as_deref(),
            end: end.as_deref(),
            limit: limit.as_deref(),
            cursor: cursor.as_deref(),
            ..CandleFields::default()
        };
        let query = LedgerQuery::new(fields, self.0.clock.now())?;
        let listed = self.0.market.find(exchange.as_deref(), &symbol).await?;
        Ok(RawJson::new(write_coverage(&self.0.market.coverage(&listed, &query).await?)))
    }
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
    write_cursor(&mut out, page.next_cursor.as_deref());
    out.push(b'}');
    out
}

fn write_cursor(out: &mut Vec<u8>, cursor: Option<&str>) {
    match cursor {
        Some(cursor) => wire::string(out, cursor),
        None => out.extend_from_slice(b"null"),
    }
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
    out.extend_from_slice(b",\"next_cursor\":");
    write_cursor(&mut out, answer.next_cursor.as_deref());
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
