//! Tests that encoders and examples match the schemas.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use poem::http::{StatusCode, Uri, header};
use poem::{IntoResponse, Response};
use poem_openapi::types::{ParseFromJSON, ToJSON, Type};
use rust_decimal::Decimal;
use serde_json::Value;

use super::payload::RawJson;
use super::{candles, history, page_cache, reference, schema, ticker};
use crate::api::problem::{Code, Problem, ProblemSchema};
use crate::cache::{CachedTicker, Version};
use crate::market::{
    CandleParams, CandleQuery, CoveragePage, Fill, Format, HistoryGap, HistoryGapReason, HistoryPage, InstrumentPage,
    LatestTicker, ListedMarket,
};
use crate::model::{
    BudgetState, Candle, Channel, ClockOffset, ConnectionState, Contract, CoverageState, CoveredRange, ExchangeId,
    ExchangeState, FeedState, Instrument, Interval, Source, Ticker, TickerPatch, TimeRange, Timestamp, wire,
};

const OPEN: Timestamp = Timestamp::from_millis(1_763_672_340_000);

/// Asserts that `body` has exactly the members of `T`, at every depth. Returns the parsed body.
fn assert_matches_schema<T: Type + ParseFromJSON + ToJSON>(body: &[u8]) -> Value {
    let body: Value = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error} in {body:?}"));
    let parsed = T::parse_from_json(Some(body.clone())).unwrap_or_else(|error| panic!("{}", error.into_message()));
    assert_same_members(&body, &parsed.to_json().unwrap(), &T::name());
    body
}

fn assert_same_members(body: &Value, schema: &Value, at: &str) {
    match (body, schema) {
        (Value::Object(actual), Value::Object(expected)) => {
            let (mut actual_names, mut expected_names): (Vec<_>, Vec<_>) =
                (actual.keys().collect(), expected.keys().collect());
            actual_names.sort();
            expected_names.sort();
            assert_eq!(actual_names, expected_names, "{at}");
            for (name, value) in actual {
                assert_same_members(value, &expected[name], &format!("{at}.{name}"));
            }
        }
        (Value::Array(actual), Value::Array(expected)) => {
            assert_eq!(actual.len(), expected.len(), "{at}");
            actual.iter().zip(expected).for_each(|(actual, expected)| assert_same_members(actual, expected, at));
        }
        _ => {}
    }
}

fn ticker_answer(values: TickerPatch) -> LatestTicker {
    let ticker = Ticker {
        exchange: ExchangeId::BINANCE,
        symbol: "BTC/USDT".parse().unwrap(),
        values,
        received_at: OPEN,
        source: Source::Stream,
    };
    let mut json = vec![b'{'];
    wire::ticker_fields(&mut json, &ticker, false);
    let cached = CachedTicker { ticker, simulated: false, version: Version::default(), json: json.into() };
    LatestTicker { cached, age: Duration::from_millis(41), stale: false }
}

fn candle() -> Candle {
    Candle {
        timestamp: OPEN,
        open: Decimal::new(670_001, 1),
        high: Decimal::from(67_020),
        low: Decimal::from(66_990),
        close: Decimal::new(6_701_234, 2),
        volume: Decimal::new(125, 1),
        quote_volume: Some(Decimal::new(8_376_542, 1)),
        trades: Some(412),
        closed: true,
        revision: 0,
    }
}

fn page() -> HistoryPage {
    let start = Timestamp::from_millis(1_763_672_100_000);
    HistoryPage {
        exchange: ExchangeId::BINANCE,
        symbol: "BTC/USDT".parse().unwrap(),
        interval: Interval::M1,
        simulated: false,
        complete: false,
        gaps: vec![HistoryGap { range: Interval::M1.span(start), reason: HistoryGapReason::Pending }],
        next_cursor: None,
        candles: vec![candle()],
        filled: BTreeSet::new(),
    }
}

/// The query of a page in this format.
fn query(format: Format, fill: Fill) -> CandleQuery {
    CandleQuery { fill, format, ..CandleQuery::new(CandleParams::default(), OPEN).unwrap() }
}

fn instrument() -> Arc<Instrument> {
    Arc::new(Instrument {
        price_step: Some(Decimal::new(1, 2)),
        amount_step: Some(Decimal::new(1, 5)),
        min_notional: Some(Decimal::from(5)),
        ..Instrument::new(ExchangeId::BINANCE, "BTC/USDT".parse().unwrap(), "BTCUSDT")
    })
}

#[test]
fn tickers_match_their_schemas() {
    for values in [TickerPatch::default(), TickerPatch { last: Some(Decimal::ONE), ..Default::default() }] {
        let mut body = Vec::new();
        ticker::write_ticker(&mut body, &ticker_answer(values));
        let body = assert_matches_schema::<schema::Ticker>(&body);
        assert_eq!((&body["age_ms"], &body["stale"]), (&41.into(), &false.into()));
    }
    let tickers = [("BTC/USDT", Ok(ticker_answer(TickerPatch::default()))), ("X/\"Y", Err(Code::UnknownSymbol))];
    let body = assert_matches_schema::<schema::Tickers>(&ticker::write_tickers(&tickers));
    assert_eq!(body["errors"][0]["symbol"], "X/\"Y");
    assert_matches_schema::<schema::Tickers>(&ticker::write_tickers(&[]));
}

