//! The rules of OKX's dialect, one test each.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::testing::{Driven, NOW, confirmed, every_channel, instrument, parse, parse_status, refused};
use super::super::{
    CandlePage, CandleRows, Exchange, FeedSession, Notice, Outbox, Recovery, ReplyErrorKind, RestCall, Subscription,
};
use super::Okx;
use crate::model::{Channel, ExchangeId, Interval, TickerPatch, TimeRange, Timestamp};

fn market(symbol: &str) -> Vec<Subscription> {
    every_channel(instrument(ExchangeId::Okx, symbol, &symbol.replace('/', "-"), None))
}

fn btc() -> Vec<Subscription> {
    market("BTC/USDT")
}

/// The session of the path that has candles, opened; with the frames that it sent.
fn business(subscriptions: &[Subscription]) -> (Driven, Vec<Value>) {
    let candles: Vec<_> = subscriptions.iter().filter(|one| one.channel == Channel::Candles).cloned().collect();
    Driven::open(&Okx, &candles)
}

fn ack(id: u64, channel: &str, native: &str) -> String {
    format!(
        r#"{{"id":"{id}","event":"subscribe","arg":{{"channel":"{channel}","instId":"{native}"}},"connId":"a4d3ae55"}}"#
    )
}

fn refusal(id: u64, channel: &str, native: &str) -> String {
    format!(
        r#"{{"id":"{id}","event":"error","code":"60018","msg":"Wrong URL or channel:{channel},instId:{native} doesn't exist. Please use the correct URL, channel and parameters referring to API document.","connId":"a4d3ae55"}}"#
    )
}

#[test]
fn candles_are_on_a_path_of_their_own() {
    let plans = Okx.connections(&[btc(), market("ETH/EUR")].concat());
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
    assert_eq!(Okx.connections(&btc()[2..]).len(), 1, "no path without something to listen to");
}

