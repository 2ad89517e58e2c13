//! `GET /v1/exchanges`, `GET /v1/exchanges/{exchange}`, `GET /v1/instruments` and `GET /v1/coverage`.

use std::sync::Arc;

use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::parameters::{
    Base, CoverageLimit, Cursor, End, Exchange, INSTRUMENTS_LIMIT, InstrumentsLimit, Interval, Kind, Quote, SearchText,
    Start, Symbol,
};
use super::payload::RawJson;
use super::schema;
use super::tag::Tag;
use crate::api::error_response::ErrorResponse;
use crate::api::problem::{Code, ParameterProblem, Problem};
use crate::api::state::AppState;
use crate::market::{CandleParams, CoveragePage, CoverageQuery, InstrumentPage, InstrumentQuery};
use crate::model::{MarketKind, UnknownMarketKind, wire};

/// Approximate upper bound for the size of an instrument in JSON, in bytes.
const INSTRUMENT_BYTES: usize = 300;

/// Operations for exchanges, instruments and coverage.
pub struct ReferenceApi(pub Arc<AppState>);

#[OpenApi(tag = "Tag::Reference")]
impl ReferenceApi {
    /// All enabled exchanges
    ///
    /// In registry order: a request without `exchange` uses the first exchange in this order that lists the symbol.
    #[oai(path = "/v1/exchanges", method = "get", operation_id = "listExchanges")]
    async fn exchanges(&self) -> RawJson<schema::Exchanges> {
        let now = self.0.clock.now();
        let states = self.0.market.exchanges().await;
        RawJson::encode(&schema::Exchanges {
            exchanges: states.iter().map(|state| schema::Exchange::new(state, now)).collect(),
        })
    }

    /// One exchange: state, capabilities, connections and rate-limit budgets
    ///
    /// States: `connecting` (not yet live), `live`, `stale` (connected, but no data arrives), `reconnecting`, `down`,
    /// `simulated` (the simulator replaces the exchange).
    #[oai(path = "/v1/exchanges/:exchange", method = "get", operation_id = "getExchange")]
    async fn exchange(
        &self,
        /// The id of the exchange.
        exchange: Path<Exchange>,
    ) -> Result<RawJson<schema::Exchange>, ErrorResponse> {
        let id = self.0.market.exchange_id(&exchange)?;
        let states = self.0.market.exchanges().await;
        let state = states.iter().find(|state| state.exchange == id);
        let state = state.ok_or_else(|| Problem::new(Code::NotReady, format!("the state of {id} is not known yet")))?;
        Ok(RawJson::encode(&schema::Exchange::new(state, self.0.clock.now())))
    }

    /// Available markets
    ///
    /// The markets that the enabled exchanges list, ordered by exchange and symbol, and delisted markets with stored
    /// history (`status` is `delisted`). Filters ignore case.
    #[oai(path = "/v1/instruments", method = "get", operation_id = "listInstruments")]
    async fn instruments(
        &self,
        /// Only markets of this exchange.
        exchange: Query<Option<Exchange>>,
        kind: Query<Option<Kind>>,
        base: Query<Option<Base>>,
        quote: Query<Option<Quote>>,
        q: Query<Option<SearchText>>,
        limit: Query<Option<InstrumentsLimit>>,
        cursor: Query<Option<Cursor>>,
    ) -> Result<RawJson<schema::Instruments>, ErrorResponse> {
        let (limit, kind) = parse_page(limit.as_deref(), kind.as_deref())?;
        let query = InstrumentQuery {
            exchange: exchange.as_deref().map(|name| self.0.market.exchange_id(name)).transpose()?,
            kind,
            base: base.as_deref().map(str::to_owned),
            quote: quote.as_deref().map(str::to_owned),
            q: q.as_deref().map(str::to_owned),
            limit: limit as usize,
            cursor: cursor.as_deref().map(str::to_owned),
        };
        Ok(RawJson::new(write_instruments(&self.0.market.instruments(&query).await?)))
    }

    /// Coverage of a candle series
    ///
    /// Disjoint time ranges in ascending order, each with a state; the state of all other times is unknown. States:
    /// `observed` (received from the stream), `fetched` (requested from the exchange), `derived` (computed from shorter
    /// candles), `empty` (no trades, or before the listing), `unavailable` (the exchange cannot provide it). Without
    /// `start`, the first page begins with the first known range. `complete` refers to the time span of the page, which
    /// ends with its last range if there is a next page.
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
    ) -> Result<RawJson<schema::Coverage>, ErrorResponse> {
        let params = CandleParams {
            interval: interval.as_deref(),
            start: start.as_deref(),
            end: end.as_deref(),
            limit: limit.as_deref(),
            cursor: cursor.as_deref(),
            ..CandleParams::default()
        };
        let query = CoverageQuery::new(params, self.0.clock.now())?;
        let listed = self.0.market.find(exchange.as_deref(), &symbol).await?;
        Ok(RawJson::new(write_coverage(&self.0.market.coverage(&listed, &query).await?)))
    }
}

/// The limit of a page of instruments, and the market kind to filter by.
fn parse_page(limit: Option<&str>, kind: Option<&str>) -> Result<(u32, Option<MarketKind>), Problem> {
    let mut problems = Vec::new();
    let mut record = |parameter: &'static str, detail: String| {
        problems.push(ParameterProblem { parameter: parameter.into(), detail: detail.into() });
    };
    let (default, max) = INSTRUMENTS_LIMIT;
    let limit = limit.map_or(Ok(default), str::parse).ok().filter(|limit| (1..=max).contains(limit));
    if limit.is_none() {
        record("limit", format!("`limit` is a whole number from 1 to {max}"));
    }
    let kind: Result<_, UnknownMarketKind> = kind.map(str::parse).transpose();
    if let Err(error) = &kind {
        record("kind", error.to_string());
    }
    match (limit, kind) {
        (Some(limit), Ok(kind)) => Ok((limit, kind)),
        _ => Err(Problem::invalid_parameters(problems)),
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

pub(super) fn write_coverage(page: &CoveragePage) -> Vec<u8> {
    let ranges = page.coverage.ranges();
    let mut out = Vec::with_capacity(160 + ranges.len() * 80);
    out.push(b'{');
    wire::market_fields(&mut out, page.listed.exchange, &page.listed.instrument.symbol);
    out.extend_from_slice(b",\"interval\":\"");
    out.extend_from_slice(page.interval.as_str().as_bytes());
    out.extend_from_slice(b"\",\"simulated\":");
    out.extend_from_slice(if page.listed.simulated { b"true" } else { b"false" });
    out.extend_from_slice(b",\"complete\":");
    out.extend_from_slice(if page.complete { b"true" } else { b"false" });
    out.extend_from_slice(b",\"next_cursor\":");
    write_cursor(&mut out, page.next_cursor.as_deref());
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
