//! Tests of the Bybit adapter, one for each rule of its API.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::adapter::Adapter;
use crate::exchanges::adapter::Exchange;
use crate::exchanges::candle_rows::CandleRows;
use crate::exchanges::feed::{Recovery, Subscription};
use crate::exchanges::profile::MinuteCandles;
use crate::exchanges::response::RestErrorKind;
use crate::exchanges::rest::{CandlePage, RestCall};
use crate::exchanges::testing::{
    FIREWALL_PAGE, NOW, TestSession, acknowledged, all_channels, error_kind, instrument, parse, parse_status, rejected,
    sent_frames,
};
use crate::model::{ExchangeId, Interval, TickerPatch, TimeRange, Timestamp};

const TICKER: &str = r#"{"topic":"tickers.BTCUSDT","ts":1763672400123,"type":"snapshot","cs":2588407389,"data":{"symbol":"BTCUSDT","lastPrice":"67012.3","highPrice24h":"67500","lowPrice24h":"65800","prevPrice24h":"66000.1","volume24h":"1834.10","turnover24h":"122900000.50","price24hPcnt":"-0.0153","usdIndexPrice":"67010.5"}}"#;

fn subscriptions(symbol: &str) -> Vec<Subscription> {
    all_channels(instrument(ExchangeId::BYBIT, symbol, &symbol.replace('/', ""), None))
}

fn btc() -> Vec<Subscription> {
    subscriptions("BTC/USDT")
}

fn ack(success: bool, id: &str, message: &str) -> String {
    json!({"success": success, "ret_msg": message, "conn_id": "d30f1a2b", "req_id": id, "op": "subscribe"}).to_string()
}

fn book_frame(kind: &str, bids: &str, asks: &str) -> String {
    format!(
        r#"{{"topic":"orderbook.1.BTCUSDT","ts":1763672400100,"type":"{kind}","data":{{"s":"BTCUSDT","b":[{bids}],"a":[{asks}],"u":1,"seq":2}},"cts":1}}"#
    )
}

