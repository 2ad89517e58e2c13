//! Tests of the OKX adapter, one for each rule of its API.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::adapter::Adapter;
use crate::exchanges::adapter::Exchange;
use crate::exchanges::candle_rows::CandleRows;
use crate::exchanges::feed::{FeedSession, Notice, Outbox, Recovery, Subscription};
use crate::exchanges::response::RestErrorKind;
use crate::exchanges::rest::{CandlePage, RestCall};
use crate::exchanges::testing::{
    FIREWALL_PAGE, NOW, TestSession, acknowledged, all_channels, error_kind, instrument, parse, parse_status, rejected,
};
use crate::model::{Channel, ExchangeId, Interval, TickerPatch, TimeRange, Timestamp};

fn subscriptions(symbol: &str) -> Vec<Subscription> {
    all_channels(instrument(ExchangeId::OKX, symbol, &symbol.replace('/', "-"), None))
}

fn btc() -> Vec<Subscription> {
    subscriptions("BTC/USDT")
}

/// Opens the session of the path with candles; also returns the frames that it sends.
fn open_business(subscriptions: &[Subscription]) -> (TestSession, Vec<Value>) {
    let candles: Vec<_> = subscriptions.iter().filter(|one| one.channel == Channel::Candles).cloned().collect();
    TestSession::open(&Adapter, &candles)
}

fn ack(id: u64, channel: &str, native: &str) -> String {
    format!(
        r#"{{"id":"{id}","event":"subscribe","arg":{{"channel":"{channel}","instId":"{native}"}},"connId":"a4d3ae55"}}"#
    )
}

fn to_rest_error(id: u64, channel: &str, native: &str) -> String {
    format!(
        r#"{{"id":"{id}","event":"error","code":"60018","msg":"Wrong URL or channel:{channel},instId:{native} doesn't exist. Please use the correct URL, channel and parameters referring to API document.","connId":"a4d3ae55"}}"#
    )
}

#[test]
fn candles_have_a_separate_path() {
    let plans = Adapter.connections(&[btc(), subscriptions("ETH/EUR")].concat());
    let seen: Vec<_> = plans
        .iter()
        .map(|plan| {
            let topics: Vec<_> = plan.subscriptions.iter().map(|one| one.topic().to_string()).collect();
            (plan.path.as_str(), topics.join(" "))
        })
        .collect();
    let public = "ticker:okx:BTC/USDT trades:okx:BTC/USDT ticker:okx:ETH/EUR trades:okx:ETH/EUR";
    let business = "candles:okx:BTC/USDT:1m candles:okx:ETH/EUR:1m";
    assert_eq!(seen, [("/ws/v5/public", public.to_owned()), ("/ws/v5/business", business.to_owned())]);
    assert_eq!(Adapter.connections(&btc()[2..]).len(), 1, "no connection without subscriptions");
}

