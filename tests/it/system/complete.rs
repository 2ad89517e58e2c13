//! What is missing comes without being asked for, and what was asked for in large comes whole.

use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, TimeRange};
use candlewick::simulator::FaultKind;
use serde_json::{Value, json};

use crate::support::{SPEED, Service, World, markets, minutes_after, rows, truth_rows, until};

/// What the service says of a series once it is complete.
async fn complete(
    service: &Service,
    exchange: ExchangeId,
    symbol: &str,
    interval: Interval,
    range: TimeRange,
) -> Value {
    let (start, end) = (range.start().millis(), range.end().millis());
    let path = format!(
        "/v1/history?exchange={exchange}&symbol={symbol}&interval={interval}&start={start}&end={end}&limit=5000"
    );
    until(&format!("{path} is complete"), async || service.ok(&path).await["complete"] == true).await;
    service.ok(&path).await["candles"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_correction_is_found_and_told() {
    let world = World::new().await;
    let service = Service::live(&world).await;
    let range = minutes_after(world.clock.now() + Duration::from_mins(3), 3);
    world.clock.sleep_until(range.start()).await;
    for exchange in ExchangeId::ALL {
        world.fault(exchange, FaultKind::CorrectCandle, range.duration());
    }
    // What the stream gave stands until it is compared with the exchange's own word.
    world.clock.sleep_until(range.end() + Duration::from_mins(1)).await;
    for (exchange, symbol) in markets() {
        let truth = truth_rows(&world.truth(exchange, symbol, range));
        until(&format!("{exchange}'s corrections are in its candles"), async || {
            rows(&service.minutes(exchange, symbol, range).await.1) == truth
        })
        .await;
        let (_, candles) = service.minutes(exchange, symbol, range).await;
        assert!(candles.as_array().unwrap().iter().any(|candle| candle["revision"] == 1), "{exchange}: {candles}");
        // The longer candles follow.
        let hours = TimeRange::new(Interval::M5.floor(range.start()), Interval::M5.ceil(range.end()));
        let truth = world.simulator.market().candles(exchange, &symbol.parse().unwrap(), Interval::M5, hours);
        until(&format!("{exchange}'s longer candles are corrected, too"), async || {
            rows(&complete(&service, exchange, symbol, Interval::M5, hours).await) == truth_rows(&truth)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_fetched_in_the_background() {
    let world = World::new().await;
    let service = Service::live_with(&world, "[collect]\nbackfill_days = 3\n").await;
    let now = world.clock.now();
    let days = TimeRange::new(Interval::M1.back(now, 3 * 1_440 - 60), Interval::M1.back(now, 60));
    for (exchange, symbol) in markets().filter(|(exchange, _)| *exchange != ExchangeId::Kraken) {
        // The ledger says so; history would ask for it.
        let (start, end) = (days.start().millis(), days.end().millis());
        let path = format!("/v1/coverage?exchange={exchange}&symbol={symbol}&start={start}&end={end}");
        until(&format!("{path} is complete"), async || service.ok(&path).await["complete"] == true).await;
        let truth = world.truth(exchange, symbol, days);
        assert_eq!(rows(&complete(&service, exchange, symbol, Interval::M1, days).await), truth_rows(&truth));
    }
    for exchange in ExchangeId::ALL {
        assert_eq!(world.simulator.stats(exchange).limit_violations, 0, "{exchange}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_is_followed_to_its_end() {
    let world = World::prompt(SPEED).await;
    let service = Service::live(&world).await;
    let end = Interval::H1.floor(world.clock.now());
    let range = TimeRange::new(Interval::M1.back(end, 5_000), end);
    let body =
        json!({"exchange": "okx", "symbol": "ADA-USDT", "since": range.start().to_string(), "until": end.millis()});
    let (status, begun) = service.post("/v1/backfills", &body).await;
    assert_eq!((status, &begun["symbol"], &begun["interval"]), (201, &"ADA/USDT".into(), &"1m".into()), "{begun}");
    let path = format!("/v1/backfills/{}", begun["id"].as_str().unwrap());
    // The same again, and a part of it, is the same backfill as long as it is under way.
    let (status, same) = service.post("/v1/backfills", &body).await;
    assert!((status == 200 && same["id"] == begun["id"]) || same["state"] == "done", "{same}");
    until("the backfill is done", async || service.ok(&path).await["state"] == "done").await;
    let done = service.ok(&path).await;
    assert_eq!((&done["complete"], &done["known_ms"]), (&true.into(), &done["total_ms"]), "{done}");
    let asked = world.simulator.stats(ExchangeId::Okx).rest_requests;
    service.assert_whole(&world, ExchangeId::Okx, "ADA/USDT", range).await;
    let later = world.simulator.stats(ExchangeId::Okx).rest_requests;
    assert!(later - asked <= 2, "nothing is fetched twice: {asked}, {later}");
    assert!(service.ok("/v1/backfills").await["backfills"].as_array().unwrap().contains(&done));

    // What the exchange cannot give is said, and not asked for for ever.
    let body = json!({"exchange": "kraken", "symbol": "ADA/USD", "interval": "1m", "since": range.start().millis()});
    let (_, begun) = service.post("/v1/backfills", &body).await;
    let path = format!("/v1/backfills/{}", begun["id"].as_str().unwrap());
    until("Kraken's is done", async || service.ok(&path).await["state"] == "done").await;
    assert_eq!(service.ok(&path).await["complete"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_backfill_is_refused() {
    let world = World::new().await;
    let service = Service::live(&world).await;
    let since = "2025-01-01T00:00:00Z";
    for (body, status, code) in [
        (json!({"symbol": "BTC/USDT", "since": "2999-01-01T00:00:00Z"}), 400, "invalid_parameter"),
        (json!({"symbol": "BTC/USDT", "since": since, "until": since}), 400, "invalid_parameter"),
        (json!({"symbol": "BTC/USDT", "since": since, "interval": "7m"}), 400, "invalid_parameter"),
        (json!({"symbol": "BTC/USDT"}), 400, "invalid_parameter"),
        (json!({"symbol": "BTC/USDT", "since": since, "speed": 9}), 400, "invalid_parameter"),
        (json!([]), 400, "invalid_parameter"),
        (json!({"exchange": "binance", "symbol": "NOT/LISTED", "since": since}), 404, "unknown_symbol"),
        (json!({"exchange": "mtgox", "symbol": "BTC/USDT", "since": since}), 404, "unknown_exchange"),
    ] {
        let (told, problem) = service.post("/v1/backfills", &body).await;
        assert_eq!((told, problem["code"].as_str()), (status, Some(code)), "{body}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
    let (status, problem) = service.get("/v1/backfills/none").await;
    assert_eq!((status, &problem["code"]), (404, &"not_found".into()));
    let (status, problem) = service.post("/v1/ticker", &json!({})).await;
    assert_eq!((status, &problem["code"]), (405, &"method_not_allowed".into()));
}
