//! The rules of Coinbase's dialect, one test each.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::testing::{Driven, NOW, confirmed, every_channel, instrument, parse, parse_status, refused, sent};
use super::super::{
    CandlePage, CandleRows, Exchange, MinuteCandles, Notice, Outbox, Recovery, ReplyErrorKind, RestCall, Subscription,
};
use super::Coinbase;
use crate::model::{Channel, ExchangeId, Interval, TickerPatch, TimeRange, Timestamp};

const TICKER: &str = r#"{"channel":"ticker","timestamp":"2025-11-20T21:00:00.123456789Z","sequence_num":0,"events":[{"type":"snapshot","tickers":[{"type":"ticker","product_id":"BTC-USD","price":"67012.3","volume_24_h":"1834.10","low_24_h":"65800","high_24_h":"67500","price_percent_chg_24_h":"-1.530","best_bid":"67012.3","best_ask":"67012.4","best_bid_quantity":"1.2","best_ask_quantity":"0.80"}]}]}"#;

fn market(symbol: &str) -> Vec<Subscription> {
    let mut all = every_channel(instrument(ExchangeId::Coinbase, symbol, &symbol.replace('/', "-"), None));
    all.retain(|one| one.channel != Channel::Candles);
    all
}

fn btc() -> Vec<Subscription> {
    market("BTC/USD")
}

fn answer(number: u64, subscriptions: &serde_json::Value) -> String {
    json!({
        "channel": "subscriptions", "timestamp": "2025-11-20T21:00:00Z", "sequence_num": number,
        "events": [{"subscriptions": subscriptions}],
    })
    .to_string()
}

/// A message of trades, each `[id, price, size, maker's side, time]`.
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
fn there_is_one_message_a_channel_and_heartbeats_come_first() {
    let (_, sent) = Driven::open(&Coinbase, &[btc(), market("ETH/EUR")].concat());
    let products = json!(["BTC-USD", "ETH-EUR"]);
    let expected = [
        json!({"type": "subscribe", "channel": "heartbeats"}),
        json!({"type": "subscribe", "product_ids": products, "channel": "ticker"}),
        json!({"type": "subscribe", "product_ids": products, "channel": "market_trades"}),
    ];
    assert_eq!(sent, expected);
}

#[test]
fn there_are_no_candles_to_listen_to() {
    assert_eq!(Coinbase.profile().minutes, MinuteCandles::FromTrades);
    let all = every_channel(instrument(ExchangeId::Coinbase, "BTC/USD", "BTC-USD", None));
    let plans = Coinbase.connections(&all);
    assert_eq!(plans.len(), 1);
    assert!(plans[0].subscriptions.iter().all(|one| one.channel != Channel::Candles));
}

#[test]
fn requests_are_answered_in_order_with_all_that_is_listened_to() {
    let (mut session, _) = Driven::open(&Coinbase, &btc());
    let out = session.frame(&answer(0, &json!({"heartbeats": ["heartbeats"]})));
    assert_eq!(confirmed(&out), [""; 0]);
    let ticker = json!({"heartbeats": ["heartbeats"], "ticker": ["BTC-USD"]});
    assert_eq!(confirmed(&session.frame(&answer(1, &ticker))), ["ticker:coinbase:BTC/USD"]);
    let both = json!({"ticker": ["BTC-USD"], "market_trades": ["BTC-USD"]});
    assert_eq!(confirmed(&session.frame(&answer(2, &both))), ["trades:coinbase:BTC/USD"]);
    assert_eq!(session.timer(NOW + Duration::from_hours(1)).1, Ok(()));
}

#[test]
fn what_the_answer_leaves_out_is_refused() {
    let (mut session, _) = Driven::open(&Coinbase, &[btc(), market("NO/USD")].concat());
    session.frame(&answer(0, &json!({"heartbeats": ["heartbeats"]})));
    let out = session.frame(&answer(1, &json!({"ticker": ["BTC-USD"]})));
    assert_eq!(
        (confirmed(&out), refused(&out)),
        (vec!["ticker:coinbase:BTC/USD".to_owned()], vec!["ticker:coinbase:NO/USD".to_owned()])
    );
}