#[test]
fn acknowledges_each_subscription() {
    let (mut session, sent) = TestSession::open(&Adapter, &btc());
    let args = json!([{"channel": "tickers", "instId": "BTC-USDT"}, {"channel": "trades", "instId": "BTC-USDT"}]);
    assert_eq!(sent, [json!({"id": "1", "op": "subscribe", "args": args})]);
    assert_eq!(acknowledged(&session.frame(&ack(1, "trades", "BTC-USDT"))), ["trades:okx:BTC/USDT"]);
    assert!(session.frame(&ack(1, "trades", "BTC-USDT")).notices.is_empty(), "acknowledged once only");
    let without_id = ack(1, "tickers", "BTC-USDT").replace(r#""id":"1","#, "");
    assert_eq!(acknowledged(&session.frame(&without_id)), ["ticker:okx:BTC/USDT"]);
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let reordered = r#"{"arg":{"channel":"tickers","instId":"BTC-USDT"},"connId":"a","event":"subscribe","id":"1"}"#;
    assert_eq!(acknowledged(&session.frame(reordered)), ["ticker:okx:BTC/USDT"], "another order of members");
    let (mut session, sent) = open_business(&btc());
    assert_eq!(sent[0]["args"], json!([{"channel": "candle1m", "instId": "BTC-USDT"}]));
    assert_eq!(acknowledged(&session.frame(&ack(1, "candle1m", "BTC-USDT"))), ["candles:okx:BTC/USDT:1m"]);
}

#[test]
fn rejects_subscription_named_in_error_message() {
    let (mut session, _) = TestSession::open(&Adapter, &[btc(), subscriptions("NO/USDT")].concat());
    let out = session.frame(&to_rest_error(1, "trades", "NO-USDT"));
    assert_eq!(rejected(&out), ["trades:okx:NO/USDT"]);
    let Some(Notice::Rejected { reason, .. }) = out.notices.first() else { panic!("no rejection") };
    assert!(reason.starts_with("Wrong URL or channel:trades") && reason.ends_with("(code 60018)"), "{reason}");
    assert_eq!(
        acknowledged(&session.frame(&ack(1, "trades", "BTC-USDT"))),
        ["trades:okx:BTC/USDT"],
        "the others are accepted"
    );
    let old = r#"{"event":"error","msg":"channel:tickers,instId:NO-USDT doesn't exist","code":"60018"}"#;
    assert_eq!(rejected(&session.frame(old)), ["ticker:okx:NO/USDT"]);
}

#[test]
fn splits_rejected_request() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let whole = |id: u64| {
        format!(r#"{{"id":"{id}","event":"error","code":"60012","msg":"Invalid request: {{}}","connId":"a"}}"#)
    };
    let out = session.frame(&whole(1));
    assert_eq!((out.frames.len(), out.notices.len()), (2, 0));
    assert_eq!(rejected(&session.frame(&whole(2))), ["ticker:okx:BTC/USDT"]);
    let error = session.receive(r#"{"event":"error","code":"60012","msg":"Invalid request: x"}"#).1.unwrap_err();
    assert_eq!(error.recovery(), Recovery::SkipFrame);
}

#[test]
fn delays_reconnect_after_too_many_messages() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    for code in ["60014", "64007"] {
        let frame = format!(r#"{{"event":"error","code":"{code}","msg":"Requests too frequent","connId":"a"}}"#);
        let error = session.receive(&frame).1.unwrap_err();
        assert!(matches!(error.recovery(), Recovery::Reconnect { after } if after > Duration::ZERO));
    }
}

#[test]
fn rotates_on_shutdown_notice() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let notice = |code: &str| {
        format!(
            r#"{{"event":"notice","code":"{code}","msg":"The connection will soon be closed for a service upgrade.","connId":"a"}}"#
        )
    };
    assert_eq!(session.frame(&notice("64008")).notices, [Notice::Rotate]);
    assert!(session.frame(&notice("64000")).notices.is_empty());
}

/// The frames that the timer sends, as text: a ping is not JSON.
fn timer(session: &mut dyn FeedSession, now: Timestamp) -> Vec<String> {
    let mut out = Outbox::default();
    assert_eq!(session.on_timer(now, &mut out), Ok(()));
    out.frames
}

#[test]
fn sends_text_ping_after_idle_time() {
    let (mut session, _) = open_business(&btc());
    session.frame(&ack(1, "candle1m", "BTC-USDT"));
    let after = |seconds| NOW + Duration::from_secs(seconds);
    assert!(timer(session.session.as_mut(), after(19)).is_empty());
    assert_eq!(timer(session.session.as_mut(), after(20)), ["ping"]);
    assert!(timer(session.session.as_mut(), after(21)).is_empty(), "pings once");
    session.now = after(22);
    let out = session.frame("pong");
    assert!(out.events.is_empty() && out.notices.is_empty());
    assert!(timer(session.session.as_mut(), after(41)).is_empty(), "counts from the last frame");
    assert_eq!(timer(session.session.as_mut(), after(42)), ["ping"]);
    let profile = Adapter.profile();
    assert!(
        profile.idle_timeout > super::stream::PING_AFTER_IDLE
            && super::stream::PING_AFTER_IDLE < Duration::from_secs(30)
    );
}

#[test]
fn reconnects_after_missed_ack_deadline() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    session.frame(&ack(1, "trades", "BTC-USDT"));
    assert_eq!(session.timer(NOW + Duration::from_secs(10)).1, Ok(()));
    let error = session.timer(NOW + Duration::from_secs(11)).1.unwrap_err();
    assert!(matches!(error.recovery(), Recovery::Reconnect { .. }));
    assert!(error.message.contains("1 subscriptions: ticker:okx:BTC/USDT"), "{}", error.message);
}

#[test]
fn limits_subscriptions_per_message_and_connection() {
    let all: Vec<Subscription> = (0..250).flat_map(|n| subscriptions(&format!("A{n}/USDT"))).collect();
    let plans = Adapter.connections(&all);
    let sizes: Vec<_> = plans.iter().map(|plan| (plan.subscriptions.len(), plan.spare_capacity)).collect();
    assert_eq!(sizes, [(400, 0), (100, 300), (250, 150)]);
    let (_, sent) = TestSession::open(&Adapter, &all);
    assert_eq!(sent.len(), 8);
    assert!(sent.iter().all(|frame| frame["args"].as_array().unwrap().len() == 50 && frame.to_string().len() < 4096));
}