fn candle_frame(rows: &[(i64, bool)]) -> String {
    let row = |(start, confirm): &(i64, bool)| {
        json!({
            "start": start, "end": start + 59_999, "interval": "1", "open": "2", "close": "3", "high": "4", "low": "1",
            "volume": "0.50", "turnover": "1.25", "confirm": confirm, "timestamp": start,
        })
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    format!(r#"{{"type":"snapshot","topic":"kline.1.BTCUSDT","data":{},"ts":1763672400000}}"#, json!(rows))
}

#[test]
fn limits_streams_per_message() {
    let (_, sent) = TestSession::open(&Adapter, &[btc(), subscriptions("ETH/EUR"), subscriptions("SOL/USDC")].concat());
    let args = |frame: &serde_json::Value| frame["args"].as_array().unwrap().len();
    assert!(sent.iter().all(|frame| frame["op"] == "subscribe" && args(frame) <= 10), "{sent:?}");
    assert_eq!(sent.iter().map(args).sum::<usize>(), 12);
    let first: Vec<_> = sent[0]["args"].as_array().unwrap().iter().take(4).collect();
    assert_eq!(first, ["tickers.BTCUSDT", "orderbook.1.BTCUSDT", "publicTrade.BTCUSDT", "kline.1.BTCUSDT"]);
    assert_eq!(Adapter.connections(&btc())[0].path, "/v5/public/spot");
}

#[test]
fn acknowledges_request_as_a_whole() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let expected = ["ticker:bybit:BTC/USDT", "trades:bybit:BTC/USDT", "candles:bybit:BTC/USDT:1m"];
    assert_eq!(acknowledged(&session.frame(&ack(true, "1", "subscribe"))), expected);
    assert_eq!(acknowledged(&session.frame(&ack(true, "1", "subscribe"))), [""; 0]);
    assert_eq!(session.timer(NOW + Duration::from_secs(15)).1, Ok(()));
    // Without an id, an acknowledgement is for the oldest request.
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    assert_eq!(acknowledged(&session.frame(&ack(true, "", "subscribe"))), expected);
}

#[test]
fn splits_rejected_request() {
    let (mut session, _) = TestSession::open(&Adapter, &[btc()[0].clone(), subscriptions("NO/USDT")[0].clone()]);
    let out = session.frame(&ack(false, "1", "Invalid symbol :[tickers.NOUSDT]"));
    let args: Vec<_> = sent_frames(&out).into_iter().map(|frame| frame["args"][0].clone()).collect();
    assert_eq!(args, [json!("tickers.BTCUSDT"), json!("tickers.NOUSDT")]);
    assert_eq!(acknowledged(&session.frame(&ack(true, "2", ""))), ["ticker:bybit:BTC/USDT"]);
    assert_eq!(rejected(&session.frame(&ack(false, "3", "Invalid symbol"))), ["ticker:bybit:NO/USDT"]);
}

#[test]
fn acknowledges_already_subscribed_and_requests_the_rest() {
    let (mut session, _) = TestSession::open(&Adapter, &[btc()[0].clone(), btc()[1].clone()]);
    let out = session.frame(&ack(false, "1", "error:already subscribed,topic:publicTrade.BTCUSDT"));
    assert_eq!((acknowledged(&out), rejected(&out)), (vec!["trades:bybit:BTC/USDT".to_owned()], vec![]));
    assert_eq!(sent_frames(&out)[0]["args"], json!(["tickers.BTCUSDT", "orderbook.1.BTCUSDT"]));
    let out = session.frame(&ack(false, "2", "error:already subscribed,topic:tickers.BTCUSDT"));
    assert_eq!((out.notices.len(), sent_frames(&out)[0]["args"].clone()), (0, json!(["orderbook.1.BTCUSDT"])));
    let out = session.frame(&ack(false, "3", "error:already subscribed,topic:orderbook.1.BTCUSDT"));
    assert_eq!((acknowledged(&out), out.frames.len()), (vec!["ticker:bybit:BTC/USDT".to_owned()], 0));
    // A stream that was not requested ends the retries, too.
    let (mut other, _) = TestSession::open(&Adapter, &[btc()[1].clone()]);
    let out = other.frame(&ack(false, "1", "error:already subscribed,topic:tickers.ETHUSDT"));
    assert_eq!((acknowledged(&out), out.frames.len()), (vec!["trades:bybit:BTC/USDT".to_owned()], 0));
    // After an unsubscribe, all streams are requested again.
    session.update(&[], &[btc()[1].clone()]);
    assert_eq!(session.update(&[btc()[1].clone()], &[])[0]["args"], json!(["publicTrade.BTCUSDT"]));
}

#[test]
fn reconnects_after_missed_ack_deadline() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let error = session.timer(NOW + Duration::from_secs(12)).1.unwrap_err();
    assert!(matches!(error.recovery(), Recovery::Reconnect { .. }), "{error}");
}

#[test]
fn pings_every_twenty_seconds() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    session.frame(&ack(true, "1", "subscribe"));
    assert_eq!(session.timer(NOW + Duration::from_secs(19)).0, [json!(null); 0]);
    let (frames, _) = session.timer(NOW + Duration::from_secs(20));
    assert_eq!((frames.len(), &frames[0]["op"]), (1, &json!("ping")));
    assert_eq!(session.timer(NOW + Duration::from_secs(21)).0, [json!(null); 0]);
    session.frame(r#"{"success":true,"ret_msg":"pong","conn_id":"x","req_id":"2","op":"ping"}"#);
}

#[test]
fn updates_subscriptions_on_open_connection() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let frames = session.update(&subscriptions("ETH/EUR"), &btc());
    let seen: Vec<_> = frames.iter().map(|frame| (&frame["op"], frame["args"].as_array().unwrap().len())).collect();
    assert_eq!(seen, [(&json!("unsubscribe"), 4), (&json!("subscribe"), 4)]);
    assert_eq!(session.events(TICKER), [""; 0], "unsubscribed");
}