#[test]
fn each_argument_is_confirmed_on_its_own() {
    let (mut session, sent) = Driven::open(&Okx, &btc());
    let args = json!([{"channel": "tickers", "instId": "BTC-USDT"}, {"channel": "trades", "instId": "BTC-USDT"}]);
    assert_eq!(sent, [json!({"id": "1", "op": "subscribe", "args": args})]);
    assert_eq!(confirmed(&session.frame(&ack(1, "trades", "BTC-USDT"))), ["trades:okx:BTC/USDT"]);
    assert!(session.frame(&ack(1, "trades", "BTC-USDT")).notices.is_empty(), "once is enough");
    let without_id = ack(1, "tickers", "BTC-USDT").replace(r#""id":"1","#, "");
    assert_eq!(confirmed(&session.frame(&without_id)), ["ticker:okx:BTC/USDT"]);
    let (mut session, _) = Driven::open(&Okx, &btc());
    let turned = r#"{"arg":{"channel":"tickers","instId":"BTC-USDT"},"connId":"a","event":"subscribe","id":"1"}"#;
    assert_eq!(confirmed(&session.frame(turned)), ["ticker:okx:BTC/USDT"], "in whatever order");
    let (mut session, sent) = business(&btc());
    assert_eq!(sent[0]["args"], json!([{"channel": "candle1m", "instId": "BTC-USDT"}]));
    assert_eq!(confirmed(&session.frame(&ack(1, "candle1m", "BTC-USDT"))), ["candles:okx:BTC/USDT:1m"]);
}

#[test]
fn the_text_of_an_error_names_the_argument() {
    let (mut session, _) = Driven::open(&Okx, &[btc(), market("NO/USDT")].concat());
    let out = session.frame(&refusal(1, "trades", "NO-USDT"));
    assert_eq!(refused(&out), ["trades:okx:NO/USDT"]);
    let Some(Notice::Refused { reason, .. }) = out.notices.first() else { panic!("refused") };
    assert!(reason.starts_with("Wrong URL or channel:trades") && reason.ends_with("(code 60018)"), "{reason}");
    assert_eq!(confirmed(&session.frame(&ack(1, "trades", "BTC-USDT"))), ["trades:okx:BTC/USDT"], "the others pass");
    let old = r#"{"event":"error","msg":"channel:tickers,instId:NO-USDT doesn't exist","code":"60018"}"#;
    assert_eq!(refused(&session.frame(old)), ["ticker:okx:NO/USDT"]);
}

#[test]
fn a_request_refused_as_a_whole_is_asked_again_one_by_one() {
    let (mut session, _) = Driven::open(&Okx, &btc());
    let whole = |id: u64| {
        format!(r#"{{"id":"{id}","event":"error","code":"60012","msg":"Invalid request: {{}}","connId":"a"}}"#)
    };
    let out = session.frame(&whole(1));
    assert_eq!((out.frames.len(), out.notices.len()), (2, 0));
    assert_eq!(refused(&session.frame(&whole(2))), ["ticker:okx:BTC/USDT"]);
    let error = session.receive(r#"{"event":"error","code":"60012","msg":"Invalid request: x"}"#).1.unwrap_err();
    assert_eq!(error.recovery(), Recovery::SkipFrame);
}

#[test]
fn too_many_requests_mean_a_pause() {
    let (mut session, _) = Driven::open(&Okx, &btc());
    for code in ["60014", "64007"] {
        let frame = format!(r#"{{"event":"error","code":"{code}","msg":"Requests too frequent","connId":"a"}}"#);
        let error = session.receive(&frame).1.unwrap_err();
        assert!(matches!(error.recovery(), Recovery::Reconnect { after } if after > Duration::ZERO));
    }
}

#[test]
fn a_notice_asks_for_the_next_connection() {
    let (mut session, _) = Driven::open(&Okx, &btc());
    let notice = |code: &str| {
        format!(
            r#"{{"event":"notice","code":"{code}","msg":"The connection will soon be closed for a service upgrade.","connId":"a"}}"#
        )
    };
    assert_eq!(session.frame(&notice("64008")).notices, [Notice::Rotate]);
    assert!(session.frame(&notice("64000")).notices.is_empty());
}

/// What a timer sends, as text: a ping is no JSON.
fn timer(session: &mut dyn FeedSession, now: Timestamp) -> Vec<String> {
    let mut out = Outbox::default();
    assert_eq!(session.on_timer(now, &mut out), Ok(()));
    out.frames
}

#[test]
fn silence_is_met_with_the_text_ping() {
    let (mut driven, _) = business(&btc());
    driven.frame(&ack(1, "candle1m", "BTC-USDT"));
    let after = |seconds| NOW + Duration::from_secs(seconds);
    assert!(timer(driven.session.as_mut(), after(19)).is_empty());
    assert_eq!(timer(driven.session.as_mut(), after(20)), ["ping"]);
    assert!(timer(driven.session.as_mut(), after(21)).is_empty(), "one is enough");
    driven.now = after(22);
    let out = driven.frame("pong");
    assert!(out.events.is_empty() && out.notices.is_empty());
    assert!(timer(driven.session.as_mut(), after(41)).is_empty(), "it counts from what was heard last");
    assert_eq!(timer(driven.session.as_mut(), after(42)), ["ping"]);
    let profile = Okx.profile();
    assert!(profile.idle_timeout > super::session::PING_AFTER && super::session::PING_AFTER < Duration::from_secs(30));
}

#[test]
fn an_answer_has_a_deadline() {
    let (mut session, _) = Driven::open(&Okx, &btc());
    session.frame(&ack(1, "trades", "BTC-USDT"));
    assert_eq!(session.timer(NOW + Duration::from_secs(10)).1, Ok(()));
    let error = session.timer(NOW + Duration::from_secs(11)).1.unwrap_err();
    assert!(matches!(error.recovery(), Recovery::Reconnect { .. }));
    assert!(error.message.contains("1 subscriptions: ticker:okx:BTC/USDT"), "{}", error.message);
}

#[test]
fn messages_and_connections_are_bounded() {
    let all: Vec<Subscription> = (0..250).flat_map(|n| market(&format!("A{n}/USDT"))).collect();
    let plans = Okx.connections(&all);
    let sizes: Vec<_> = plans.iter().map(|plan| (plan.subscriptions.len(), plan.spare)).collect();
    assert_eq!(sizes, [(400, 0), (100, 300), (250, 150)]);
    let (_, sent) = Driven::open(&Okx, &all);
    assert_eq!(sent.len(), 8);
    assert!(sent.iter().all(|frame| frame["args"].as_array().unwrap().len() == 50 && frame.to_string().len() < 4096));
}

#[test]
fn subscriptions_change_on_the_open_connection() {
    let (mut session, _) = Driven::open(&Okx, &btc());
    let sent = session.change(&market("ETH/EUR")[..1], &btc()[1..2]);
    let trades = json!([{"channel": "trades", "instId": "BTC-USDT"}]);
    assert_eq!(sent[0], json!({"id": "2", "op": "unsubscribe", "args": trades}));
    let tickers = json!([{"channel": "tickers", "instId": "ETH-EUR"}]);
    assert_eq!(sent[1], json!({"id": "3", "op": "subscribe", "args": tickers}));
    let unsubscribed = ack(2, "trades", "BTC-USDT").replace("subscribe", "unsubscribe");
    assert!(session.frame(&unsubscribed).notices.is_empty());
    assert!(session.events(TRADES).is_empty());
    assert!(session.change(&market("ETH/EUR")[..1], &[]).is_empty(), "as it is already");
}

const TICKER: &str = r#"{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instType":"SPOT","instId":"BTC-USDT",
 "last":"67012.30","lastSz":"0.0015","askPx":"67012.4","askSz":"0.80","bidPx":"67012.3","bidSz":"1.2","open24h":"66000.1",
 "high24h":"67500","low24h":"65800","sodUtc0":"66900","sodUtc8":"66700.5","volCcy24h":"122900000.50","vol24h":"1834.10",
 "ts":"1763672400123"}]}"#;

#[test]
fn a_ticker_counts_in_base_and_quote_and_invents_no_change() {
    let (mut session, _) = Driven::open(&Okx, &btc());
    let expected = r#"{"exchange":"okx","symbol":"BTC/USDT","last":67012.3,"bid":67012.3,"bid_size":1.2,"#.to_owned()
        + r#""ask":67012.4,"ask_size":0.8,"open":66000.1,"high":67500,"low":65800,"base_volume":1834.1,"#
        + r#""quote_volume":122900000.5,"change_percent":null,"timestamp":1763672400123,"received_at":1763672400000,"#
        + r#""source":"stream","simulated":false}"#;
    assert_eq!(session.events(TICKER), [expected]);
}

#[test]
fn an_empty_side_is_written_as_nothing() {
    let (mut session, _) = Driven::open(&Okx, &btc());
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
fn trades_are_of_the_takers_side() {
    let (mut session, _) = Driven::open(&Okx, &btc());
    let expected = [(7, "buy"), (8, "sell")].map(|(id, side)| {
        format!(
            r#"{{"exchange":"okx","symbol":"BTC/USDT","id":"{id}","price":67012.3,"amount":0.0015,"side":"{side}","timestamp":1763672400199,"simulated":false}}"#
        )
    });
    assert_eq!(session.events(TRADES), expected);
    let (out, result) = session.receive(&TRADES.replacen("buy", "both", 1));
    assert_eq!((out.events.len(), result.unwrap_err().recovery()), (1, Recovery::SkipFrame), "good rows are told");
}

fn candle(bar: &str, open: &str, low: &str, confirm: u8) -> String {
    format!(
        r#"{{"arg":{{"channel":"candle{bar}","instId":"BTC-USDT"}},"data":[["{open}","67000.1","67020.0","{low}","67012.3","12.50","9","837654.20","{confirm}"]]}}"#
    )
}

#[test]
fn the_ninth_member_says_whether_a_candle_is_closed_and_the_eighth_is_in_quote() {
    let (mut session, _) = business(&btc());
    for (confirm, closed) in [(0, false), (1, true)] {
        let expected = format!(
            r#"{{"exchange":"okx","symbol":"BTC/USDT","interval":"1m","timestamp":1763672340000,"open":67000.1,"high":67020,"low":66990,"close":67012.3,"volume":12.5,"quote_volume":837654.2,"trades":null,"closed":{closed},"revision":0,"simulated":false}}"#
        );
        assert_eq!(session.events(&candle("1m", "1763672340000", "66990", confirm)), [expected]);
    }
}

#[test]
fn impossible_candles_are_errors_and_other_grids_nothing() {
    let (mut session, _) = business(&btc());
    for frame in [candle("1m", "1763672340001", "66990", 1), candle("1m", "1763672340000", "67010", 1)] {
        let (out, result) = session.receive(&frame);
        assert_eq!((out.events.len(), result.unwrap_err().recovery()), (0, Recovery::SkipFrame));
    }
    // 2025-11-19T16:00Z is midnight in Hong Kong.
    let mut decoder = Driven::decoder(&Okx);
    assert!(decoder.events(&candle("1D", "1763568000000", "66990", 1)).is_empty());
    assert!(decoder.receive(&candle("1Dutc", "1763568000000", "66990", 1)).1.is_err());
    assert_eq!(decoder.events(&candle("1Dutc", "1763596800000", "66990", 1)).len(), 1);
    assert!(decoder.events(&candle("3Dutc", "1763596800000", "66990", 1)).is_empty());
}

#[test]
fn what_means_nothing_to_us_gives_nothing() {
    let mut session = Driven::decoder(&Okx);
    let future = |channel: &str, native: &str| {
        format!(
            r#"{{"arg":{{"channel":"{channel}","instId":"{native}"}},"data":[{{"instType":"SWAP","instId":"{native}","tradeId":"1","px":"1","sz":"1",
            "side":"buy","last":"1","lastSz":"1","askPx":"1","askSz":"1","bidPx":"1","bidSz":"1","open24h":"1","high24h":"1","low24h":"1",
            "sodUtc0":"1","sodUtc8":"1","volCcy24h":"1","vol24h":"1","ts":"1"}}]}}"#
        )
    };
    let frames = ["BTC-USD-SWAP", "BTC-USD-230331", "BTC-USD-230331-9000-C"]
        .iter()
        .flat_map(|native| ["tickers", "trades"].map(|channel| future(channel, native)))
        .chain([candle("1m", "1763672340000", "66990", 1).replace("BTC-USDT", "BTC-USDT-SWAP")])
        .chain(
            [
                "pong",
                r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[],"bids":[],"ts":"1"}]}"#,
                r#"{"arg":{"channel":"instruments","instType":"SPOT"},"data":[{"instId":"BTC-USDT"}]}"#,
                r#"{"event":"channel-conn-count","channel":"orders","connCount":"2","connId":"abcd1234"}"#,
                r#"{"event":"login","code":"0","msg":"","connId":"a4d3ae55"}"#,
                r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[]}"#,
                "[]",
                &refusal(1, "tickers", "NO-USDT"),
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
    let turned = format!(r#"{{"data":{},"arg":{{"instId":"BTC-USDT","channel":"trades"}}}}"#, &rows[..rows.len() - 1]);
    assert_eq!(session.events(&turned), session.events(TRADES));
    let (mut listed, _) = Driven::open(&Okx, &btc());
    assert!(listed.events(&TRADES.replace("BTC", "ETH")).is_empty(), "not listened to");
}