#[test]
fn updates_subscriptions_on_open_connection() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let sent = session.update(&subscriptions("ETH/EUR")[..1], &btc()[1..2]);
    let trades = json!([{"channel": "trades", "instId": "BTC-USDT"}]);
    assert_eq!(sent[0], json!({"id": "2", "op": "unsubscribe", "args": trades}));
    let tickers = json!([{"channel": "tickers", "instId": "ETH-EUR"}]);
    assert_eq!(sent[1], json!({"id": "3", "op": "subscribe", "args": tickers}));
    let unsubscribed = ack(2, "trades", "BTC-USDT").replace("subscribe", "unsubscribe");
    assert!(session.frame(&unsubscribed).notices.is_empty());
    assert!(session.events(TRADES).is_empty());
    assert!(session.update(&subscriptions("ETH/EUR")[..1], &[]).is_empty(), "no change");
}

const TICKER: &str = r#"{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instType":"SPOT","instId":"BTC-USDT",
 "last":"67012.30","lastSz":"0.0015","askPx":"67012.4","askSz":"0.80","bidPx":"67012.3","bidSz":"1.2","open24h":"66000.1",
 "high24h":"67500","low24h":"65800","sodUtc0":"66900","sodUtc8":"66700.5","volCcy24h":"122900000.50","vol24h":"1834.10",
 "ts":"1763672400123"}]}"#;

#[test]
fn parses_ticker_without_derived_values() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let expected = r#"{"exchange":"okx","symbol":"BTC/USDT","last":67012.3,"bid":67012.3,"bid_size":1.2,"#.to_owned()
        + r#""ask":67012.4,"ask_size":0.8,"open":66000.1,"high":67500,"low":65800,"base_volume":1834.1,"#
        + r#""quote_volume":122900000.5,"change_percent":null,"timestamp":1763672400123,"received_at":1763672400000,"#
        + r#""source":"stream","simulated":false}"#;
    assert_eq!(session.events(TICKER), [expected]);
}

#[test]
fn empty_and_zero_prices_are_missing_values() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let empty = TICKER.replace(r#""askPx":"67012.4","askSz":"0.80""#, r#""askPx":"","askSz":"""#).replace("65800", "0");
    let seen = &session.events(&empty)[0];
    assert!(
        seen.contains(r#""bid_size":1.2,"ask":null,"ask_size":null,"open":66000.1,"high":67500,"low":null"#),
        "{seen}"
    );
    assert!(session.receive(&TICKER.replace("67500", "x")).1.is_err());
}

const TRADES: &str = r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[
 {"instId":"BTC-USDT","tradeId":"7","px":"67012.30","sz":"0.00150000","side":"buy","ts":"1763672400199","count":"3","source":"0","seqId":1},
 {"instId":"BTC-USDT","tradeId":"8","px":"67012.30","sz":"0.00150000","side":"sell","ts":"1763672400199","count":"1","source":"1","seqId":1}]}"#;

#[test]
fn parses_trades() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let expected = [(7, "buy"), (8, "sell")].map(|(id, side)| {
        format!(
            r#"{{"exchange":"okx","symbol":"BTC/USDT","id":"{id}","price":67012.3,"amount":0.0015,"side":"{side}","timestamp":1763672400199,"simulated":false}}"#
        )
    });
    assert_eq!(session.events(TRADES), expected);
    let (out, result) = session.receive(&TRADES.replacen("buy", "both", 1));
    assert_eq!((out.events.len(), result.unwrap_err().recovery()), (1, Recovery::SkipFrame), "the valid row remains");
}

fn candle_frame(bar: &str, open: &str, low: &str, confirm: u8) -> String {
    format!(
        r#"{{"arg":{{"channel":"candle{bar}","instId":"BTC-USDT"}},"data":[["{open}","67000.1","67020.0","{low}","67012.3","12.50","9","837654.20","{confirm}"]]}}"#
    )
}

