//! Tests of the Kraken adapter, one for each rule of its API.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::adapter::Adapter;
use crate::exchanges::adapter::Exchange;
use crate::exchanges::candle_rows::CandleRows;
use crate::exchanges::feed::{Notice, Recovery, Subscription};
use crate::exchanges::response::RestErrorKind;
use crate::exchanges::rest::{CandlePage, RestCall};
use crate::exchanges::testing::{
    FIREWALL_PAGE, NOW, TestSession, acknowledged, all_channels, error_kind, instrument, parse, parse_status, rejected,
};
use crate::model::{ExchangeId, Interval, TickerPatch, TimeRange, Timestamp};

fn subscriptions(symbol: &str) -> Vec<Subscription> {
    let native = symbol.replace('/', "").replace("BTC", "XBT");
    all_channels(instrument(ExchangeId::KRAKEN, symbol, &native, Some(symbol)))
}

fn btc() -> Vec<Subscription> {
    subscriptions("BTC/USD")
}

fn ack(id: u64, channel: &str, symbol: &str) -> String {
    format!(
        r#"{{"method":"subscribe","req_id":{id},"result":{{"channel":"{channel}","snapshot":true,"symbol":"{symbol}"}},
        "success":true,"time_in":"2025-11-20T21:00:00.000001Z","time_out":"2025-11-20T21:00:00.000002Z"}}"#
    )
}

#[test]
fn acknowledges_each_symbol() {
    let (mut session, sent) = TestSession::open(&Adapter, &[btc(), subscriptions("ETH/EUR")].concat());
    let symbols = ["BTC/USD", "ETH/EUR"];
    let expected = [
        json!({"channel": "ticker", "symbol": symbols, "event_trigger": "bbo"}),
        json!({"channel": "trade", "symbol": symbols, "snapshot": false}),
        json!({"channel": "ohlc", "symbol": symbols, "interval": 1}),
    ];
    for (at, (sent, params)) in sent.iter().zip(expected).enumerate() {
        assert_eq!(*sent, json!({"method": "subscribe", "params": params, "req_id": at + 1}));
    }
    assert_eq!(acknowledged(&session.frame(&ack(2, "trade", "ETH/EUR"))), ["trades:kraken:ETH/EUR"]);
    assert_eq!(acknowledged(&session.frame(&ack(1, "ticker", "BTC/USD"))), ["ticker:kraken:BTC/USD"]);
    assert!(session.frame(&ack(1, "ticker", "BTC/USD")).notices.is_empty(), "acknowledged once only");
    let without_id = ack(3, "ohlc", "BTC/USD").replace(r#""req_id":3,"#, "");
    assert_eq!(acknowledged(&session.frame(&without_id)), ["candles:kraken:BTC/USD:1m"]);
}

fn to_rest_error(id: u64, symbol: &str) -> String {
    format!(
        r#"{{"error":"Currency pair not supported {symbol}","method":"subscribe","req_id":{id},"success":false,
        "symbol":"{symbol}","time_in":"2025-11-20T21:00:00.000001Z","time_out":"2025-11-20T21:00:00.000002Z"}}"#
    )
}

#[test]
fn rejects_each_symbol_separately() {
    let (mut session, _) = TestSession::open(&Adapter, &[btc(), subscriptions("NO/USD")].concat());
    let out = session.frame(&to_rest_error(2, "NO/USD"));
    assert_eq!(rejected(&out), ["trades:kraken:NO/USD"], "with the channel of the request");
    let Some(Notice::Rejected { reason, .. }) = out.notices.first() else { panic!("no rejection") };
    assert_eq!(reason, "Currency pair not supported NO/USD");
    assert_eq!(acknowledged(&session.frame(&ack(2, "trade", "BTC/USD"))), ["trades:kraken:BTC/USD"]);
}

