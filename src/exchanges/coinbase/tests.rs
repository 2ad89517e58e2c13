//! Tests of the Coinbase adapter, one for each rule of its API.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::adapter::Adapter;
use crate::exchanges::adapter::Exchange;
use crate::exchanges::candle_rows::CandleRows;
use crate::exchanges::feed::{Notice, Outbox, Recovery, Subscription};
use crate::exchanges::profile::MinuteCandles;
use crate::exchanges::response::RestErrorKind;
use crate::exchanges::rest::{CandlePage, RestCall};
use crate::exchanges::testing::{
    FIREWALL_PAGE, NOW, TestSession, acknowledged, all_channels, error_kind, instrument, parse, parse_status, rejected,
    sent_frames,
};
use crate::model::{Channel, ExchangeId, Interval, TickerPatch, TimeRange, Timestamp};

const TICKER: &str = r#"{"channel":"ticker","timestamp":"2025-11-20T21:00:00.123456789Z","sequence_num":0,"events":[{"type":"snapshot","tickers":[{"type":"ticker","product_id":"BTC-USD","price":"67012.3","volume_24_h":"1834.10","low_24_h":"65800","high_24_h":"67500","price_percent_chg_24_h":"-1.530","best_bid":"67012.3","best_ask":"67012.4","best_bid_quantity":"1.2","best_ask_quantity":"0.80"}]}]}"#;

fn subscriptions(symbol: &str) -> Vec<Subscription> {
    let mut all = all_channels(instrument(ExchangeId::COINBASE, symbol, &symbol.replace('/', "-"), None));
    all.retain(|one| one.channel != Channel::Candles);
    all
}

fn btc() -> Vec<Subscription> {
    subscriptions("BTC/USD")
}

fn ack(number: u64, subscriptions: &serde_json::Value) -> String {
    json!({
        "channel": "subscriptions", "timestamp": "2025-11-20T21:00:00Z", "sequence_num": number,
        "events": [{"subscriptions": subscriptions}],
    })
    .to_string()
}

/// A message with trades, each `[id, price, size, maker's side, time]`.
fn trades(number: u64, kind: &str, rows: &[[&str; 5]]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|[id, price, size, side, time]| {
            json!({"product_id": "BTC-USD", "trade_id": id, "price": price, "size": size, "side": side, "time": time})
        })
        .collect();
    let events = json!([{"type": kind, "trades": rows}]);
    format!(
        r#"{{"channel":"market_trades","timestamp":"2025-11-20T21:00:00.2Z","sequence_num":{number},"events":{events}}}"#
    )
}

#[test]
fn subscribes_to_heartbeats_and_then_to_each_channel() {
    let (_, sent) = TestSession::open(&Adapter, &[btc(), subscriptions("ETH/EUR")].concat());
    let products = json!(["BTC-USD", "ETH-EUR"]);
    let expected = [
        json!({"type": "subscribe", "channel": "heartbeats"}),
        json!({"type": "subscribe", "product_ids": products, "channel": "ticker"}),
        json!({"type": "subscribe", "product_ids": products, "channel": "market_trades"}),
    ];
    assert_eq!(sent, expected);
}

#[test]
fn subscribes_to_no_candles() {
    assert_eq!(Adapter.profile().minute_candles, MinuteCandles::FromTrades);
    let all = all_channels(instrument(ExchangeId::COINBASE, "BTC/USD", "BTC-USD", None));
    let plans = Adapter.connections(&all);
    assert_eq!(plans.len(), 1);
    assert!(plans[0].subscriptions.iter().all(|one| one.channel != Channel::Candles));
}

#[test]
fn acknowledges_requests_in_order() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let out = session.frame(&ack(0, &json!({"heartbeats": ["heartbeats"]})));
    assert_eq!(acknowledged(&out), [""; 0]);
    let ticker = json!({"heartbeats": ["heartbeats"], "ticker": ["BTC-USD"]});
    assert_eq!(acknowledged(&session.frame(&ack(1, &ticker))), ["ticker:coinbase:BTC/USD"]);
    let both = json!({"ticker": ["BTC-USD"], "market_trades": ["BTC-USD"]});
    assert_eq!(acknowledged(&session.frame(&ack(2, &both))), ["trades:coinbase:BTC/USD"]);
    assert_eq!(session.timer(NOW + Duration::from_hours(1)).1, Ok(()));
}