#[test]
fn closed_flag_closes_candle() {
    let (mut session, _) = open_business(&btc());
    for (confirm, closed) in [(0, false), (1, true)] {
        let expected = format!(
            r#"{{"exchange":"okx","symbol":"BTC/USDT","interval":"1m","timestamp":1763672340000,"open":67000.1,"high":67020,"low":66990,"close":67012.3,"volume":12.5,"quote_volume":837654.2,"trades":null,"closed":{closed},"revision":0,"simulated":false}}"#
        );
        assert_eq!(session.events(&candle_frame("1m", "1763672340000", "66990", confirm)), [expected]);
    }
}

#[test]
fn rejects_invalid_candles_and_ignores_other_grids() {
    let (mut session, _) = open_business(&btc());
    for frame in [candle_frame("1m", "1763672340001", "66990", 1), candle_frame("1m", "1763672340000", "67010", 1)] {
        let (out, result) = session.receive(&frame);
        assert_eq!((out.events.len(), result.unwrap_err().recovery()), (0, Recovery::SkipFrame));
    }
    // 2025-11-19T16:00Z is midnight in Hong Kong.
    let mut decoder = TestSession::decoder(&Adapter);
    assert!(decoder.events(&candle_frame("1D", "1763568000000", "66990", 1)).is_empty());
    assert!(decoder.receive(&candle_frame("1Dutc", "1763568000000", "66990", 1)).1.is_err());
    assert_eq!(decoder.events(&candle_frame("1Dutc", "1763596800000", "66990", 1)).len(), 1);
    assert!(decoder.events(&candle_frame("3Dutc", "1763596800000", "66990", 1)).is_empty());
}