fn candles(interval: Interval, start: i64, end: i64) -> RestCall<CandleRows> {
    let range = TimeRange::new(Timestamp::from_secs(start), Timestamp::from_secs(end));
    let instrument = Arc::clone(&btc()[0].instrument);
    Okx.candles(&CandlePage { instrument, interval, range, asked_at: NOW }).unwrap()
}

#[test]
fn a_page_is_asked_for_between_two_times_that_are_not_part_of_it() {
    let call = candles(Interval::H1, 1_763_665_200, 1_763_672_400);
    let query: Vec<_> = call.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = "instId=BTC-USDT&bar=1H&before=1763665199999&after=1763672400000&limit=300";
    assert_eq!((&*call.path, &*query.join("&")), ("/api/v5/market/candles", expected));
}

#[test]
fn rows_come_newest_first_and_say_whether_they_are_closed() {
    let row = |at: i64, confirm: u8| {
        format!(r#"["{at}000","67000.1","67020","66990","67012.3","12.50","1","837654.20","{confirm}"]"#)
    };
    let body = |confirm| {
        let rows = [row(1_763_672_400, 0), row(1_763_668_800, confirm), row(1_763_665_200, 1), row(1_763_661_600, 1)];
        format!(r#"{{"code":"0","msg":"","data":[{}]}}"#, rows.join(","))
    };
    let call = candles(Interval::H1, 1_763_665_200, 1_763_672_400);
    let seen = |confirm| -> Vec<_> {
        let page = parse(&call, &body(confirm)).unwrap().rows;
        page.iter().map(|row| (row.timestamp.millis() / 1000, row.closed)).collect()
    };
    assert_eq!(seen(1), [(1_763_665_200, true), (1_763_668_800, true)]);
    assert_eq!(seen(0), [(1_763_665_200, true), (1_763_668_800, false)], "its end is past, but it is not confirmed");
    let page = parse(&call, &body(1)).unwrap().rows;
    let volumes = [Some(page[0].volume), page[0].quote_volume].map(|volume| volume.unwrap().to_string());
    assert_eq!((volumes, page[0].trades), (["12.5".to_owned(), "837654.2".to_owned()], None));
}

#[test]
fn old_candles_are_asked_of_the_history() {
    let path = |interval: Interval, rows: u32| {
        let start = interval.back(NOW, rows);
        let call = candles(interval, start.millis() / 1000, NOW.millis() / 1000);
        (call.path.rsplit('/').next().unwrap().to_owned(), call.scope)
    };
    for interval in [Interval::M1, Interval::H1, Interval::D1] {
        assert_eq!(path(interval, 1_435), ("candles".to_owned(), "candles"), "{interval}");
        assert_eq!(path(interval, 1_436), ("history-candles".to_owned(), "history-candles"), "{interval}");
    }
    assert_eq!(path(Interval::Mo1, 100).1, "candles");
}

#[test]
fn the_names_of_long_bars_are_those_of_utc() {
    let bar = |interval| {
        let range = TimeRange::new(Timestamp::EPOCH, NOW);
        let instrument = Arc::clone(&btc()[0].instrument);
        let call = Okx.candles(&CandlePage { instrument, interval, range, asked_at: NOW });
        call.map(|call| call.query[1].1.clone())
    };
    let names: Vec<_> = Interval::ALL.into_iter().filter_map(bar).collect();
    let expected = ["1m", "3m", "5m", "15m", "30m", "1H", "2H", "4H", "6Hutc", "12Hutc", "1Dutc", "1Wutc", "1Mutc"];
    assert_eq!(names, expected);
    assert_eq!(
        Interval::ALL.into_iter().filter(|one| bar(*one).is_some()).collect::<Vec<_>>(),
        Okx.profile().intervals
    );
    // A day of Hong Kong's does not get in under a wrong name.
    let off_grid = r#"{"code":"0","data":[["1763568000000","1","1","1","1","1","1","1","1"]]}"#;
    let page = parse(&candles(Interval::D1, 1_763_510_400, 1_763_683_200), off_grid).unwrap();
    assert_eq!(page.rows.iter().map(|row| row.check(Interval::D1).is_ok()).collect::<Vec<_>>(), [false]);
}

fn ticker_call() -> RestCall<TickerPatch> {
    Okx.ticker(&btc()[0].instrument).remove(0)
}

#[test]
fn a_rest_ticker_says_the_same_as_the_stream() {
    let body = include_str!("../../../tests/fixtures/okx/ticker.json");
    let call = ticker_call();
    assert_eq!((&*call.path, &*call.query[0].1), ("/api/v5/market/ticker", "BTC-USDT"));
    let patch = parse(&call, body).unwrap();
    let text = |value: Option<rust_decimal::Decimal>| value.map(|value| value.to_string()).unwrap_or_default();
    assert_eq!([text(patch.base_volume), text(patch.quote_volume)], ["1834.1", "122900000.5"]);
    assert_eq!([text(patch.open), text(patch.bid), text(patch.ask_size)], ["66000.1", "67012.3", "0.8"]);
    assert_eq!((patch.change_percent, patch.timestamp), (None, Some(Timestamp::from_millis(1_763_672_400_123))));
    let swap = parse(&call, &body.replace("SPOT", "SWAP")).unwrap_err();
    assert_eq!(swap.kind, ReplyErrorKind::Refused, "its volumes are of another unit");
    assert_eq!(parse(&call, r#"{"code":"0","data":[]}"#).unwrap_err().kind, ReplyErrorKind::Malformed);
}

#[test]
fn errors_come_with_http_200() {
    let kind =
        |code: &str| parse(&ticker_call(), &format!(r#"{{"code":{code},"msg":"why","data":[]}}"#)).unwrap_err().kind;
    for (code, expected) in [
        ("\"51001\"", ReplyErrorKind::UnknownSymbol),
        ("51001", ReplyErrorKind::UnknownSymbol),
        ("\"50011\"", ReplyErrorKind::RateLimited),
        ("\"50061\"", ReplyErrorKind::RateLimited),
        ("\"50001\"", ReplyErrorKind::Unavailable),
        ("\"50004\"", ReplyErrorKind::Unavailable),
        ("\"50005\"", ReplyErrorKind::Unavailable),
        ("\"50013\"", ReplyErrorKind::Unavailable),
        ("\"50026\"", ReplyErrorKind::Unavailable),
        ("\"51000\"", ReplyErrorKind::Refused),
        ("\"1\"", ReplyErrorKind::Refused),
    ] {
        assert_eq!(kind(code), expected, "{code}");
    }
    let body = r#"{"code":"51000","data":[],"msg":"Parameter bar error"}"#;
    let error = parse_status(&ticker_call(), 400, body).unwrap_err();
    assert_eq!((error.kind, &*error.message), (ReplyErrorKind::Refused, "Parameter bar error (code 51000)"));
    assert_eq!(parse_status(&ticker_call(), 404, "gone").unwrap_err().kind, ReplyErrorKind::Unavailable);
    for body in ["{}", "[]", "<html>", r#"{"code":"0","data":[{}]}"#] {
        assert_eq!(parse(&ticker_call(), body).unwrap_err().kind, ReplyErrorKind::Malformed, "{body}");
    }
    // No list of candles is not an empty one.
    let page = candles(Interval::M1, 1_763_510_400, 1_763_683_200);
    for body in [r#"{"code":"0","msg":""}"#, r#"{"code":"0","data":null}"#] {
        assert_eq!(parse(&page, body).unwrap_err().kind, ReplyErrorKind::Malformed, "{body}");
    }
}

#[test]
fn every_path_is_metered_on_its_own() {
    let scopes = Okx.profile().scopes;
    let limits: Vec<_> = scopes.iter().map(|scope| (scope.name, scope.limit)).collect();
    let expected = [("time", 10), ("instruments", 20), ("ticker", 20), ("candles", 40), ("history-candles", 20)];
    assert_eq!(limits, expected, "the first is that of the probe");
    assert!(scopes.iter().all(|scope| scope.window == Duration::from_secs(2)));
    assert_eq!((Okx.instruments().scope, ticker_call().scope), ("instruments", "ticker"));
}

#[test]
fn a_listing_holds_spot_markets_and_says_which_trade() {
    let body = include_str!("../../../tests/fixtures/okx/instruments.json");
    let call = Okx.instruments();
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
    assert_eq!((listed[2].price_step, listed[2].amount_step), (None, None), "not told yet");
}
