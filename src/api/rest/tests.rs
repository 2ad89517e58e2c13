//! The encoders say what the schemas say, and the examples of the document say the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use poem::http::{StatusCode, Uri, header};
use poem::{IntoResponse, Response};
use poem_openapi::types::{ParseFromJSON, ToJSON, Type};
use rust_decimal::Decimal;
use serde_json::Value;

use super::payload::RawJson;
use super::{candles, history, hot, reference, schema, ticker};
use crate::api::problem::{Code, Problem};
use crate::cache::{KeptTicker, Position};
use crate::market::{
    CandleFields, CandleQuery, CoverageAnswer, Fill, Format, HistoryGap, HistoryPage, HoleReason, InstrumentPage,
    Listed, TickerAnswer,
};
use crate::model::{
    BudgetState, Candle, Channel, ClockOffset, ConnectionState, CoveredRange, ExchangeId, ExchangeState, FeedState,
    Instrument, InstrumentStatus, Interval, Knowledge, Source, Ticker, TickerPatch, TimeRange, Timestamp, wire,
};

const OPEN: Timestamp = Timestamp::from_millis(1_763_672_340_000);

/// Whether `body` has exactly the members that `T` describes, at every depth.
fn agrees<T: Type + ParseFromJSON + ToJSON>(body: &[u8]) -> Value {
    let body: Value = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error} in {body:?}"));
    let parsed = T::parse_from_json(Some(body.clone())).unwrap_or_else(|error| panic!("{}", error.into_message()));
    same_members(&body, &parsed.to_json().unwrap(), &T::name());
    body
}

fn same_members(body: &Value, schema: &Value, at: &str) {
    match (body, schema) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let (mut mine, mut yours): (Vec<_>, Vec<_>) = (ours.keys().collect(), theirs.keys().collect());
            mine.sort();
            yours.sort();
            assert_eq!(mine, yours, "{at}");
            ours.iter().for_each(|(name, value)| same_members(value, &theirs[name], &format!("{at}.{name}")));
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "{at}");
            ours.iter().zip(theirs).for_each(|(mine, yours)| same_members(mine, yours, at));
        }
        _ => {}
    }
}

fn ticker_answer(values: TickerPatch) -> TickerAnswer {
    let ticker = Ticker {
        exchange: ExchangeId::Binance,
        symbol: "BTC/USDT".parse().unwrap(),
        values,
        received_at: OPEN,
        source: Source::Stream,
    };
    let mut json = vec![b'{'];
    wire::ticker_fields(&mut json, &ticker, false);
    let kept = KeptTicker { ticker, simulated: false, position: Position::default(), json: json.into() };
    TickerAnswer { kept, age: Duration::from_millis(41), stale: false }
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
        exchange: ExchangeId::Binance,
        symbol: "BTC/USDT".parse().unwrap(),
        interval: Interval::M1,
        simulated: false,
        complete: false,
        gaps: vec![HistoryGap { range: Interval::M1.span(start), reason: HoleReason::Pending }],
        next_cursor: None,
        candles: vec![candle()],
        filled: BTreeSet::new(),
    }
}

/// The question of a page in that format.
fn query(format: Format, fill: Fill) -> CandleQuery {
    CandleQuery { fill, format, ..CandleQuery::new(CandleFields::default(), OPEN).unwrap() }
}

fn instrument() -> Arc<Instrument> {
    Arc::new(Instrument {
        exchange: ExchangeId::Binance,
        symbol: "BTC/USDT".parse().unwrap(),
        native: "BTCUSDT".to_owned(),
        stream_native: None,
        price_step: Some(Decimal::new(1, 2)),
        amount_step: Some(Decimal::new(1, 5)),
        status: InstrumentStatus::Trading,
    })
}

#[test]
fn a_ticker_is_what_its_schema_says() {
    for values in [TickerPatch::default(), TickerPatch { last: Some(Decimal::ONE), ..Default::default() }] {
        let mut body = Vec::new();
        ticker::write_ticker(&mut body, &ticker_answer(values));
        let body = agrees::<schema::Ticker>(&body);
        assert_eq!((&body["age_ms"], &body["stale"]), (&41.into(), &false.into()));
    }
    let answers = [("BTC/USDT", Ok(ticker_answer(TickerPatch::default()))), ("X/\"Y", Err(Code::UnknownSymbol))];
    let body = agrees::<schema::Tickers>(&ticker::write_tickers(&answers));
    assert_eq!(body["errors"][0]["symbol"], "X/\"Y");
    agrees::<schema::Tickers>(&ticker::write_tickers(&[]));
}

#[test]
fn a_history_is_what_its_schema_says() {
    let mut page = page();
    let json = candles::write_page(&query(Format::Json, Fill::None), &page);
    agrees::<schema::History>(&json);
    assert_eq!(String::from_utf8(json).unwrap().trim(), include_str!("examples/history.json").trim());
    page.candles.push(Candle { quote_volume: None, trades: None, closed: false, ..candle() });
    page.next_cursor = Some("b17".to_owned());
    agrees::<schema::History>(&candles::write_page(&query(Format::Json, Fill::None), &page));
}