#[test]
fn rejects_subscription_missing_in_acknowledgement() {
    let (mut session, _) = TestSession::open(&Adapter, &[btc(), subscriptions("NO/USD")].concat());
    session.frame(&ack(0, &json!({"heartbeats": ["heartbeats"]})));
    let out = session.frame(&ack(1, &json!({"ticker": ["BTC-USD"]})));
    assert_eq!(
        (acknowledged(&out), rejected(&out)),
        (vec!["ticker:coinbase:BTC/USD".to_owned()], vec!["ticker:coinbase:NO/USD".to_owned()])
    );
}

#[test]
fn splits_rejected_request() {
    let (mut session, _) = TestSession::open(&Adapter, &[btc(), subscriptions("NO/USD")].concat());
    session.frame(&ack(0, &json!({"heartbeats": ["heartbeats"]})));
    let out = session.frame(r#"{"type":"error","message":"NO-USD is not a valid product"}"#);
    let products: Vec<_> = sent_frames(&out).into_iter().map(|frame| frame["product_ids"].clone()).collect();
    assert_eq!(products, [json!(["BTC-USD"]), json!(["NO-USD"])]);
    assert_eq!(rejected(&out), [""; 0]);
    // Next are the acknowledgement of the trades, and the answer for each ticker.
    session.frame(&ack(1, &json!({"market_trades": ["BTC-USD", "NO-USD"]})));
    session.frame(&ack(2, &json!({"ticker": ["BTC-USD"]})));
    let out = session.frame(r#"{"type":"error","message":"NO-USD is not a valid product"}"#);
    assert_eq!(rejected(&out), ["ticker:coinbase:NO/USD"]);
}

#[test]
fn reconnects_after_missed_ack_deadline() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    session.frame(&ack(0, &json!({"heartbeats": ["heartbeats"]})));
    assert_eq!(session.timer(NOW + Duration::from_secs(9)).1, Ok(()));
    let error = session.timer(NOW + Duration::from_secs(12)).1.unwrap_err();
    assert!(matches!(error.recovery(), Recovery::Reconnect { .. }), "{error}");
}

#[test]
fn updates_subscriptions_on_open_connection() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let frames = session.update(&subscriptions("ETH/EUR"), &btc());
    let seen: Vec<_> =
        frames.iter().map(|frame| (&frame["type"], &frame["channel"], &frame["product_ids"][0])).collect();
    let expected = [("unsubscribe", "BTC-USD"), ("subscribe", "ETH-EUR")]
        .map(|(kind, id)| ["ticker", "market_trades"].map(|channel| (json!(kind), json!(channel), json!(id))));
    let expected: Vec<_> = expected.iter().flatten().map(|(kind, channel, id)| (kind, channel, id)).collect();
    assert_eq!(seen, expected);
    assert_eq!(session.events(TICKER), [""; 0], "unsubscribed");
}