#[test]
fn splits_rejected_request() {
    let (mut session, _) = TestSession::open(&Adapter, &[btc(), subscriptions("NO/USD")].concat());
    let out = session.frame(r#"{"error":"Malformed request","method":"subscribe","req_id":1,"success":false}"#);
    assert_eq!((out.frames.len(), out.notices.len()), (2, 0));
    let out = session.frame(r#"{"error":"Malformed request","method":"subscribe","req_id":5,"success":false}"#);
    assert_eq!(rejected(&out), ["ticker:kraken:NO/USD"]);
}

#[test]
fn acknowledges_already_subscribed() {
    let (mut session, _) = TestSession::open(&Adapter, &[btc(), subscriptions("ETH/USD")].concat());
    let already =
        r#"{"error":"Already subscribed","method":"subscribe","req_id":1,"success":false,"symbol":"ETH/USD"}"#;
    let out = session.frame(already);
    assert_eq!((acknowledged(&out), rejected(&out)), (vec!["ticker:kraken:ETH/USD".to_owned()], vec![]));
    assert_eq!(session.frame(already).notices, [], "acknowledged once only");
}

#[test]
fn delays_reconnect_after_too_many_messages() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let error = session.receive(r#"{"error":"Exceeded msg rate","method":"subscribe","success":false}"#).1.unwrap_err();
    assert!(matches!(error.recovery(), Recovery::Reconnect { after } if after > Duration::ZERO));
    let error = session.receive(r#"{"Error":"Exceeded msg rate"}"#).1.unwrap_err();
    assert!(matches!(error.recovery(), Recovery::Reconnect { after } if after > Duration::ZERO), "{error}");
    let error = session.receive(r#"{"error":"Malformed request","method":"error"}"#).1.unwrap_err();
    assert_eq!(error.recovery(), Recovery::SkipFrame);
}

#[test]
fn reconnects_after_missed_ack_deadline_and_sends_pings() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    assert_eq!(session.timer(NOW + Duration::from_secs(10)), (vec![], Ok(())));
    session.frame(&ack(1, "ticker", "BTC/USD"));
    session.frame(&ack(2, "trade", "BTC/USD"));
    let error = session.timer(NOW + Duration::from_secs(11)).1.unwrap_err();
    assert!(matches!(error.recovery(), Recovery::Reconnect { .. }));
    assert!(error.message.contains("candles:kraken:BTC/USD:1m"), "{}", error.message);
    session.frame(&ack(3, "ohlc", "BTC/USD"));
    let (sent, result) = session.timer(NOW + Duration::from_secs(30));
    assert_eq!((sent, result), (vec![json!({"method": "ping", "req_id": 4})], Ok(())));
    assert_eq!(session.timer(NOW + Duration::from_secs(31)).0, [] as [serde_json::Value; 0]);
}

#[test]
fn limits_subscriptions_per_message_and_connection() {
    let all: Vec<Subscription> = (0..250).flat_map(|n| subscriptions(&format!("A{n}/USD"))).collect();
    let plans = Adapter.connections(&all);
    let sizes: Vec<_> = plans.iter().map(|plan| (plan.subscriptions.len(), plan.spare_capacity)).collect();
    assert_eq!(sizes, [(600, 0), (150, 450)]);
    let (_, sent) = TestSession::open(&Adapter, &all);
    assert_eq!(sent.len(), 12);
    assert!(sent.iter().all(|frame| frame["params"]["symbol"].as_array().unwrap().len() == 50));
}

#[test]
fn updates_subscriptions_on_open_connection() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let sent = session.update(&subscriptions("ETH/EUR")[..1], &btc()[1..]);
    let trade = json!({"channel": "trade", "symbol": ["BTC/USD"]});
    assert_eq!(sent[0], json!({"method": "unsubscribe", "params": trade, "req_id": 4}));
    assert_eq!((&sent[1]["method"], &sent[1]["params"]["channel"]), (&json!("unsubscribe"), &json!("ohlc")));
    assert_eq!((&sent[2]["method"], &sent[2]["params"]["symbol"]), (&json!("subscribe"), &json!(["ETH/EUR"])));
    assert!(session.events(&candle_frame("update", &[("BTC/USD", "2025-11-20T20:59:00Z")])).is_empty());
    assert!(session.frame(r#"{"method":"unsubscribe","req_id":4,"success":true}"#).notices.is_empty());
}

const TICKER: &str = r#"{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":67012.3,"bid_qty":1.20000000,
 "ask":67012.4,"ask_qty":0.8,"last":67012.3,"volume":1834.10000000,"vwap":66850.1,"low":65800.0,"high":67500.0,
 "change":1012.2,"change_pct":1.53,"timestamp":"2025-11-20T21:00:00.123456Z"}]}"#;

#[test]
fn parses_ticker_without_derived_values() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let expected = r#"{"exchange":"kraken","symbol":"BTC/USD","last":67012.3,"bid":67012.3,"bid_size":1.2,"#.to_owned()
        + r#""ask":67012.4,"ask_size":0.8,"open":null,"high":67500,"low":65800,"base_volume":1834.1,"#
        + r#""quote_volume":null,"change_percent":1.53,"timestamp":1763672400123,"received_at":1763672400000,"#
        + r#""source":"stream","simulated":false}"#;
    assert_eq!(session.events(TICKER), [expected]);
}