#[test]
fn the_other_formats_have_a_row_a_candle() {
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
fn what_nobody_traded_is_told_apart() {
    let quiet = OPEN + Duration::from_mins(1);
    let flat = Candle { timestamp: quiet, volume: Decimal::ZERO, trades: Some(0), ..candle() };
    let page = HistoryPage { candles: vec![candle(), flat], filled: BTreeSet::from([quiet]), ..page() };
    let bytes = |format| candles::write_page(&query(format, Fill::Flat), &page);
    let body = agrees::<schema::History>(&bytes(Format::Json));
    assert_eq!((body["candles"][0].get("filled"), &body["candles"][1]["filled"]), (None, &true.into()));
    let text = |format| String::from_utf8(bytes(format)).unwrap();
    let ends = |format, lines: [&str; 2]| {
        let text = text(format);
        let told: Vec<&str> = text.lines().rev().take(2).collect();
        assert!(told[1].ends_with(lines[0]) && told[0].ends_with(lines[1]), "{text}");
    };
    ends(Format::Ndjson, ["\"revision\":0}", "\"revision\":0,\"filled\":true}"]);
    ends(Format::Csv, [",true,0,false", ",true,0,true"]);
    assert!(
        text(Format::Csv)
            .starts_with("timestamp,open,high,low,close,volume,quote_volume,trades,closed,revision,filled\n")
    );
    assert_eq!(serde_json::from_str::<Vec<[f64; 6]>>(&text(Format::Array)).unwrap().len(), 2);
}

#[test]
fn a_page_says_in_headers_what_its_body_cannot() {
    let uri = Uri::from_static("/v1/history?symbol=BTC/USDT&start=0&cursor=f1&limit=1");
    let answer = |known: &str, query: &CandleQuery, page: &HistoryPage, now| -> Response {
        history::answer(&uri, Some(known), query, &hot::Encoded::new(query, page.clone(), now)).into_response()
    };
    let other = "\"other\"";
    let now = OPEN + Duration::from_hours(1);
    let fields = CandleFields { start: Some("0"), end: Some("1763672400000"), ..Default::default() };
    let query = CandleQuery::new(fields, now).unwrap();
    let mut page = HistoryPage { next_cursor: Some("f2".to_owned()), ..page() };
    let response = answer(other, &query, &page, now);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.header("candlewick-simulated"), Some("false"));
    assert_eq!(response.header("candlewick-complete"), Some("false"));
    assert_eq!(response.header("cache-control"), Some("no-cache"), "incomplete");
    let link = "</v1/history?symbol=BTC/USDT&start=0&limit=1&cursor=f2>; rel=\"next\"";
    assert_eq!(response.header("link"), Some(link));
    page.complete = true;
    let response = answer(other, &query, &page, now);
    assert_eq!(response.header("cache-control"), Some("public, max-age=60"));
    let open = CandleQuery::new(CandleFields { end: None, ..fields }, now).unwrap();
    assert_eq!(answer(other, &open, &page, now).header("cache-control"), Some("no-cache"), "still open");
    let tag = response.header("etag").unwrap();
    let response = answer(tag, &query, &page, now);
    assert_eq!((response.status(), response.header("etag")), (StatusCode::NOT_MODIFIED, Some(tag)));
    assert_eq!(response.header("candlewick-complete"), Some("true"));
}

#[test]
fn listings_and_ledgers_are_what_their_schemas_say() {
    let page = InstrumentPage { instruments: vec![instrument(), instrument()], next_cursor: Some("x".to_owned()) };
    agrees::<schema::Instruments>(&reference::write_instruments(&page));
    let range = TimeRange::new(Timestamp::from_millis(1_763_600_000_000), OPEN);
    let answer = CoverageAnswer {
        listed: Listed { exchange: ExchangeId::Binance, instrument: instrument(), simulated: false },
        interval: Interval::M1,
        complete: true,
        next_cursor: None,
        coverage: [CoveredRange { range, state: Knowledge::Observed }].into_iter().collect(),
    };
    let body = reference::write_coverage(&answer);
    agrees::<schema::Coverage>(&body);
    let first = CoverageAnswer { next_cursor: Some("f17".to_owned()), ..answer };
    assert_eq!(agrees::<schema::Coverage>(&reference::write_coverage(&first))["next_cursor"], "f17");
    assert_eq!(String::from_utf8(body).unwrap(), include_str!("examples/coverage.json").trim());
}

#[test]
fn an_exchange_is_what_its_schema_says() {
    let state = ExchangeState {
        exchange: ExchangeId::Binance,
        state: FeedState::Live,
        since: Timestamp::from_millis(1_763_672_300_000),
        simulated: false,
        channels: Channel::ALL.to_vec(),
        intervals: vec![Interval::M1, Interval::M3],
        symbols: vec!["BTC/USDT".parse().unwrap()],
        room: 10,
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
        listed_at: None,
        detail: None,
    };
    let body = serde_json::to_string(&schema::Exchange::new(&state, OPEN + Duration::from_millis(12))).unwrap();
    assert_eq!(body, include_str!("examples/exchange.json").trim());
}

#[test]
fn examples_are_what_their_schemas_say() {
    agrees::<schema::Ticker>(include_bytes!("examples/ticker.json"));
    agrees::<schema::Tickers>(include_bytes!("examples/tickers.json"));
    agrees::<schema::Exchange>(include_bytes!("examples/exchange.json"));
    agrees::<schema::Exchanges>(include_bytes!("examples/exchanges.json"));
    agrees::<schema::Instruments>(include_bytes!("examples/instruments.json"));
    agrees::<schema::Health>(include_bytes!("examples/health.json"));
    agrees::<schema::Live>(include_bytes!("examples/live.json"));
    agrees::<schema::Ready>(include_bytes!("examples/ready.json"));
    agrees::<schema::Problem>(include_bytes!("examples/problem.json"));
}

#[test]
fn a_problem_is_what_its_schema_says() {
    let wrong = CandleQuery::new(CandleFields { limit: Some("1e9"), ..Default::default() }, OPEN).unwrap_err();
    let body = Problem::from(wrong).json();
    agrees::<schema::Problem>(&body);
    assert_eq!(String::from_utf8(body).unwrap(), include_str!("examples/problem.json").trim());
}

#[test]
fn an_answer_says_its_media_type() {
    let response = RawJson::<schema::Live>::new(&b"{}"[..]).into_response();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
}