#[test]
fn inverts_side_of_maker() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let at = "2025-11-20T21:00:00.149123Z";
    let seen = session.events(&trades(0, "update", &[["2", "10", "1", "BUY", at], ["1", "11", "1", "SELL", at]]));
    assert!(seen[0].contains(r#""id":"1","price":11,"amount":1,"side":"buy","timestamp":1763672400149"#), "{seen:?}");
    assert!(seen[1].contains(r#""id":"2","price":10,"amount":1,"side":"sell""#), "oldest first: {seen:?}");
}

#[test]
fn skips_trades_of_snapshot() {
    let old = trades(0, "snapshot", &[["1", "10", "1", "BUY", "2025-11-20T20:00:00Z"]]);
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    assert_eq!(session.events(&old), [""; 0]);
    assert_eq!(TestSession::decoder(&Adapter).events(&old).len(), 1, "the decoder keeps them");
}

#[test]
fn reconnects_after_lost_message() {
    let at = "2025-11-20T21:00:00Z";
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    assert_eq!(session.events(&trades(7, "update", &[["1", "10", "1", "BUY", at]])).len(), 1);
    assert_eq!(session.events(&trades(7, "update", &[["1", "10", "1", "BUY", at]])).len(), 0, "a duplicate");
    let heartbeat = r#"{"channel":"heartbeats","timestamp":"2025-11-20T21:00:01Z","sequence_num":8,"events":[{"heartbeat_counter":1}]}"#;
    session.frame(heartbeat);
    let (out, result) = session.receive(&trades(10, "update", &[["2", "10", "1", "BUY", at]]));
    let error = result.unwrap_err();
    assert!(matches!(error.recovery(), Recovery::Reconnect { after: Duration::ZERO }), "{error}");
    assert!(error.message.contains("9 to 9"), "{error}");
    assert!(out.events.is_empty());
    let mut decoder = TestSession::decoder(&Adapter);
    decoder.frame(heartbeat);
    decoder.frame(&trades(10, "update", &[]));
}

#[test]
fn parses_ticker_with_time_of_envelope() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let expected = concat!(
        r#"{"exchange":"coinbase","symbol":"BTC/USD","last":67012.3,"bid":67012.3,"bid_size":1.2,"ask":67012.4,"#,
        r#""ask_size":0.8,"open":null,"high":67500,"low":65800,"base_volume":1834.1,"quote_volume":null,"#,
        r#""change_percent":-1.53,"timestamp":1763672400123,"received_at":1763672400000,"source":"stream","simulated":false}"#
    );
    assert_eq!(session.events(TICKER), [expected]);
}

#[test]
fn year_one_and_empty_prices_are_missing_values() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let empty = TICKER
        .replace("2025-11-20T21:00:00.123456789Z", "0001-01-01T00:00:00Z")
        .replace(r#""best_bid":"67012.3""#, r#""best_bid":"""#)
        .replace(r#""high_24_h":"67500""#, r#""high_24_h":"""#);
    let seen = session.events(&empty).remove(0);
    assert!(seen.contains(r#""bid":null,"bid_size":null,"ask":67012.4"#), "{seen}");
    assert!(seen.contains(r#""high":null"#) && seen.contains(r#""timestamp":null"#), "{seen}");
    let timeless = trades(1, "update", &[["1", "10", "1", "BUY", "0001-01-01T00:00:00Z"]]);
    let (out, result) = session.receive(&timeless);
    assert!(out.events.is_empty() && matches!(result.unwrap_err().recovery(), Recovery::SkipFrame));
}

#[test]
fn malformed_message_advances_sequence() {
    let at = "2025-11-20T21:00:00Z";
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    session.frame(&trades(7, "update", &[["1", "10", "1", "BUY", at]]));
    let malformed = TICKER.replace("-1.530", "7.9e27").replace(r#""sequence_num":0"#, r#""sequence_num":8"#);
    assert!(matches!(session.receive(&malformed).1.unwrap_err().recovery(), Recovery::SkipFrame));
    assert_eq!(session.events(&trades(9, "update", &[["2", "10", "1", "BUY", at]])).len(), 1);
    let nulls = TICKER.replace(r#""-1.530""#, "null").replace(r#""sequence_num":0"#, r#""sequence_num":10"#);
    assert!(session.events(&nulls).remove(0).contains(r#""change_percent":null"#));
}

#[test]
fn reports_skipped_trades() {
    let at = "2025-11-20T21:00:00Z";
    let symbol = |text: &str| Notice::TradeSkipped(Some(text.parse().unwrap()));
    for (invalid, expected) in [
        (trades(1, "update", &[["1", "10", "1", "BOTH", at]]), symbol("BTC/USD")),
        (trades(1, "update", &[["1", "10", "1", "BUY", "0001-01-01T00:00:00Z"]]), symbol("BTC/USD")),
        (
            trades(1, "update", &[["1", "10", "1", "BUY", at]]).replace(r#""events":["#, r#""events":7,"x":["#),
            Notice::TradeSkipped(None),
        ),
    ] {
        let (mut session, _) = TestSession::open(&Adapter, &btc());
        let (out, result) = session.receive(&invalid);
        assert!(result.is_err() && out.notices.contains(&expected), "{invalid}: {:?}", out.notices);
    }
}

#[test]
fn delays_reconnect_after_too_many_messages() {
    let (mut session, _) = TestSession::open(&Adapter, &btc());
    let error = session.receive(r#"{"type":"error","message":"rate limit exceeded"}"#).1.unwrap_err();
    assert!(matches!(error.recovery(), Recovery::Reconnect { after } if after > Duration::ZERO));
}

#[test]
fn ignores_irrelevant_frames_and_rejects_malformed_ones() {
    let mut decoder = TestSession::decoder(&Adapter);
    for irrelevant in ["[]", "{}", r#"{"channel":"status","events":[]}"#, r#"{"type":"error","message":"x"}"#] {
        assert!(decoder.frame(irrelevant).events.is_empty(), "{irrelevant}");
    }
    for malformed in
        ["", "{", r#"{"channel":"ticker""#, r#"{"channel":"market_trades","sequence_num":1,"events":[{}]}"#]
    {
        let error = decoder.receive(malformed).1.unwrap_err();
        assert!(matches!(error.recovery(), Recovery::SkipFrame), "{malformed}");
    }
    // Another order of members.
    let reordered =
        TICKER.replacen(r#"{"channel":"ticker","#, "{", 1).replacen("}]}]}", r#"}]}],"channel":"ticker"}"#, 1);
    assert_eq!(decoder.events(&reordered).len(), 1);
}

fn candles_call(interval: Interval, start: i64, end: i64) -> Option<RestCall<CandleRows>> {
    let range = TimeRange::new(Timestamp::from_secs(start), Timestamp::from_secs(end));
    let instrument = Arc::clone(&btc()[0].instrument);
    Adapter.candles(&CandlePage { instrument, interval, range, requested_at: NOW })
}

#[test]
fn builds_candle_request_in_seconds_with_inclusive_ends() {
    let call = candles_call(Interval::M5, 1_763_672_100, 1_763_672_700).unwrap();
    let query: Vec<_> = call.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = "start=1763672100&end=1763672699&granularity=FIVE_MINUTE&limit=349";
    assert_eq!((&*call.path, &*query.join("&")), ("/api/v3/brokerage/market/products/BTC-USD/candles", expected));
    assert!([Interval::M3, Interval::H8, Interval::W1].iter().all(|interval| candles_call(*interval, 0, 60).is_none()));
}

#[test]
fn candle_page_spans_less_than_350_candles() {
    let rows = i64::from(Adapter.profile().page_rows);
    let call = candles_call(Interval::M1, 1_763_640_000, 1_763_640_000 + rows * 60).unwrap();
    let [start, end] = [0, 1].map(|at| call.query[at].1.parse::<i64>().unwrap());
    assert!((end - start).unsigned_abs().div_ceil(60) < 350, "{start} to {end}");
}

#[test]
fn parses_candle_rows_newest_first() {
    let row = |at: i64| json!({"start": at.to_string(), "low": "1", "high": "4", "open": "2", "close": "3", "volume": "0.50"});
    let body = json!({"candles": [row(1_763_672_340), row(1_763_672_280), row(1_763_672_220)]}).to_string();
    let rows = parse(&candles_call(Interval::M1, 1_763_672_220, 1_763_672_400).unwrap(), &body).unwrap().rows;
    let seen: Vec<_> = rows.iter().map(|row| (row.timestamp.millis() / 1_000, row.closed)).collect();
    assert_eq!(seen, [(1_763_672_220, true), (1_763_672_280, true), (1_763_672_340, false)]);
    let row = &rows[0];
    let values = [row.open, row.high, row.low, row.close, row.volume].map(|value| value.to_string());
    assert_eq!(values, ["2", "4", "1", "3", "0.5"]);
    assert_eq!((row.quote_volume, row.trades), (None, None));
}

#[test]
fn merges_rest_ticker_from_statistics_and_last_trade() {
    let calls = Adapter.ticker(&btc()[0].instrument);
    let paths: Vec<_> = calls.iter().map(|call| call.path.rsplit('/').next().unwrap()).collect();
    assert_eq!(paths, ["BTC-USD", "ticker"]);
    let product = r#"{"product_id":"BTC-USD","price":"67012.2","price_percentage_change_24h":"1.53","volume_24h":"1834.10","high_24h":"67500","low_24h":"65800","mid_market_price":""}"#;
    let last = r#"{"trades":[{"trade_id":"9","product_id":"BTC-USD","price":"67012.3","size":"1","time":"2025-11-20T21:00:00.149123Z","side":"BUY","bid":"","ask":""}],"best_bid":"67012.3","best_ask":"67012.4"}"#;
    let mut values = parse(&calls[0], product).unwrap();
    values.merge(&parse(&calls[1], last).unwrap());
    let seen = |values: &TickerPatch| {
        [values.last, values.bid, values.ask, values.high, values.base_volume].map(|value| value.unwrap().to_string())
    };
    assert_eq!(seen(&values), ["67012.3", "67012.3", "67012.4", "67500", "1834.1"]);
    assert_eq!((values.timestamp, values.bid_size), (Some(Timestamp::from_millis(1_763_672_400_149)), None));
    let empty = parse(&calls[1], r#"{"trades":[],"best_bid":"","best_ask":""}"#).unwrap();
    assert_eq!(empty, TickerPatch::default());
}

#[test]
fn parses_listing_with_stream_ids_of_aliases() {
    let listed =
        parse(&Adapter.instruments(), include_str!("../../../tests/fixtures/coinbase/instruments.json")).unwrap();
    let seen: Vec<_> = listed.iter().map(|one| (one.symbol.as_str(), one.stream_name(), one.status.as_str())).collect();
    let expected =
        [("BTC/USD", "BTC-USD", "trading"), ("BTC/USDC", "BTC-USD", "trading"), ("OLD/EUR", "OLD-EUR", "delisted")];
    assert_eq!(seen, expected);
    assert_eq!(listed[1].native, "BTC-USDC", "REST has an id for each symbol");
    assert_eq!(listed[0].price_step.unwrap().to_string(), "0.01");
    assert_eq!(listed[0].amount_step.unwrap().to_string(), "0.00000001");
    assert_eq!((listed[0].min_notional.unwrap().to_string(), listed[1].min_notional), ("1".to_owned(), None));
}

#[test]
fn classifies_errors() {
    let call = &Adapter.ticker(&btc()[0].instrument)[0];
    for (status, body, kind) in [
        (
            404,
            r#"{"error":"NOT_FOUND","error_details":"valid product_id is required","message":"valid product_id is required"}"#,
            RestErrorKind::UnknownSymbol,
        ),
        (
            400,
            r#"{"error":"INVALID_ARGUMENT","message":"ProductID \"X\" could not be found"}"#,
            RestErrorKind::UnknownSymbol,
        ),
        (400, r#"{"error":"INVALID_ARGUMENT","message":"start and end argument is invalid"}"#, RestErrorKind::Rejected),
        (401, "Unauthorized", RestErrorKind::Unavailable),
        (200, "<html>", RestErrorKind::Malformed),
    ] {
        assert_eq!(parse_status(call, status, body).unwrap_err().kind, kind, "{body}");
    }
}

#[test]
fn opts_out_of_cached_responses_and_subscribes_within_5_seconds() {
    assert!(Adapter.profile().rest_headers.contains(&("cache-control", "no-cache")));
    let mut out = Outbox::default();
    let plan = Adapter.connections(&btc()).remove(0);
    (plan.session)(plan.subscriptions).on_open(NOW, &mut out);
    assert!(out.frames.len() <= 8, "all requests are sent within the 5 seconds that the exchange waits");
}

#[test]
fn subscribes_once_to_shared_order_book_and_sends_events_of_both_symbols() {
    let usdc = all_channels(instrument(ExchangeId::COINBASE, "BTC/USDC", "BTC-USDC", Some("BTC-USD")));
    let usdc: Vec<_> = usdc.into_iter().filter(|one| one.channel != Channel::Candles).collect();
    let (mut session, sent) = TestSession::open(&Adapter, &[btc(), usdc.clone()].concat());
    assert_eq!(sent[1]["product_ids"], json!(["BTC-USD"]), "the id of the order book");
    session.frame(&ack(0, &json!({"heartbeats": ["heartbeats"]})));
    let out = session.frame(&ack(1, &json!({"ticker": ["BTC-USD"]})));
    assert_eq!(acknowledged(&out), ["ticker:coinbase:BTC/USD", "ticker:coinbase:BTC/USDC"]);
    let update = |number| trades(number, "update", &[["7", "67012.3", "0.5", "BUY", "2025-11-20T21:00:00.1Z"]]);
    let symbols = |events: Vec<String>| -> Vec<String> {
        let value = |event: String| serde_json::from_str::<serde_json::Value>(&event).unwrap();
        events.into_iter().map(|event| value(event)["symbol"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(symbols(session.events(&update(2))), ["BTC/USD", "BTC/USDC"]);
    assert!(session.update(&[], &btc()).is_empty(), "the other symbol is still subscribed");
    assert_eq!(symbols(session.events(&update(3))), ["BTC/USDC"]);
    let sent = session.update(&[], &usdc);
    assert!(sent.iter().all(|message| message["type"] == "unsubscribe") && sent.len() == 2, "{sent:?}");
}

#[test]
fn rejects_rest_ticker_of_derivative() {
    let product = r#"{"product_id":"BIT-26APR24-CDE","price":"67012.2","product_type":"FUTURE","volume_24h":"1"}"#;
    let error = parse(&Adapter.ticker(&btc()[0].instrument)[0], product).unwrap_err();
    assert_eq!(error.kind, RestErrorKind::Rejected);
}

#[test]
fn classifies_error_responses() {
    use RestErrorKind::{Banned, UnknownSymbol};
    for (status, body, expected) in [
        (403, FIREWALL_PAGE, Banned),
        (403, "", Banned),
        (404, r#"{"error":"NOT_FOUND","message":"valid product_id is required"}"#, UnknownSymbol),
    ] {
        assert_eq!(error_kind(&Adapter, status, body), expected, "{status} {body}");
    }
}