#[test]
fn year_1970_and_zero_prices_are_missing_values() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let empty = r#"{"channel":"ticker","type":"snapshot","data":[{"symbol":"BTC/USD","bid":0.0,"bid_qty":0.0,"ask":0,
     "ask_qty":0,"last":1e-7,"volume":0.0,"low":0.0,"high":0.0,"timestamp":"1970-01-01T00:00:00.000000Z"}]}"#;
    let seen = &session.events(empty)[0];
    let expected = r#""last":0.0000001,"bid":null,"bid_size":null,"ask":null,"ask_size":null,"open":null,"high":null"#;
    assert!(seen.contains(expected), "{seen}");
    assert!(seen.contains(r#""base_volume":0,"quote_volume":null,"change_percent":null,"timestamp":null"#), "{seen}");
}

fn trades_frame(kind: &str) -> String {
    let trade = |id: u32, side: &str| {
        format!(
            r#"{{"symbol":"BTC/USD","side":"{side}","price":67012.3,"qty":0.00150000,"ord_type":"limit","trade_id":{id},
            "timestamp":"2025-11-20T21:00:00.199999Z"}}"#
        )
    };
    format!(r#"{{"channel":"trade","type":"{kind}","data":[{},{}]}}"#, trade(7, "buy"), trade(8, "sell"))
}

#[test]
fn parses_trades_and_skips_snapshot() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let expected = [(7, "buy"), (8, "sell")].map(|(id, side)| {
        format!(
            r#"{{"exchange":"kraken","symbol":"BTC/USD","id":"{id}","price":67012.3,"amount":0.0015,"side":"{side}","timestamp":1763672400199,"simulated":false}}"#
        )
    });
    assert_eq!(session.events(&trades_frame("update")), expected);
    assert!(session.events(&trades_frame("snapshot")).is_empty());
    assert_eq!(TestSession::decoder(&Adapter).events(&trades_frame("snapshot")), expected, "the decoder keeps them");
}

#[test]
fn invalid_row_does_not_affect_others() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let (out, result) = session.receive(&trades_frame("update").replacen("buy", "both", 1));
    assert_eq!((out.events.len(), result.unwrap_err().recovery()), (1, Recovery::SkipFrame));
}

fn candle_frame(kind: &str, rows: &[(&str, &str)]) -> String {
    let row = |(symbol, open): &(&str, &str)| {
        format!(
            r#"{{"symbol":"{symbol}","open":67000.1,"high":67020.0,"low":66990.0,"close":67012.3,"trades":412,"volume":12.5,
            "vwap":67005.1,"interval_begin":"{open}","interval":1,"timestamp":"2025-11-20T21:00:00.000000Z"}}"#
        )
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    format!(r#"{{"channel":"ohlc","type":"{kind}","timestamp":"2025-11-20T21:00:00Z","data":[{}]}}"#, rows.join(","))
}