#[test]
fn ignores_irrelevant_frames_and_rejects_malformed_ones() {
    let mut session = TestSession::decoder(&Adapter);
    let derivative = |channel: &str, native: &str| {
        format!(
            r#"{{"arg":{{"channel":"{channel}","instId":"{native}"}},"data":[{{"instType":"SWAP","instId":"{native}","tradeId":"1","px":"1","sz":"1",
            "side":"buy","last":"1","lastSz":"1","askPx":"1","askSz":"1","bidPx":"1","bidSz":"1","open24h":"1","high24h":"1","low24h":"1",
            "sodUtc0":"1","sodUtc8":"1","volCcy24h":"1","vol24h":"1","ts":"1"}}]}}"#
        )
    };
    let frames = ["BTC-USD-SWAP", "BTC-USD-230331", "BTC-USD-230331-9000-C"]
        .iter()
        .flat_map(|native| ["tickers", "trades"].map(|channel| derivative(channel, native)))
        .chain([candle_frame("1m", "1763672340000", "66990", 1).replace("BTC-USDT", "BTC-USDT-SWAP")])
        .chain(
            [
                "pong",
                r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[],"bids":[],"ts":"1"}]}"#,
                r#"{"arg":{"channel":"instruments","instType":"SPOT"},"data":[{"instId":"BTC-USDT"}]}"#,
                r#"{"event":"channel-conn-count","channel":"orders","connCount":"2","connId":"abcd1234"}"#,
                r#"{"event":"login","code":"0","msg":"","connId":"a4d3ae55"}"#,
                r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[]}"#,
                "[]",
                &to_rest_error(1, "tickers", "NO-USDT"),
                &ack(1, "tickers", "BTC-USDT"),
            ]
            .map(str::to_owned),
        );
    for frame in frames {
        assert!(session.events(&frame).is_empty(), "{frame}");
    }
    for frame in
        ["", "{", "nonsense", "ping", r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{}]}"#, r#"{"arg":{"#]
    {
        let (out, result) = session.receive(frame);
        assert_eq!((out.events.len(), result.unwrap_err().recovery()), (0, Recovery::SkipFrame), "{frame}");
    }
    let rows = TRADES.split_once(r#""data":"#).unwrap().1;
    let reordered =
        format!(r#"{{"data":{},"arg":{{"instId":"BTC-USDT","channel":"trades"}}}}"#, &rows[..rows.len() - 1]);
    assert_eq!(session.events(&reordered), session.events(TRADES));
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    assert!(session.events(&TRADES.replace("BTC", "ETH")).is_empty(), "not subscribed");
}

fn candles_call(interval: Interval, start: i64, end: i64) -> Option<RestCall<CandleRows>> {
    let range = TimeRange::new(Timestamp::from_secs(start), Timestamp::from_secs(end));
    let instrument = Arc::clone(&btc()[0].instrument);
    Adapter.candles(&CandlePage { instrument, interval, range, requested_at: NOW })
}

#[test]
fn builds_candle_request_with_exclusive_ends() {
    let call = candles_call(Interval::H1, 1_763_665_200, 1_763_672_400).unwrap();
    let query: Vec<_> = call.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = "instId=BTC-USDT&bar=1H&before=1763665199999&after=1763672400000&limit=300";
    assert_eq!((&*call.path, &*query.join("&")), ("/api/v5/market/candles", expected));
}

#[test]
fn parses_candle_rows_newest_first_with_closed_flag() {
    let row = |at: i64, confirm: u8| {
        format!(r#"["{at}000","67000.1","67020","66990","67012.3","12.50","1","837654.20","{confirm}"]"#)
    };
    let body = |confirm| {
        let rows = [row(1_763_672_400, 0), row(1_763_668_800, confirm), row(1_763_665_200, 1), row(1_763_661_600, 1)];
        format!(r#"{{"code":"0","msg":"","data":[{}]}}"#, rows.join(","))
    };
    let call = candles_call(Interval::H1, 1_763_665_200, 1_763_672_400).unwrap();
    let seen = |confirm| -> Vec<_> {
        let page = parse(&call, &body(confirm)).unwrap().rows;
        page.iter().map(|row| (row.timestamp.millis() / 1000, row.closed)).collect()
    };
    assert_eq!(seen(1), [(1_763_665_200, true), (1_763_668_800, true)]);
    assert_eq!(seen(0), [(1_763_665_200, true), (1_763_668_800, false)], "over, but without the closed flag");
    let page = parse(&call, &body(1)).unwrap().rows;
    let volumes = [Some(page[0].volume), page[0].quote_volume].map(|volume| volume.unwrap().to_string());
    assert_eq!((volumes, page[0].trades), (["12.5".to_owned(), "837654.2".to_owned()], None));
}

#[test]
fn requests_old_candles_from_history_path() {
    let path = |interval: Interval, rows: u32| {
        let start = interval.back(NOW, rows);
        let call = candles_call(interval, start.millis() / 1000, NOW.millis() / 1000).unwrap();
        (call.path.rsplit('/').next().unwrap().to_owned(), call.scope)
    };
    for interval in [Interval::M1, Interval::H1, Interval::D1] {
        assert_eq!(path(interval, 1_435), ("candles".to_owned(), "candles"), "{interval}");
        assert_eq!(path(interval, 1_436), ("history-candles".to_owned(), "history-candles"), "{interval}");
    }
    assert_eq!(path(Interval::Mo1, 100).1, "candles");
}

#[test]
fn long_intervals_have_names_of_utc() {
    let bar = |interval| candles_call(interval, 0, NOW.millis() / 1000).map(|call| call.query[1].1.clone());
    let names: Vec<_> = Interval::ALL.into_iter().filter_map(bar).collect();
    let expected = ["1m", "3m", "5m", "15m", "30m", "1H", "2H", "4H", "6Hutc", "12Hutc", "1Dutc", "1Wutc", "1Mutc"];
    assert_eq!(names, expected);
    assert_eq!(
        Interval::ALL.into_iter().filter(|one| bar(*one).is_some()).collect::<Vec<_>>(),
        Adapter.profile().intervals
    );
    // A day that opens in Hong Kong time fails the check.
    let off_grid = r#"{"code":"0","data":[["1763568000000","1","1","1","1","1","1","1","1"]]}"#;
    let page = parse(&candles_call(Interval::D1, 1_763_510_400, 1_763_683_200).unwrap(), off_grid).unwrap();
    assert_eq!(page.rows.iter().map(|row| row.check(Interval::D1).is_ok()).collect::<Vec<_>>(), [false]);
}

fn ticker_call() -> RestCall<TickerPatch> {
    Adapter.ticker(&btc()[0].instrument).remove(0)
}

#[test]
fn parses_rest_ticker() {
    let body = include_str!("../../../tests/fixtures/okx/ticker.json");
    let call = ticker_call();
    assert_eq!((&*call.path, &*call.query[0].1), ("/api/v5/market/ticker", "BTC-USDT"));
    let patch = parse(&call, body).unwrap();
    let text = |value: Option<rust_decimal::Decimal>| value.map(|value| value.to_string()).unwrap_or_default();
    assert_eq!([text(patch.base_volume), text(patch.quote_volume)], ["1834.1", "122900000.5"]);
    assert_eq!([text(patch.open), text(patch.bid), text(patch.ask_size)], ["66000.1", "67012.3", "0.8"]);
    assert_eq!((patch.change_percent, patch.timestamp), (None, Some(Timestamp::from_millis(1_763_672_400_123))));
    let swap = parse(&call, &body.replace("SPOT", "SWAP")).unwrap_err();
    assert_eq!(swap.kind, RestErrorKind::Rejected, "its volumes are in contracts");
    assert_eq!(parse(&call, r#"{"code":"0","data":[]}"#).unwrap_err().kind, RestErrorKind::Malformed);
}

#[test]
fn classifies_errors() {
    let kind =
        |code: &str| parse(&ticker_call(), &format!(r#"{{"code":{code},"msg":"why","data":[]}}"#)).unwrap_err().kind;
    for (code, expected) in [
        ("\"51001\"", RestErrorKind::UnknownSymbol),
        ("51001", RestErrorKind::UnknownSymbol),
        ("\"50011\"", RestErrorKind::RateLimited),
        ("\"50061\"", RestErrorKind::RateLimited),
        ("\"50001\"", RestErrorKind::Unavailable),
        ("\"50004\"", RestErrorKind::Unavailable),
        ("\"50005\"", RestErrorKind::Unavailable),
        ("\"50013\"", RestErrorKind::Unavailable),
        ("\"50026\"", RestErrorKind::Unavailable),
        ("\"51000\"", RestErrorKind::Rejected),
        ("\"1\"", RestErrorKind::Rejected),
    ] {
        assert_eq!(kind(code), expected, "{code}");
    }
    let body = r#"{"code":"51000","data":[],"msg":"Parameter bar error"}"#;
    let error = parse_status(&ticker_call(), 400, body).unwrap_err();
    assert_eq!((error.kind, &*error.message), (RestErrorKind::Rejected, "Parameter bar error (code 51000)"));
    assert_eq!(parse_status(&ticker_call(), 404, "gone").unwrap_err().kind, RestErrorKind::Unavailable);
    for body in ["{}", "[]", "<html>", r#"{"code":"0","data":[{}]}"#] {
        assert_eq!(parse(&ticker_call(), body).unwrap_err().kind, RestErrorKind::Malformed, "{body}");
    }
    // A missing list of candles is not an empty one.
    let page = candles_call(Interval::M1, 1_763_510_400, 1_763_683_200).unwrap();
    for body in [r#"{"code":"0","msg":""}"#, r#"{"code":"0","data":null}"#] {
        assert_eq!(parse(&page, body).unwrap_err().kind, RestErrorKind::Malformed, "{body}");
    }
}

#[test]
fn every_path_has_its_own_rate_limit() {
    let rate_limits = Adapter.profile().rate_limits;
    let limits: Vec<_> = rate_limits.iter().map(|limit| (limit.name, limit.limit)).collect();
    let expected = [("time", 10), ("instruments", 20), ("ticker", 20), ("candles", 40), ("history-candles", 20)];
    assert_eq!(limits, expected, "probes count towards the first one");
    assert!(rate_limits.iter().all(|limit| limit.window == Duration::from_secs(2)));
    assert_eq!((Adapter.instruments().scope, ticker_call().scope), ("instruments", "ticker"));
}

#[test]
fn parses_listing() {
    let body = include_str!("../../../tests/fixtures/okx/instruments.json");
    let call = Adapter.instruments();
    assert_eq!(call.query, [("instType", "SPOT".to_owned())]);
    let listed = parse(&call, body).unwrap();
    let seen: Vec<_> =
        listed.iter().map(|one| (one.symbol.as_str(), &*one.native, one.stream_name(), one.status.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("BTC/USDT", "BTC-USDT", "BTC-USDT", "trading"),
            ("ETH/EUR", "ETH-EUR", "ETH-EUR", "halted"),
            ("NEW/USDT", "NEW-USDT", "NEW-USDT", "halted"),
        ]
    );
    let steps = [listed[0].price_step, listed[0].amount_step].map(|step| step.unwrap().to_string());
    assert_eq!(steps, ["0.1", "0.00000001"]);
    assert_eq!((listed[2].price_step, listed[2].amount_step), (None, None), "not known before trading starts");
}

#[test]
fn classifies_error_responses() {
    use RestErrorKind::{Banned, RateLimited, UnknownSymbol};
    for (status, body, expected) in [
        (403, FIREWALL_PAGE, Banned),
        (403, "", Banned),
        (400, r#"{"code":"51001","msg":"Instrument ID doesn't exist."}"#, UnknownSymbol),
        (429, r#"{"msg":"Too Many Requests","code":"50011"}"#, RateLimited),
    ] {
        assert_eq!(error_kind(&Adapter, status, body), expected, "{status} {body}");
    }
}