#[test]
fn history_matches_its_schema() {
    let mut page = page();
    let json = candles::write_page(&query(Format::Json, Fill::None), &page);
    assert_matches_schema::<schema::History>(&json);
    assert_eq!(String::from_utf8(json).unwrap().trim(), include_str!("examples/history.json").trim());
    page.candles.push(Candle { quote_volume: None, trades: None, closed: false, ..candle() });
    page.next_cursor = Some("b17".to_owned());
    assert_matches_schema::<schema::History>(&candles::write_page(&query(Format::Json, Fill::None), &page));
}

#[test]
fn other_formats_have_one_row_per_candle() {
    let mut page = page();
    let text =
        |format, page: &HistoryPage| String::from_utf8(candles::write_page(&query(format, Fill::None), page)).unwrap();
    assert_eq!(text(Format::Csv, &page), include_str!("examples/history.csv"));
    assert_eq!(text(Format::Ndjson, &page), include_str!("examples/history.ndjson"));
    assert_eq!(text(Format::Array, &page), "[[1763672340000,67000.1,67020,66990,67012.34,12.5]]");
    page.candles = vec![Candle { quote_volume: None, trades: None, ..candle() }; 2];
    assert_eq!(
        text(Format::Csv, &page).lines().nth(2),
        Some("1763672340000,67000.1,67020,66990,67012.34,12.5,,,true,0")
    );
    assert_eq!(serde_json::from_str::<Vec<[f64; 6]>>(&text(Format::Array, &page)).unwrap().len(), 2);
    page.candles.clear();
    assert_eq!(text(Format::Array, &page), "[]");
    assert_eq!(text(Format::Ndjson, &page), "");
}

#[test]
fn filled_candles_are_marked() {
    let untraded = OPEN + Duration::from_mins(1);
    let flat = Candle { timestamp: untraded, volume: Decimal::ZERO, trades: Some(0), ..candle() };
    let page = HistoryPage { candles: vec![candle(), flat], filled: BTreeSet::from([untraded]), ..page() };
    let bytes = |format| candles::write_page(&query(format, Fill::Flat), &page);
    let body = assert_matches_schema::<schema::History>(&bytes(Format::Json));
    assert_eq!((body["candles"][0].get("filled"), &body["candles"][1]["filled"]), (None, &true.into()));
    let text = |format| String::from_utf8(bytes(format)).unwrap();
    let assert_last_lines = |format, lines: [&str; 2]| {
        let text = text(format);
        let last_lines: Vec<&str> = text.lines().rev().take(2).collect();
        assert!(last_lines[1].ends_with(lines[0]) && last_lines[0].ends_with(lines[1]), "{text}");
    };
    assert_last_lines(Format::Ndjson, ["\"revision\":0}", "\"revision\":0,\"filled\":true}"]);
    assert_last_lines(Format::Csv, [",true,0,false", ",true,0,true"]);
    assert!(
        text(Format::Csv)
            .starts_with("timestamp,open,high,low,close,volume,quote_volume,trades,closed,revision,filled\n")
    );
    assert_eq!(serde_json::from_str::<Vec<[f64; 6]>>(&text(Format::Array)).unwrap().len(), 2);
}

#[test]
fn page_headers_state_what_the_body_cannot() {
    let uri = Uri::from_static("/v1/history?symbol=BTC/USDT&start=0&cursor=f1&limit=1");
    let respond = |if_none_match: &str, query: &CandleQuery, page: &HistoryPage, now| -> Response {
        let page = page_cache::EncodedPage::new(query, page.clone(), now);
        history::page_response(&uri, Some(if_none_match), query, &page).into_response()
    };
    let other = "\"other\"";
    let now = OPEN + Duration::from_hours(1);
    let params = CandleParams { start: Some("0"), end: Some("1763672400000"), ..Default::default() };
    let query = CandleQuery::new(params, now).unwrap();
    let mut page = HistoryPage { next_cursor: Some("f2".to_owned()), ..page() };
    let response = respond(other, &query, &page, now);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.header("candlewick-simulated"), Some("false"));
    assert_eq!(response.header("candlewick-complete"), Some("false"));
    assert_eq!(response.header("cache-control"), Some("no-cache"), "incomplete");
    let link = "</v1/history?symbol=BTC/USDT&start=0&limit=1&cursor=f2>; rel=\"next\"";
    assert_eq!(response.header("link"), Some(link));
    page.complete = true;
    let response = respond(other, &query, &page, now);
    assert_eq!(response.header("cache-control"), Some("public, max-age=60"));
    let open = CandleQuery::new(CandleParams { end: None, ..params }, now).unwrap();
    assert_eq!(respond(other, &open, &page, now).header("cache-control"), Some("no-cache"), "still open");
    let tag = response.header("etag").unwrap();
    let response = respond(tag, &query, &page, now);
    assert_eq!((response.status(), response.header("etag")), (StatusCode::NOT_MODIFIED, Some(tag)));
    assert_eq!(response.header("candlewick-complete"), Some("true"));
}