#[test]
fn a_request_that_is_refused_as_a_whole_is_made_again_one_by_one() {
    let (mut session, _) = Driven::open(&Coinbase, &[btc(), market("NO/USD")].concat());
    session.frame(&answer(0, &json!({"heartbeats": ["heartbeats"]})));
    let out = session.frame(r#"{"type":"error","message":"NO-USD is not a valid product"}"#);
    let products: Vec<_> = sent(&out).into_iter().map(|frame| frame["product_ids"].clone()).collect();
    assert_eq!(products, [json!(["BTC-USD"]), json!(["NO-USD"])]);
    assert_eq!(refused(&out), [""; 0]);
    // Then come the answers for the trades, and for each ticker.
    session.frame(&answer(1, &json!({"market_trades": ["BTC-USD", "NO-USD"]})));
    session.frame(&answer(2, &json!({"ticker": ["BTC-USD"]})));
    let out = session.frame(r#"{"type":"error","message":"NO-USD is not a valid product"}"#);
    assert_eq!(refused(&out), ["ticker:coinbase:NO/USD"]);
}

#[test]
fn an_answer_that_does_not_come_is_missed() {
    let (mut session, _) = Driven::open(&Coinbase, &btc());
    session.frame(&answer(0, &json!({"heartbeats": ["heartbeats"]})));
    assert_eq!(session.timer(NOW + Duration::from_secs(9)).1, Ok(()));
    let error = session.timer(NOW + Duration::from_secs(12)).1.unwrap_err();
    assert!(matches!(error.recovery(), Recovery::Reconnect { .. }), "{error}");
}

#[test]
fn subscriptions_change_on_the_open_connection() {
    let (mut session, _) = Driven::open(&Coinbase, &btc());
    let frames = session.change(&market("ETH/EUR"), &btc());
    let seen: Vec<_> =
        frames.iter().map(|frame| (&frame["type"], &frame["channel"], &frame["product_ids"][0])).collect();
    let expected = [("unsubscribe", "BTC-USD"), ("subscribe", "ETH-EUR")]
        .map(|(kind, id)| ["ticker", "market_trades"].map(|channel| (json!(kind), json!(channel), json!(id))));
    let expected: Vec<_> = expected.iter().flatten().map(|(kind, channel, id)| (kind, channel, id)).collect();
    assert_eq!(seen, expected);
    assert_eq!(session.events(TICKER), [""; 0], "no longer wanted");
}

#[test]
fn the_side_of_a_trade_is_the_makers() {
    let (mut session, _) = Driven::open(&Coinbase, &btc());
    let at = "2025-11-20T21:00:00.149123Z";
    let seen = session.events(&trades(0, "update", &[["2", "10", "1", "BUY", at], ["1", "11", "1", "SELL", at]]));
    assert!(seen[0].contains(r#""id":"1","price":11,"amount":1,"side":"buy","timestamp":1763672400149"#), "{seen:?}");
    assert!(seen[1].contains(r#""id":"2","price":10,"amount":1,"side":"sell""#), "oldest first: {seen:?}");
}

#[test]
fn trades_of_a_snapshot_are_old() {
    let old = trades(0, "snapshot", &[["1", "10", "1", "BUY", "2025-11-20T20:00:00Z"]]);
    let (mut session, _) = Driven::open(&Coinbase, &btc());
    assert_eq!(session.events(&old), [""; 0]);
    assert_eq!(Driven::decoder(&Coinbase).events(&old).len(), 1, "whoever decodes wants to see them");
}

#[test]
fn a_message_that_did_not_come_is_noticed() {
    let at = "2025-11-20T21:00:00Z";
    let (mut session, _) = Driven::open(&Coinbase, &btc());
    assert_eq!(session.events(&trades(7, "update", &[["1", "10", "1", "BUY", at]])).len(), 1);
    assert_eq!(session.events(&trades(7, "update", &[["1", "10", "1", "BUY", at]])).len(), 0, "a repetition");
    let beat = r#"{"channel":"heartbeats","timestamp":"2025-11-20T21:00:01Z","sequence_num":8,"events":[{"heartbeat_counter":1}]}"#;
    session.frame(beat);
    let (out, result) = session.receive(&trades(10, "update", &[["2", "10", "1", "BUY", at]]));
    let error = result.unwrap_err();
    assert!(matches!(error.recovery(), Recovery::Reconnect { after: Duration::ZERO }), "{error}");
    assert!(error.message.contains("9 to 9"), "{error}");
    assert!(out.events.is_empty());
    let mut decoder = Driven::decoder(&Coinbase);
    decoder.frame(beat);
    decoder.frame(&trades(10, "update", &[]));
}

#[test]
fn a_ticker_has_the_envelopes_time_and_per_cent() {
    let (mut session, _) = Driven::open(&Coinbase, &btc());
    let expected = concat!(
        r#"{"exchange":"coinbase","symbol":"BTC/USD","last":67012.3,"bid":67012.3,"bid_size":1.2,"ask":67012.4,"#,
        r#""ask_size":0.8,"open":null,"high":67500,"low":65800,"base_volume":1834.1,"quote_volume":null,"#,
        r#""change_percent":-1.53,"timestamp":1763672400123,"received_at":1763672400000,"source":"stream","simulated":false}"#
    );
    assert_eq!(session.events(TICKER), [expected]);
}

#[test]
fn the_year_one_and_empty_prices_are_nothing() {
    let (mut session, _) = Driven::open(&Coinbase, &btc());
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
fn a_message_of_which_nothing_can_be_read_counts_all_the_same() {
    let at = "2025-11-20T21:00:00Z";
    let (mut session, _) = Driven::open(&Coinbase, &btc());
    session.frame(&trades(7, "update", &[["1", "10", "1", "BUY", at]]));
    let absurd = TICKER.replace("-1.530", "7.9e27").replace(r#""sequence_num":0"#, r#""sequence_num":8"#);
    assert!(matches!(session.receive(&absurd).1.unwrap_err().recovery(), Recovery::SkipFrame));
    assert_eq!(session.events(&trades(9, "update", &[["2", "10", "1", "BUY", at]])).len(), 1);
    let nulls = TICKER.replace(r#""-1.530""#, "null").replace(r#""sequence_num":0"#, r#""sequence_num":10"#);
    assert!(session.events(&nulls).remove(0).contains(r#""change_percent":null"#));
}

#[test]
fn a_trade_that_cannot_be_read_breaks_the_minute_of_each_name() {
    let at = "2025-11-20T21:00:00Z";
    let symbol = |text: &str| Notice::TradeSkipped(Some(text.parse().unwrap()));
    for (bad, expected) in [
        (trades(1, "update", &[["1", "10", "1", "BOTH", at]]), symbol("BTC/USD")),
        (trades(1, "update", &[["1", "10", "1", "BUY", "0001-01-01T00:00:00Z"]]), symbol("BTC/USD")),
        (
            trades(1, "update", &[["1", "10", "1", "BUY", at]]).replace(r#""events":["#, r#""events":7,"x":["#),
            Notice::TradeSkipped(None),
        ),
    ] {
        let (mut session, _) = Driven::open(&Coinbase, &btc());
        let (out, result) = session.receive(&bad);
        assert!(result.is_err() && out.notices.contains(&expected), "{bad}: {:?}", out.notices);
    }
}

#[test]
fn too_many_messages_mean_a_pause() {
    let (mut session, _) = Driven::open(&Coinbase, &btc());
    let error = session.receive(r#"{"type":"error","message":"rate limit exceeded"}"#).1.unwrap_err();
    assert!(matches!(error.recovery(), Recovery::Reconnect { after } if after > Duration::ZERO));
}

#[test]
fn frames_that_mean_nothing_give_nothing_and_broken_ones_are_left_out() {
    let mut decoder = Driven::decoder(&Coinbase);
    for nothing in ["[]", "{}", r#"{"channel":"status","events":[]}"#, r#"{"type":"error","message":"x"}"#] {
        assert!(decoder.frame(nothing).events.is_empty(), "{nothing}");
    }
    for broken in ["", "{", r#"{"channel":"ticker""#, r#"{"channel":"market_trades","sequence_num":1,"events":[{}]}"#] {
        let error = decoder.receive(broken).1.unwrap_err();
        assert!(matches!(error.recovery(), Recovery::SkipFrame), "{broken}");
    }
    // Members in another order than usual.
    let turned = TICKER.replacen(r#"{"channel":"ticker","#, "{", 1).replacen("}]}]}", r#"}]}],"channel":"ticker"}"#, 1);
    assert_eq!(decoder.events(&turned).len(), 1);
}

fn page(interval: Interval, start: i64, end: i64) -> Option<RestCall<CandleRows>> {
    let range = TimeRange::new(Timestamp::from_secs(start), Timestamp::from_secs(end));
    Coinbase.candles(&CandlePage { instrument: Arc::clone(&btc()[0].instrument), interval, range, asked_at: NOW })
}

#[test]
fn a_page_is_asked_for_in_seconds_with_its_last_open_time() {
    let call = page(Interval::M5, 1_763_672_100, 1_763_672_700).unwrap();
    let query: Vec<_> = call.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = "start=1763672100&end=1763672699&granularity=FIVE_MINUTE&limit=349";
    assert_eq!((&*call.path, &*query.join("&")), ("/api/v3/brokerage/market/products/BTC-USD/candles", expected));
    assert!([Interval::M3, Interval::H8, Interval::W1].iter().all(|interval| page(*interval, 0, 60).is_none()));
}

#[test]
fn a_page_is_shorter_than_350_candles_however_they_are_counted() {
    let rows = i64::from(Coinbase.profile().page_rows);
    let call = page(Interval::M1, 1_763_640_000, 1_763_640_000 + rows * 60).unwrap();
    let [start, end] = [0, 1].map(|at| call.query[at].1.parse::<i64>().unwrap());
    assert!((end - start).unsigned_abs().div_ceil(60) < 350, "{start} to {end}");
}

#[test]
fn rows_come_newest_first_with_quoted_seconds() {
    let row = |at: i64| json!({"start": at.to_string(), "low": "1", "high": "4", "open": "2", "close": "3", "volume": "0.50"});
    let body = json!({"candles": [row(1_763_672_340), row(1_763_672_280), row(1_763_672_220)]}).to_string();
    let rows = parse(&page(Interval::M1, 1_763_672_220, 1_763_672_400).unwrap(), &body).unwrap().rows;
    let seen: Vec<_> = rows.iter().map(|row| (row.timestamp.millis() / 1_000, row.closed)).collect();
    assert_eq!(seen, [(1_763_672_220, true), (1_763_672_280, true), (1_763_672_340, false)]);
    let row = &rows[0];
    let values = [row.open, row.high, row.low, row.close, row.volume].map(|value| value.to_string());
    assert_eq!(values, ["2", "4", "1", "3", "0.5"]);
    assert_eq!((row.quote_volume, row.trades), (None, None));
}

#[test]
fn the_figures_of_24_hours_and_the_last_trade_are_two_answers() {
    let calls = Coinbase.ticker(&btc()[0].instrument);
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
    let quiet = parse(&calls[1], r#"{"trades":[],"best_bid":"","best_ask":""}"#).unwrap();
    assert_eq!(quiet, TickerPatch::default());
}

#[test]
fn the_listing_is_of_spot_and_an_alias_is_heard_under_its_books_id() {
    let listed =
        parse(&Coinbase.instruments(), include_str!("../../../tests/fixtures/coinbase/products.json")).unwrap();
    let seen: Vec<_> = listed.iter().map(|one| (one.symbol.as_str(), one.stream_name(), one.status.as_str())).collect();
    let expected =
        [("BTC/USD", "BTC-USD", "trading"), ("BTC/USDC", "BTC-USD", "trading"), ("OLD/EUR", "OLD-EUR", "delisted")];
    assert_eq!(seen, expected);
    assert_eq!(listed[1].native, "BTC-USDC", "REST knows each by its own id");
    assert_eq!(listed[0].price_step.unwrap().to_string(), "0.01");
    assert_eq!(listed[0].amount_step.unwrap().to_string(), "0.00000001");
}

#[test]
fn refusals_are_told_apart() {
    let call = &Coinbase.ticker(&btc()[0].instrument)[0];
    for (status, body, kind) in [
        (
            404,
            r#"{"error":"NOT_FOUND","error_details":"valid product_id is required","message":"valid product_id is required"}"#,
            ReplyErrorKind::UnknownSymbol,
        ),
        (
            400,
            r#"{"error":"INVALID_ARGUMENT","message":"ProductID \"X\" could not be found"}"#,
            ReplyErrorKind::UnknownSymbol,
        ),
        (400, r#"{"error":"INVALID_ARGUMENT","message":"start and end argument is invalid"}"#, ReplyErrorKind::Refused),
        (401, "Unauthorized", ReplyErrorKind::Unavailable),
        (200, "<html>", ReplyErrorKind::Malformed),
    ] {
        assert_eq!(parse_status(call, status, body).unwrap_err().kind, kind, "{body}");
    }
}

#[test]
fn public_answers_are_asked_for_fresh() {
    assert!(Coinbase.profile().rest_headers.contains(&("cache-control", "no-cache")));
    let mut out = Outbox::default();
    let plan = Coinbase.connections(&btc()).remove(0);
    (plan.session)(plan.subscriptions).on_open(NOW, &mut out);
    assert!(out.frames.len() <= 8, "all subscriptions leave within the 5 seconds that the exchange waits");
}

#[test]
fn a_book_with_two_names_is_asked_for_once_and_told_under_both() {
    let usdc = every_channel(instrument(ExchangeId::Coinbase, "BTC/USDC", "BTC-USDC", Some("BTC-USD")));
    let usdc: Vec<_> = usdc.into_iter().filter(|one| one.channel != Channel::Candles).collect();
    let (mut session, sent) = Driven::open(&Coinbase, &[btc(), usdc.clone()].concat());
    assert_eq!(sent[1]["product_ids"], json!(["BTC-USD"]), "by its own id");
    session.frame(&answer(0, &json!({"heartbeats": ["heartbeats"]})));
    let out = session.frame(&answer(1, &json!({"ticker": ["BTC-USD"]})));
    assert_eq!(confirmed(&out), ["ticker:coinbase:BTC/USD", "ticker:coinbase:BTC/USDC"]);
    let update = |number| trades(number, "update", &[["7", "67012.3", "0.5", "BUY", "2025-11-20T21:00:00.1Z"]]);
    let symbols = |events: Vec<String>| -> Vec<String> {
        let value = |event: String| serde_json::from_str::<serde_json::Value>(&event).unwrap();
        events.into_iter().map(|event| value(event)["symbol"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(symbols(session.events(&update(2))), ["BTC/USD", "BTC/USDC"]);
    assert!(session.change(&[], &btc()).is_empty(), "the other name is still listened to");
    assert_eq!(symbols(session.events(&update(3))), ["BTC/USDC"]);
    let left = session.change(&[], &usdc);
    assert!(left.iter().all(|message| message["type"] == "unsubscribe") && left.len() == 2, "{left:?}");
}

#[test]
fn a_contract_is_no_spot_market() {
    let product = r#"{"product_id":"BIT-26APR24-CDE","price":"67012.2","product_type":"FUTURE","volume_24h":"1"}"#;
    let error = parse(&Coinbase.ticker(&btc()[0].instrument)[0], product).unwrap_err();
    assert_eq!(error.kind, ReplyErrorKind::Refused);
}
