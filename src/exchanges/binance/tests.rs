//! Tests of the Binance adapter, one for each rule of its API.

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
use crate::model::{Channel, ExchangeId, Interval, MarketEvent, TickerPatch, TimeRange, Timestamp};

fn subscriptions(symbol: &str) -> Vec<Subscription> {
    let native = symbol.replace('/', "");
    all_channels(instrument(ExchangeId::BINANCE, symbol, &native, None))
}

fn btc() -> Vec<Subscription> {
    subscriptions("BTC/USDT")
}

#[test]
fn acknowledges_request_as_a_whole() {
    let (mut session, sent) = TestSession::open(&Adapter, &btc());
    let streams = ["btcusdt@ticker", "btcusdt@bookTicker", "btcusdt@trade", "btcusdt@kline_1m"];
    assert_eq!(sent, [json!({"method": "SUBSCRIBE", "params": streams, "id": 1})]);
    let out = session.frame(r#"{"result":null,"id":1}"#);
    let topics = ["ticker:binance:BTC/USDT", "trades:binance:BTC/USDT", "candles:binance:BTC/USDT:1m"];
    assert_eq!(acknowledged(&out), topics);
    assert!(session.frame(r#"{"result":null,"id":1}"#).notices.is_empty(), "acknowledged once only");
    assert!(session.frame(r#"{"result":null,"id":"mine"}"#).notices.is_empty());
}

#[test]
fn splits_rejected_request() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let out = session.frame(r#"{"error":{"code":2,"msg":"Invalid request"},"id":1}"#);
    assert!(out.notices.is_empty());
    assert_eq!(out.frames.len(), 3);
    let out = session.frame(r#"{"code":2,"msg":"Invalid request: no such stream","id":2}"#);
    assert_eq!(rejected(&out), ["ticker:binance:BTC/USDT"]);
    let Some(Notice::Rejected { reason, .. }) = out.notices.first() else { panic!("no rejection") };
    assert_eq!(reason, "Invalid request: no such stream (code 2)");
    let out = session.frame(r#"{"result":null,"id":3}"#);
    assert_eq!(acknowledged(&out), ["trades:binance:BTC/USDT"]);
    let book = r#"{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}"#;
    assert!(session.events(book).is_empty(), "rejected, so not subscribed");
}

#[test]
fn reconnects_after_missed_ack_deadline() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    assert_eq!(session.timer(NOW + Duration::from_secs(10)).1, Ok(()));
    let error = session.timer(NOW + Duration::from_secs(11)).1.unwrap_err();
    assert!(matches!(error.recovery(), Recovery::Reconnect { .. }));
    assert!(error.message.contains("3 subscriptions: ticker:binance:BTC/USDT"), "{}", error.message);
    session.frame(r#"{"result":null,"id":1}"#);
    assert_eq!(session.timer(NOW + Duration::from_hours(1)).1, Ok(()));
}

#[test]
fn limits_streams_per_message_and_delays_deadline_of_queued_messages() {
    let all: Vec<Subscription> = (0..300).flat_map(|n| subscriptions(&format!("A{n}/USDT"))).collect();
    let (mut session, sent) = TestSession::open(&Adapter, &all[..600]);
    assert!(sent.iter().all(|frame| frame["params"].as_array().unwrap().len() <= 100));
    assert_eq!(sent.iter().map(|frame| frame["params"].as_array().unwrap().len()).sum::<usize>(), 800);
    let last = sent.len() as u64;
    for id in 1..last {
        session.frame(&format!(r#"{{"result":null,"id":{id}}}"#));
    }
    // One message per second is sent; the limit of the profile is two.
    let sent_at = NOW + Duration::from_secs(last);
    assert_eq!(session.timer(sent_at + Duration::from_secs(9)).1, Ok(()));
    assert!(session.timer(sent_at + Duration::from_secs(10)).1.is_err());
}

#[test]
fn splits_connections_at_1024_streams() {
    let all: Vec<Subscription> = (0..600).flat_map(|n| subscriptions(&format!("A{n}/USDT"))).collect();
    let plans = Adapter.connections(&all);
    let streams = |subscriptions: &[Subscription]| {
        let count = |one: &Subscription| if one.channel == Channel::Ticker { 2 } else { 1 };
        subscriptions.iter().map(count).sum::<usize>()
    };
    let used: Vec<_> = plans.iter().map(|plan| (streams(&plan.subscriptions), plan.spare_capacity)).collect();
    assert_eq!(used, [(1024, 0), (1024, 0), (352, 336)]);
    assert_eq!(plans.iter().flat_map(|plan| plan.subscriptions.clone()).collect::<Vec<_>>(), all);
    assert!(Adapter.connections(&[]).is_empty());
}

#[test]
fn updates_subscriptions_on_open_connection() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    session.frame(r#"{"result":null,"id":1}"#);
    let sent = session.update(&subscriptions("ETH/USDT")[1..2], &btc()[..1]);
    assert_eq!(
        sent,
        [
            json!({"method": "UNSUBSCRIBE", "params": ["btcusdt@ticker", "btcusdt@bookTicker"], "id": 2}),
            json!({"method": "SUBSCRIBE", "params": ["ethusdt@trade"], "id": 3}),
        ]
    );
    assert!(session.frame(r#"{"result":null,"id":2}"#).notices.is_empty());
    assert_eq!(acknowledged(&session.frame(r#"{"result":null,"id":3}"#)), ["trades:binance:ETH/USDT"]);
    assert!(session.events(r#"{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}"#).is_empty());
    assert!(session.update(&subscriptions("ETH/USDT")[1..2], &subscriptions("ETH/USDT")[..1]).is_empty(), "no change");
}

const TICKER: &str = r#"{"stream":"btcusdt@ticker","data":{"e":"24hrTicker","E":1763672400123,"s":"BTCUSDT","p":"1010",
 "P":"1.530","w":"66900.1","x":"66000.0","c":"67012.34000000","Q":"0.1","b":"67000.00","B":"9","a":"67020.00","A":"8",
 "o":"66000.10","h":"67500.00","l":"65800.00","v":"18234.10","q":"1219000000.50","O":1,"C":2,"F":1,"L":2,"n":2}}"#;
const BOOK: &str = r#"{"stream":"btcusdt@bookTicker","data":{"u":400900217,"s":"BTCUSDT","b":"67012.33000000",
 "B":"1.20000000","a":"67012.34000000","A":"0.80000000"}}"#;

#[test]
fn merges_statistics_and_book_ticker() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let first = session.events(TICKER);
    assert!(first[0].contains(r#""last":67012.34,"bid":67000,"bid_size":9,"ask":67020,"ask_size":8,"open":66000.1"#));
    let merged = [r#"{"exchange":"binance","symbol":"BTC/USDT","last":67012.34,"bid":67012.33,"bid_size":1.2,"#
        .to_owned()
        + r#""ask":67012.34,"ask_size":0.8,"open":66000.1,"high":67500,"low":65800,"base_volume":18234.1,"#
        + r#""quote_volume":1219000000.5,"change_percent":1.53,"timestamp":1763672400123,"#
        + r#""received_at":1763672400000,"source":"stream","simulated":false}"#];
    assert_eq!(session.events(BOOK), merged);
    assert_eq!(session.events(TICKER), merged, "bid and ask come from the faster stream");
    let empty = BOOK.replace("67012.33000000", "0.00000000");
    assert!(
        session.events(&empty)[0].contains(r#""bid":null,"bid_size":null,"ask":67012.34"#),
        "a zero price is missing"
    );
}

#[test]
fn sends_partial_ticker_without_statistics() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    assert!(session.events(BOOK)[0].contains(r#""last":null,"bid":67012.33"#));
}

#[test]
fn trade_side_is_that_of_taker() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let frame = |event: &str, id: &str, maker: bool| {
        format!(
            r#"{{"stream":"btcusdt@{event}","data":{{"e":"{event}","E":1763672400200,"s":"BTCUSDT","{id}":4711,"p":"67012.3400",
            "q":"0.00100000","f":1,"l":2,"T":1763672400199,"m":{maker},"M":true}}}}"#
        )
    };
    let expected = |side: &str| {
        [r#"{"exchange":"binance","symbol":"BTC/USDT","id":"4711","price":67012.34,"amount":0.001,"side":""#.to_owned()
            + side
            + r#"","timestamp":1763672400199,"simulated":false}"#]
    };
    assert_eq!(session.events(&frame("trade", "t", true)), expected("sell"));
    assert_eq!(session.events(&frame("trade", "t", false)), expected("buy"));
    assert_eq!(session.events(&frame("aggTrade", "a", true)), expected("sell"));
}

fn candle_frame(interval: &str, open_time: i64, low: &str, closed: bool) -> String {
    format!(
        r#"{{"stream":"btcusdt@kline_{interval}","data":{{"e":"kline","E":1763672401000,"s":"BTCUSDT","k":{{"t":{open_time},
        "T":1,"s":"BTCUSDT","i":"{interval}","f":100,"L":200,"o":"67000.10","c":"67012.34","h":"67020.00","l":"{low}",
        "v":"12.50","n":412,"x":{closed},"q":"837654.20","V":"5","Q":"3","B":"0"}}}}}}"#
    )
}

#[test]
fn closed_flag_closes_candle() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    for closed in [false, true] {
        let events = session.events(&candle_frame("1m", 1_763_672_340_000, "66990", closed));
        let expected = format!(
            r#"{{"exchange":"binance","symbol":"BTC/USDT","interval":"1m","timestamp":1763672340000,"open":67000.1,"high":67020,"low":66990,"close":67012.34,"volume":12.5,"quote_volume":837654.2,"trades":412,"closed":{closed},"revision":0,"simulated":false}}"#
        );
        assert_eq!(events, [expected]);
    }
}

#[test]
fn rejects_invalid_candles_and_ignores_other_grids() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    for frame in
        [candle_frame("1m", 1_763_672_340_001, "66990", true), candle_frame("1m", 1_763_672_340_000, "67010", true)]
    {
        let (out, result) = session.receive(&frame);
        assert_eq!((out.events.len(), result.unwrap_err().recovery()), (0, Recovery::SkipFrame));
    }
    assert!(session.events(&candle_frame("1s", 1_763_672_340_000, "66990", true)).is_empty());
    assert!(session.events(&candle_frame("1d@+08:00", 1_763_672_340_000, "66990", true)).is_empty());
}

#[test]
fn parses_bare_payloads_and_other_member_order() {
    let mut session = TestSession::decoder(&Adapter);
    let bare = &BOOK[r#"{"stream":"btcusdt@bookTicker","data":"#.len()..BOOK.len() - 1];
    let reordered = format!(r#"{{"data":{bare},"stream":"btcusdt@bookTicker"}}"#);
    let spaced = BOOK.replacen("{\"stream\":", "{ \"stream\": ", 1);
    let expected = session.events(BOOK);
    assert_eq!(expected.len(), 1);
    assert!([bare, &reordered, &spaced].iter().all(|frame| session.events(frame) == expected));
}

#[test]
fn rotates_on_shutdown_notice() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    for frame in [
        r#"{"e":"serverShutdown","E":1770123456789}"#,
        r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}"#,
        r#"{"stream":"btcusdt","data":{"e":"serverShutdown","E":1770123456789}}"#,
    ] {
        assert_eq!(session.frame(frame).notices, [Notice::Rotate], "{frame}");
    }
}

#[test]
fn ignores_irrelevant_frames_and_rejects_malformed_ones() {
    let mut session = TestSession::decoder(&Adapter);
    for frame in [
        r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[["1","2"]],"a":[]}}"#,
        r#"{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[["1","2"]],"a":[]}"#,
        r#"{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[]}"#,
        r#"{"stream":"!ticker@arr","data":[{"e":"24hrTicker"}]}"#,
        r#"[{"e":"24hrTicker"}]"#,
        r#"{"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"1","T":1}"#,
        r#"{"e":"bookTicker","u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1","T":1,"E":1}"#,
        r#"{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}}"#,
        r#"{"e":"aggTrade","E":1,"s":"BTCUSDT","a":1,"p":"1","q":"1","f":1,"l":1,"T":1,"m":true}"#,
        r#"{"u":1,"s":"BTCUSD_PERP","b":"1","B":"1","a":"2","A":"1"}"#,
        r#"{"result":null,"id":1}"#,
        r#"{"result":["btcusdt@trade"],"id":3}"#,
        r#"{"code":3,"msg":"Invalid JSON"}"#,
    ] {
        assert!(session.events(frame).is_empty(), "{frame}");
    }
    for frame in ["", "{", "nonsense", r#"{"stream":"btcusdt@trade","data":{"s":"BTCUSDT"}}"#, "[1"] {
        let (out, result) = session.receive(frame);
        assert_eq!((out.events.len(), result.unwrap_err().recovery()), (0, Recovery::SkipFrame), "{frame}");
    }
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    assert!(
        session.receive(r#"{"code":3,"msg":"Invalid JSON"}"#).1.is_err(),
        "a rejection without a request id is an error"
    );
    assert!(session.events(r#"{"u":1,"s":"ETHUSDT","b":"1","B":"1","a":"2","A":"1"}"#).is_empty(), "not subscribed");
}

fn candles_call(interval: Interval, start: i64, end: i64) -> Option<RestCall<CandleRows>> {
    let range = TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end));
    let instrument = Arc::clone(&btc()[0].instrument);
    Adapter.candles(&CandlePage { instrument, interval, range, requested_at: NOW })
}

fn ticker_call() -> RestCall<TickerPatch> {
    Adapter.ticker(&btc()[0].instrument).remove(0)
}

#[test]
fn builds_half_open_candle_request() {
    let call = candles_call(Interval::H1, 1_763_672_400_000, 1_763_683_200_000).unwrap();
    assert_eq!((&*call.path, call.scope, call.weight), ("/api/v3/klines", "rest", 2));
    let query: Vec<_> = call.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = "symbol=BTCUSDT&interval=1h&startTime=1763672400000&endTime=1763683199999&limit=1000";
    assert_eq!(query.join("&"), expected);
    assert!(candles_call(Interval::D3, 0, 1).is_none(), "the 3d grid differs from ours");
    let row = |at: i64| format!(r#"[{at},"1","3","1","2","5",{at},"10","7","1","1","0"]"#);
    let body = format!("[{},{}]", row(1_763_679_600_000), row(1_763_683_200_000));
    let candles = parse(&call, &body).unwrap().rows;
    assert_eq!(candles.len(), 1, "the end is exclusive");
    assert_eq!((candles[0].closed, candles[0].trades), (true, Some(7)), "a later row closes it");
}

#[test]
fn parses_listing() {
    let body = include_str!("../../../tests/fixtures/binance/instruments.json");
    let listed = parse(&Adapter.instruments(), body).unwrap();
    let seen: Vec<_> =
        listed.iter().map(|one| (one.symbol.as_str(), one.status.as_str(), one.price_step.is_some())).collect();
    assert_eq!(seen, [("BTC/USDT", "trading", true), ("ETH/BTC", "trading", true), ("OLD/BNB", "halted", false)]);
    assert_eq!(listed[0].price_step.unwrap().to_string(), "0.01");
    assert_eq!(listed[0].amount_step.unwrap().to_string(), "0.00001");
    let minimums: Vec<_> = listed.iter().map(|one| one.min_notional.map(|value| value.to_string())).collect();
    assert_eq!(minimums, [Some("5".to_owned()), Some("0.0001".to_owned()), None]);
    assert_eq!((listed[0].native.as_str(), listed[0].stream_name()), ("BTCUSDT", "BTCUSDT"));
}

#[test]
fn classifies_errors() {
    let call = &ticker_call();
    assert_eq!((&*call.path, call.query[0].1.as_str(), call.weight), ("/api/v3/ticker/24hr", "BTCUSDT", 2));
    let kind = |body: &str| parse_status(call, 400, body).unwrap_err().kind;
    assert_eq!(kind(r#"{"code":-1121,"msg":"Invalid symbol."}"#), RestErrorKind::UnknownSymbol);
    let illegal = r#"{"code":-1100,"msg":"Illegal characters found in parameter 'symbol'; legal range is '^[A-Z]$'."}"#;
    assert_eq!(kind(illegal), RestErrorKind::UnknownSymbol);
    assert_eq!(
        kind(r#"{"code":-1100,"msg":"Illegal characters found in parameter 'limit'."}"#),
        RestErrorKind::Rejected
    );
    assert_eq!(kind(r#"{"code":-1120,"msg":"Invalid interval."}"#), RestErrorKind::Rejected);
    assert_eq!(kind(r#"{"code":-1008,"msg":"Server is currently overloaded."}"#), RestErrorKind::Unavailable);
    assert_eq!(kind("<html>"), RestErrorKind::Unavailable, "a page of a proxy");
    assert_eq!(parse(call, r#"{"symbol":"BTCUSDT"}"#).unwrap_err().kind, RestErrorKind::Malformed);
    let banned =
        r#"{"code":-1003,"msg":"Way too much request weight used; IP banned until 1763672460000. Please use…"}"#;
    let error = parse(call, banned).unwrap_err();
    assert_eq!((error.kind, error.retry_after), (RestErrorKind::RateLimited, Some(Duration::from_mins(1))));
    assert_eq!(parse(call, r#"{"code":-1003,"msg":"Too many requests."}"#).unwrap_err().retry_after, None);
}

#[test]
fn parses_rest_ticker() {
    let call = &ticker_call();
    let body = include_str!("../../../tests/fixtures/binance/ticker.json");
    let patch = parse(call, body).unwrap();
    assert_eq!(patch.last.unwrap().to_string(), "67012.34");
    assert_eq!(patch.timestamp, Some(Timestamp::from_millis(1_763_672_400_123)));
    assert_eq!(patch.change_percent.unwrap().to_string(), "1.53");
    let empty = body.replace("67012.33", "0.00");
    assert_eq!(parse(call, &empty).unwrap().bid_size, None);
}

#[test]
fn offers_every_interval_of_profile() {
    for &interval in Adapter.profile().intervals {
        let (start, end) = (0, 1_763_672_400_000);
        assert!(candles_call(interval, start, end).is_some());
    }
    assert!(matches!(Adapter.profile().rate_limits, [limit] if limit.used_header == Some("x-mbx-used-weight-1m")));
}

#[test]
fn decoder_keeps_candle_interval() {
    let mut session = TestSession::decoder(&Adapter);
    let out = session.frame(&candle_frame("1h", 1_763_672_400_000, "66990", false));
    let [MarketEvent::Candle(update)] = &*out.events else { panic!("not one candle") };
    assert_eq!(update.series.interval, Interval::H1);
}

#[test]
fn listing_ignores_derivatives() {
    let body = r#"{"symbols":[{"symbol":"BTCUSDT","contractType":"PERPETUAL","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","filters":[]}]}"#;
    let listed = parse(&Adapter.instruments(), body).unwrap();
    assert!(listed.is_empty() && listed.issues.is_empty());
}

#[test]
fn invalid_listing_row_does_not_affect_others() {
    let row = |symbol: &str, more: &str| format!(r#"{{"symbol":"{symbol}USDT","quoteAsset":"USDT",{more}}}"#);
    let trading = |name: &str, filters: &str| {
        row(name, &format!(r#""status":"TRADING","baseAsset":"{name}","filters":{filters}"#))
    };
    let price = |step: &str| format!(r#"[{{"filterType":"PRICE_FILTER","tickSize":{step}}}]"#);
    let rows = [
        trading("GOOD", &price("\"0.10\"")),
        trading(
            "NEWFILTER",
            r#"[{"filterType":"X","tickSize":{}},{"filterType":null},8,{"filterType":"PRICE_FILTER","tickSize":"0.1"}]"#,
        ),
        trading("NOFILTERS", "null"),
        trading("EMPTYSTEP", &price("\"\"")),
        trading("LONGSTEP", &price("\"0.1234567890123456789012345678901\"")),
        row("NOSTATUS", r#""status":null,"baseAsset":"NOSTATUS","filters":[]"#),
        row("NOBASE", r#""status":"TRADING","filters":[]"#),
    ];
    let listed = parse(&Adapter.instruments(), &format!(r#"{{"symbols":[{}]}}"#, rows.join(","))).unwrap();
    let seen: Vec<_> = listed.iter().map(|one| (one.symbol.base(), one.price_step.is_some())).collect();
    let expected =
        [("GOOD", true), ("NEWFILTER", true), ("NOFILTERS", false), ("EMPTYSTEP", false), ("LONGSTEP", false)];
    assert_eq!(seen, expected);
    let issues: Vec<_> = listed.issues.iter().map(|row| (&*row.name, row.left_out)).collect();
    let expected = [
        ("NEWFILTERUSDT", false),
        ("NOFILTERSUSDT", false),
        ("LONGSTEPUSDT", false),
        ("NOSTATUSUSDT", true),
        ("NOBASEUSDT", true),
    ];
    assert_eq!(issues, expected);
}

#[test]
fn classifies_error_responses() {
    use RestErrorKind::{Banned, RegionBlocked, Rejected, Unavailable, UnknownSymbol};
    let eligibility =
        r#"{"code":0,"msg":"Service unavailable from a restricted location according to 'b. Eligibility'"}"#;
    for (status, body, expected) in [
        (403, FIREWALL_PAGE, Banned),
        (403, "", Banned),
        (400, r#"{"code":-1121,"msg":"Invalid symbol."}"#, UnknownSymbol),
        (400, r#"{"code":-1120,"msg":"Invalid interval."}"#, Rejected),
        (404, r#"{"code":404,"msg":"Not Found"}"#, Unavailable),
        (418, r#"{"code":-1003,"msg":"Way too much request weight used; IP banned until 1."}"#, Banned),
        (451, eligibility, RegionBlocked),
        (403, eligibility, RegionBlocked),
    ] {
        assert_eq!(error_kind(&Adapter, status, body), expected, "{status} {body}");
    }
}