#[test]
fn only_later_candle_closes_candle() {
    let (mut session, _) = TestSession::open(&Adapter, &[btc(), subscriptions("ETH/EUR")].concat());
    let rows = [
        ("BTC/USD", "2025-11-20T20:59:00.000000000Z"),
        ("ETH/EUR", "2025-11-20T20:59:00.000000000Z"),
        ("BTC/USD", "2025-11-20T21:00:00.000000000Z"),
    ];
    let closed =
        |events: Vec<String>| events.iter().map(|event| event.contains(r#""closed":true"#)).collect::<Vec<_>>();
    session.now = NOW + Duration::from_secs(1);
    assert_eq!(closed(session.events(&candle_frame("snapshot", &rows))), [true, false, false]);
    // The session does not know the exchange's clock.
    session.now = NOW + Duration::from_secs(90);
    assert_eq!(closed(session.events(&candle_frame("update", &rows[1..2]))), [false]);
    let event = &session.events(&candle_frame("update", &rows[2..]))[0];
    let expected = r#"{"exchange":"kraken","symbol":"BTC/USD","interval":"1m","timestamp":1763672400000,"open":67000.1,"high":67020,"low":66990,"close":67012.3,"volume":12.5,"quote_volume":null,"trades":412,"closed":false,"revision":0,"simulated":false}"#;
    assert_eq!(event, expected);
}

#[test]
fn rejects_invalid_candles_and_ignores_other_grids() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    for frame in [
        candle_frame("update", &[("BTC/USD", "2025-11-20T20:59:01Z")]),
        candle_frame("update", &[("BTC/USD", "yesterday")]),
        candle_frame("update", &[("BTC/USD", "2025-11-20T20:59:00Z")]).replace("66990.0", "67010.0"),
    ] {
        let (out, result) = session.receive(&frame);
        assert_eq!((out.events.len(), result.unwrap_err().recovery()), (0, Recovery::SkipFrame));
    }
    let weekly = candle_frame("update", &[("BTC/USD", "2025-11-20T00:00:00Z")])
        .replace(r#""interval":1,"#, r#""interval":10080,"#);
    assert!(session.events(&weekly).is_empty());
}

#[test]
fn ignores_irrelevant_frames_and_rejects_malformed_ones() {
    let mut session = TestSession::decoder(&Adapter);
    for frame in [
        r#"{"channel":"heartbeat"}"#,
        r#"{"channel":"status","type":"update","data":[{"api_version":"v2","connection_id":1,"system":"online","version":"2.0.0"}]}"#,
        r#"{"method":"pong","req_id":1,"success":true,"time_in":"2025-11-20T21:00:00Z","time_out":"2025-11-20T21:00:00Z"}"#,
        r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":1}]}"#,
        r#"[340,{"a":["1","1","1"]},"ticker","XBT/USD"]"#,
        r#"{"event":"systemStatus","status":"online"}"#,
        r#"{"channel":"ticker","type":"update","data":[]}"#,
        &to_rest_error(1, "XBT/USD"),
        &ack(1, "ticker", "BTC/USD"),
    ] {
        assert!(session.events(frame).is_empty(), "{frame}");
    }
    for frame in
        ["", "{", "nonsense", r#"{"channel":"trade","type":"update","data":[{}]}"#, r#"{"channel":"book","data":["#]
    {
        let (out, result) = session.receive(frame);
        assert_eq!((out.events.len(), result.unwrap_err().recovery()), (0, Recovery::SkipFrame), "{frame}");
    }
    let reordered =
        TICKER.replacen(r#"{"channel":"ticker","type":"update","#, r#"{"type":"update","channel":"ticker","#, 1);
    assert_eq!(session.events(&reordered), session.events(TICKER));
}

fn candles_call(interval: Interval, start: i64, end: i64) -> Option<RestCall<CandleRows>> {
    let range = TimeRange::new(Timestamp::from_secs(start), Timestamp::from_secs(end));
    let instrument = Arc::clone(&btc()[0].instrument);
    Adapter.candles(&CandlePage { instrument, interval, range, requested_at: NOW })
}

fn rows(times: impl Iterator<Item = i64>) -> String {
    let row = |at: i64| format!(r#"[{at},"67000.1","67020.0","66990.0","67012.3","67005.1","12.50000000",412]"#);
    let rows: Vec<_> = times.map(row).collect();
    format!(r#"{{"error":[],"result":{{"XXBTZUSD":[{}],"last":1763672340}}}}"#, rows.join(","))
}

#[test]
fn builds_candle_request_with_exclusive_since_and_parses_rows() {
    let call = candles_call(Interval::H1, 1_763_665_200, 1_763_672_400).unwrap();
    let query: Vec<_> = call.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!((&*call.path, &*query.join("&")), ("/0/public/OHLC", "pair=XBTUSD&interval=60&since=1763665199"));
    let body = rows([1_763_661_600, 1_763_665_200, 1_763_668_800, 1_763_672_400].into_iter());
    let page = parse(&call, &body).unwrap().rows;
    let seen: Vec<_> = page.iter().map(|row| (row.timestamp.millis() / 1000, row.closed)).collect();
    assert_eq!(seen, [(1_763_665_200, true), (1_763_668_800, true)], "only the requested range");
    assert_eq!(
        (page[0].volume.to_string(), page[0].quote_volume, page[0].trades),
        ("12.5".to_owned(), None, Some(412))
    );
    assert_eq!(candles_call(Interval::M1, 0, 60).unwrap().query[2].1, "0");
}

#[test]
fn rejects_page_older_than_served_history() {
    let newest = 1_763_672_400;
    let full = || rows((0..720).map(|n| newest - (719 - n) * 60));
    let oldest = newest - 719 * 60;
    assert_eq!(parse(&candles_call(Interval::M1, oldest, newest).unwrap(), &full()).unwrap().rows.len(), 719);
    let error = parse(&candles_call(Interval::M1, oldest - 60, newest).unwrap(), &full()).unwrap_err();
    assert_eq!(error.kind, RestErrorKind::Rejected);
    assert!(error.message.contains("720"), "{}", error.message);
}

#[test]
fn offers_only_intervals_on_our_grid() {
    let offered = |interval| candles_call(interval, 0, NOW.millis() / 1000).is_some();
    let all: Vec<_> = Interval::ALL.into_iter().filter(|interval| offered(*interval)).collect();
    assert_eq!(all, Adapter.profile().intervals);
    assert!(!offered(Interval::W1), "weeks open on Thursday");
}

fn ticker_call() -> RestCall<TickerPatch> {
    Adapter.ticker(&btc()[0].instrument).remove(0)
}

#[test]
fn parses_rest_ticker() {
    let body = include_str!("../../../tests/fixtures/kraken/ticker.json");
    let patch = parse(&ticker_call(), body).unwrap();
    let text = |value: Option<rust_decimal::Decimal>| value.map(|value| value.to_string()).unwrap_or_default();
    assert_eq!([text(patch.bid), text(patch.bid_size)], ["67012.3", "1.2"]);
    assert_eq!([text(patch.high), text(patch.low), text(patch.base_volume)], ["67500", "65800", "1834.1"]);
    assert_eq!((patch.open, patch.change_percent, patch.quote_volume, patch.timestamp), (None, None, None, None));
    let renamed = body.replace("XXBTZUSD", "BTC/USD");
    assert_eq!(parse(&ticker_call(), &renamed).unwrap(), patch, "the only market, under another key");
}

#[test]
fn classifies_errors() {
    let kind = |error: &str| parse(&ticker_call(), &format!(r#"{{"error":["{error}"]}}"#)).unwrap_err().kind;
    for (error, expected) in [
        ("EQuery:Unknown asset pair", RestErrorKind::UnknownSymbol),
        ("EAPI:Rate limit exceeded", RestErrorKind::RateLimited),
        ("EGeneral:Too many requests", RestErrorKind::RateLimited),
        ("EGeneral:Temporary lockout", RestErrorKind::RateLimited),
        ("EService:Unavailable", RestErrorKind::Unavailable),
        ("EService:Busy", RestErrorKind::Unavailable),
        ("EGeneral:Internal error", RestErrorKind::Unavailable),
        ("EGeneral:Invalid arguments", RestErrorKind::Rejected),
        ("nonsense", RestErrorKind::Rejected),
    ] {
        assert_eq!(kind(error), expected, "{error}");
    }
    let throttled = parse(&ticker_call(), r#"{"error":["EService:Throttled: 1763672460"]}"#).unwrap_err();
    assert_eq!((throttled.kind, throttled.retry_after), (RestErrorKind::RateLimited, Some(Duration::from_mins(1))));
    assert_eq!(parse(&ticker_call(), r#"{"error":[],"result":{}}"#).unwrap_err().kind, RestErrorKind::Malformed);
    assert_eq!(parse(&ticker_call(), "{}").unwrap_err().kind, RestErrorKind::Malformed);
    assert_eq!(parse_status(&ticker_call(), 404, "gone").unwrap_err().kind, RestErrorKind::Unavailable);
    let body = include_str!("../../../tests/fixtures/kraken/ticker.json");
    let warned = body.replacen(r#""error":[]"#, r#""error":["WGeneral:Danger"]"#, 1);
    assert!(parse(&ticker_call(), &warned).is_ok(), "a warning is not an error");
}

#[test]
fn parses_listing() {
    let body = include_str!("../../../tests/fixtures/kraken/instruments.json");
    let listed = parse(&Adapter.instruments(), body).unwrap();
    let seen: Vec<_> =
        listed.iter().map(|one| (one.symbol.as_str(), &*one.native, one.stream_name(), one.status.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("ETH/USDT", "ETHUSDT", "ETH/USDT", "halted"),
            ("DOGE/EUR", "XDGEUR", "DOGE/EUR", "trading"),
            ("BTC/USD", "XBTUSD", "BTC/USD", "trading"),
        ]
    );
    let steps = |at: usize| [listed[at].price_step, listed[at].amount_step].map(|step| step.unwrap().to_string());
    assert_eq!(steps(2), ["0.1", "0.00000001"]);
    assert_eq!(steps(1), ["0.0000001", "0.00000001"], "without a step, from its decimals");
    assert_eq!((listed[0].min_notional.unwrap().to_string(), listed[1].min_notional), ("0.5".to_owned(), None));
}

#[test]
fn classifies_error_responses() {
    use RestErrorKind::{Banned, RateLimited, UnknownSymbol};
    for (status, body, expected) in [
        (403, FIREWALL_PAGE, Banned),
        (403, "", Banned),
        (404, r#"{"error":["EQuery:Unknown asset pair"]}"#, UnknownSymbol),
        (503, r#"{"error":["EGeneral:Too many requests"]}"#, RateLimited),
    ] {
        assert_eq!(error_kind(&Adapter, status, body), expected, "{status} {body}");
    }
}