#[test]
fn merges_statistics_and_order_book() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let first = session.events(TICKER).remove(0);
    assert!(first.contains(r#""last":67012.3,"bid":null,"bid_size":null,"ask":null"#), "{first}");
    assert!(
        first.contains(r#""change_percent":-1.53,"timestamp":1763672400123"#),
        "converted from a fraction: {first}"
    );
    let merged = session.events(&book_frame("snapshot", r#"["67012.3","1.20"]"#, r#"["67012.4","0.8"]"#)).remove(0);
    let expected = concat!(
        r#"{"exchange":"bybit","symbol":"BTC/USDT","last":67012.3,"bid":67012.3,"bid_size":1.2,"ask":67012.4,"#,
        r#""ask_size":0.8,"open":66000.1,"high":67500,"low":65800,"base_volume":1834.1,"quote_volume":122900000.5,"#,
        r#""change_percent":-1.53,"timestamp":1763672400123,"received_at":1763672400000,"source":"stream","simulated":false}"#
    );
    assert_eq!(merged, expected, "with the newest time");
}

#[test]
fn order_book_delta_changes_only_its_sides() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    session.events(&book_frame("snapshot", r#"["10","1"]"#, r#"["11","2"]"#));
    let seen = session.events(&book_frame("delta", r#"["10","0"],["9","3"]"#, "")).remove(0);
    assert!(seen.contains(r#""bid":9,"bid_size":3,"ask":11,"ask_size":2"#), "{seen}");
    let seen = session.events(&book_frame("snapshot", "", r#"["12","2"]"#)).remove(0);
    assert!(seen.contains(r#""bid":null,"bid_size":null,"ask":12,"ask_size":2"#), "an empty side: {seen}");
}

#[test]
fn closed_flag_closes_candle() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let seen = session.events(&candle_frame(&[(1_763_672_340_000, true), (1_763_672_400_000, false)]));
    assert_eq!(seen.len(), 2);
    assert!(seen[0].contains(r#""timestamp":1763672340000,"open":2,"high":4,"low":1,"close":3,"volume":0.5,"quote_volume":1.25,"trades":null,"closed":true"#), "{seen:?}");
    assert!(seen[1].contains(r#""timestamp":1763672400000"#) && seen[1].contains(r#""closed":false"#));
    assert_eq!(Adapter.profile().minute_candles, MinuteCandles::Flagged);
}

#[test]
fn ignores_derivatives() {
    let mut decoder = TestSession::decoder(&Adapter);
    for frame in [
        r#"{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"symbol":"BTCUSDT","tickDirection":"ZeroPlusTick","price24hPcnt":"0.001624","lastPrice":"65114.30","markPrice":"65117.44"},"cs":1,"ts":1763672400000}"#,
        r#"{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","bid1Price":"65114.20"},"cs":1,"ts":1763672400000}"#,
        r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1763672400000,"data":[{"T":1763672400000,"s":"BTCUSDT","S":"Sell","v":"0.004","p":"65114.20","L":"MinusTick","i":"a9188a0a","BT":false,"seq":1}]}"#,
        r#"{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":1763672400000,"data":[]}"#,
    ] {
        assert!(decoder.frame(frame).events.is_empty(), "{frame}");
    }
    assert!(Adapter.is_spot_stream("wss://stream.bybit.com/v5/public/spot"));
    assert!(!Adapter.is_spot_stream("wss://stream.bybit.com/v5/public/linear"));
}

#[test]
fn ignores_irrelevant_frames_and_rejects_malformed_ones() {
    let mut decoder = TestSession::decoder(&Adapter);
    for irrelevant in
        ["[]", "{}", r#"{"op":"pong"}"#, r#"{"topic":"orderbook.50.BTCUSDT","data":{}}"#, &ack(false, "9", "x")]
    {
        assert!(decoder.frame(irrelevant).events.is_empty(), "{irrelevant}");
    }
    for malformed in ["", "{", r#"{"topic":"tickers.BTCUSDT""#, r#"{"topic":"publicTrade.X","ts":1,"data":[{}]}"#] {
        let error = decoder.receive(malformed).1.unwrap_err();
        assert!(matches!(error.recovery(), Recovery::SkipFrame), "{malformed}");
    }
    let invalid = candle_frame(&[(1_763_672_340_001, true)]);
    assert!(decoder.receive(&invalid).1.unwrap_err().message.contains("invalid candle"));
    // Another order of members.
    let reordered = TICKER.replacen(
        r#"{"topic":"tickers.BTCUSDT","ts":1763672400123"#,
        r#"{"ts":1763672400123,"topic":"tickers.BTCUSDT""#,
        1,
    );
    assert_eq!(decoder.events(&reordered).len(), 1);
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
fn builds_candle_request_with_inclusive_ends() {
    let call = candles_call(Interval::H4, 1_763_654_400_000, 1_763_668_800_000).unwrap();
    let query: Vec<_> = call.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = "category=spot&symbol=BTCUSDT&interval=240&start=1763654400000&end=1763668799999&limit=1000";
    assert_eq!((&*call.path, &*query.join("&")), ("/v5/market/kline", expected));
    assert!(
        [Interval::H8, Interval::D3, Interval::W1].iter().all(|interval| candles_call(*interval, 0, 60_000).is_none())
    );
}

#[test]
fn parses_candle_rows_newest_first() {
    let body = include_str!("../../../tests/fixtures/bybit/candles.json");
    let rows = parse(&candles_call(Interval::M1, 1_763_672_220_000, 1_763_672_400_000).unwrap(), body).unwrap().rows;
    let seen: Vec<_> = rows.iter().map(|row| (row.timestamp.millis(), row.closed)).collect();
    assert_eq!(seen, [(1_763_672_220_000, true), (1_763_672_280_000, true), (1_763_672_340_000, false)]);
    assert_eq!((rows[0].quote_volume.unwrap().to_string(), rows[0].trades), ("536000.25".to_owned(), None));
}

#[test]
fn parses_rest_ticker() {
    let call = &ticker_call();
    let values = parse(call, include_str!("../../../tests/fixtures/bybit/ticker.json")).unwrap();
    let seen = |values: &TickerPatch| {
        [values.bid, values.ask_size, values.change_percent].map(|value| value.unwrap().to_string())
    };
    assert_eq!(seen(&values), ["67012.3", "0.8", "1.53"]);
    assert_eq!(values.timestamp, Some(Timestamp::from_millis(1_763_672_400_123)));
}

#[test]
fn parses_listing() {
    let body = include_str!("../../../tests/fixtures/bybit/instruments.json");
    let listed = parse(&Adapter.instruments(), body).unwrap();
    let seen: Vec<_> =
        listed.iter().map(|one| (one.native.as_str(), one.symbol.as_str(), one.status.as_str())).collect();
    assert_eq!(seen, [("BTCUSDT", "BTC/USDT", "trading"), ("OLDEUR", "OLD/EUR", "halted")]);
    assert_eq!((listed[0].price_step.unwrap().to_string(), listed[1].amount_step), ("0.1".to_owned(), None));
    assert_eq!((listed[0].min_notional.unwrap().to_string(), listed[1].min_notional), ("5".to_owned(), None));
}

#[test]
fn classifies_errors() {
    let call = &ticker_call();
    for (status, body, kind) in [
        (
            200,
            r#"{"result":{},"retCode":10001,"retExtInfo":{},"retMsg":"params error: symbol invalid","time":1}"#,
            RestErrorKind::UnknownSymbol,
        ),
        (200, r#"{"retCode":"10006","retMsg":"Too many visits!","result":{}}"#, RestErrorKind::RateLimited),
        (200, r#"{"retCode":10016,"retMsg":"Server error.","result":{}}"#, RestErrorKind::Unavailable),
        (200, r#"{"retCode":10001,"retMsg":"params error: Interval invalid","result":{}}"#, RestErrorKind::Rejected),
        (
            200,
            r#"{"retCode":0,"retMsg":"OK","result":{"category":"linear","list":[]},"time":1}"#,
            RestErrorKind::Rejected,
        ),
        (
            200,
            r#"{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[]},"time":1}"#,
            RestErrorKind::Malformed,
        ),
        (200, "<html>", RestErrorKind::Malformed),
        (404, "<html>", RestErrorKind::Unavailable),
        (200, r#"{"retCode":10009,"retMsg":"Service Restricted","result":{}}"#, RestErrorKind::RegionBlocked),
    ] {
        assert_eq!(parse_status(call, status, body).unwrap_err().kind, kind, "{body}");
    }
}

#[test]
fn classifies_error_responses() {
    use RestErrorKind::{Banned, RateLimited, RegionBlocked, UnknownSymbol};
    // The exchange documents that a 403 without the phrases of its rate limits is a region block.
    for (status, body, expected) in [
        (403, FIREWALL_PAGE, RegionBlocked),
        (403, "", RegionBlocked),
        (403, "403, access too frequent", Banned),
        (429, r#"{"retCode":10006,"retMsg":"Too many visits!"}"#, RateLimited),
        (400, r#"{"retCode":10001,"retMsg":"params error: symbol invalid"}"#, UnknownSymbol),
        (400, r#"{"retCode":10024,"retMsg":"Compliance rules triggered"}"#, RegionBlocked),
    ] {
        assert_eq!(error_kind(&Adapter, status, body), expected, "{status} {body}");
    }
}