#[test]
fn instruments_and_coverage_match_their_schemas() {
    let page = InstrumentPage { instruments: vec![instrument()], next_cursor: None };
    let written = String::from_utf8(reference::write_instruments(&page)).unwrap();
    assert_eq!(written.trim(), include_str!("examples/instruments.json").trim());
    let contract = Contract { size: Decimal::new(1, 3), expiry: Some(OPEN) };
    let future = Instrument {
        contract: Some(contract),
        ..Instrument::new(ExchangeId::KRAKEN, "BTC/USDT:USDT-251120".parse().unwrap(), "BTC-USDT-251120")
    };
    let page = InstrumentPage { instruments: vec![instrument(), future.into()], next_cursor: Some("x".to_owned()) };
    let body = assert_matches_schema::<schema::Instruments>(&reference::write_instruments(&page));
    let [spot, future] = [&body["instruments"][0], &body["instruments"][1]];
    assert_eq!((&spot["kind"], &spot["settle"]), (&"spot".into(), &serde_json::Value::Null));
    assert_eq!((&future["kind"], &future["settle"]), (&"linear".into(), &"USDT".into()));
    assert_eq!((&future["contract_size"], &future["expiry"]), (&0.001.into(), &OPEN.millis().into()));
    let range = TimeRange::new(Timestamp::from_millis(1_763_600_000_000), OPEN);
    let coverage = CoveragePage {
        listed: ListedMarket { exchange: ExchangeId::BINANCE, instrument: instrument(), simulated: false },
        interval: Interval::M1,
        complete: true,
        next_cursor: None,
        coverage: [CoveredRange { range, state: CoverageState::Observed }].into_iter().collect(),
    };
    let body = reference::write_coverage(&coverage);
    assert_matches_schema::<schema::Coverage>(&body);
    let first = CoveragePage { next_cursor: Some("f17".to_owned()), ..coverage };
    assert_eq!(assert_matches_schema::<schema::Coverage>(&reference::write_coverage(&first))["next_cursor"], "f17");
    assert_eq!(String::from_utf8(body).unwrap(), include_str!("examples/coverage.json").trim());
}

#[test]
fn exchange_matches_its_schema() {
    let state = ExchangeState {
        exchange: ExchangeId::BINANCE,
        state: FeedState::Live,
        since: Timestamp::from_millis(1_763_672_300_000),
        simulated: false,
        channels: Channel::ALL.to_vec(),
        intervals: vec![Interval::M1, Interval::M3],
        symbols: vec!["BTC/USDT".parse().unwrap()],
        on_demand_capacity: 10,
        ended: Vec::new(),
        connections: vec![ConnectionState {
            id: "binance.1".to_owned(),
            state: FeedState::Live,
            topics: 9,
            last_message: Some(OPEN),
            reconnects: 0,
        }],
        budgets: vec![BudgetState {
            scope: "rest".into(),
            limit: 6_000,
            window: Duration::from_mins(1),
            used: 42,
            open_at: None,
        }],
        clock: Some(ClockOffset { known: true, offset_ms: -40, doubt_ms: 210 }),
        exchange_time: None,
        listed_at: None,
        detail: None,
    };
    let body = serde_json::to_string(&schema::Exchange::new(&state, OPEN + Duration::from_millis(12))).unwrap();
    assert_eq!(body, include_str!("examples/exchange.json").trim());
}

#[test]
fn examples_match_their_schemas() {
    assert_matches_schema::<schema::Ticker>(include_bytes!("examples/ticker.json"));
    assert_matches_schema::<schema::Tickers>(include_bytes!("examples/tickers.json"));
    assert_matches_schema::<schema::Exchange>(include_bytes!("examples/exchange.json"));
    assert_matches_schema::<schema::Exchanges>(include_bytes!("examples/exchanges.json"));
    assert_matches_schema::<schema::Instruments>(include_bytes!("examples/instruments.json"));
    assert_matches_schema::<schema::Health>(include_bytes!("examples/health.json"));
    assert_matches_schema::<schema::Live>(include_bytes!("examples/live.json"));
    assert_matches_schema::<schema::Ready>(include_bytes!("examples/ready.json"));
    assert_matches_schema::<ProblemSchema>(include_bytes!("examples/problem.json"));
}

#[test]
fn problem_matches_its_schema() {
    let errors = CandleQuery::new(CandleParams { limit: Some("1e9"), ..Default::default() }, OPEN).unwrap_err();
    let body = Problem::from(errors).json();
    assert_matches_schema::<ProblemSchema>(&body);
    assert_eq!(String::from_utf8(body).unwrap(), include_str!("examples/problem.json").trim());
}

#[test]
fn response_has_its_media_type() {
    let response = RawJson::<schema::Live>::new(&b"{}"[..]).into_response();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
}
