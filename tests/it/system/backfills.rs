//! Backfills, and the recheck that finds silent corrections.

use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, TimeRange};
use candlewick::simulator::FaultKind;
use serde_json::{Value, json};

use crate::support::{SPEED, Service, Simulation, candle_rows, json_rows, markets, minutes_after, wait_until};

/// Waits until a range is complete and returns its candles.
async fn complete_candles(
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
    wait_until(&format!("{path} is complete"), async || service.get_ok(&path).await["complete"] == true).await;
    service.get_ok(&path).await["candles"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_correction_is_found_and_revises_candles() {
    let simulation = Simulation::new().await;
    let service = Service::live(&simulation).await;
    let range = minutes_after(simulation.clock.now() + Duration::from_mins(3), 3);
    simulation.clock.sleep_until(range.start()).await;
    for exchange in ExchangeId::all() {
        simulation.inject_fault(exchange, FaultKind::CorrectCandle, range.duration());
    }
    // Candles from the stream are stored until the reconciler compares them with the exchange's.
    simulation.clock.sleep_until(range.end() + Duration::from_mins(1)).await;
    for (exchange, symbol) in markets() {
        let expected = candle_rows(&simulation.expected_candles(exchange, symbol, range));
        wait_until(&format!("the corrections of {exchange} are stored"), async || {
            json_rows(&service.minute_candles(exchange, symbol, range).await.1) == expected
        })
        .await;
        let (_, candles) = service.minute_candles(exchange, symbol, range).await;
        assert!(candles.as_array().unwrap().iter().any(|candle| candle["revision"] == 1), "{exchange}: {candles}");
        // The longer candles are derived again.
        let range = TimeRange::new(Interval::M5.floor(range.start()), Interval::M5.ceil(range.end()));
        let expected = simulation.simulator.market().candles(exchange, &symbol.parse().unwrap(), Interval::M5, range);
        wait_until(&format!("the 5m candles of {exchange} are corrected"), async || {
            json_rows(&complete_candles(&service, exchange, symbol, Interval::M5, range).await)
                == candle_rows(&expected)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backfill_days_are_fetched_in_background() {
    let simulation = Simulation::new().await;
    let service = Service::live_with_config(&simulation, "[collect]\nbackfill_days = 3\n").await;
    let now = simulation.clock.now();
    let days = TimeRange::new(Interval::M1.back(now, 3 * 1_440 - 60), Interval::M1.back(now, 60));
    for (exchange, symbol) in markets().filter(|(exchange, _)| *exchange != ExchangeId::KRAKEN) {
        // Polls coverage, because a history request would start a fetch.
        let (start, end) = (days.start().millis(), days.end().millis());
        let path = format!("/v1/coverage?exchange={exchange}&symbol={symbol}&start={start}&end={end}");
        wait_until(&format!("{path} is complete"), async || service.get_ok(&path).await["complete"] == true).await;
        let expected = simulation.expected_candles(exchange, symbol, days);
        let candles = complete_candles(&service, exchange, symbol, Interval::M1, days).await;
        assert_eq!(json_rows(&candles), candle_rows(&expected));
    }
    for exchange in ExchangeId::all() {
        assert_eq!(simulation.simulator.stats(exchange).limit_violations, 0, "{exchange}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backfill_state_is_reported_until_done() {
    let simulation = Simulation::without_default_faults(SPEED).await;
    let service = Service::live(&simulation).await;
    let end = Interval::H1.floor(simulation.clock.now());
    let range = TimeRange::new(Interval::M1.back(end, 5_000), end);
    let body =
        json!({"exchange": "okx", "symbol": "ADA-USDT", "since": range.start().to_string(), "until": end.millis()});
    let (status, started) = service.post("/v1/backfills", &body).await;
    assert_eq!(
        (status, &started["symbol"], &started["interval"]),
        (201, &"ADA/USDT".into(), &"1m".into()),
        "{started}"
    );
    let path = format!("/v1/backfills/{}", started["id"].as_str().unwrap());
    // While a backfill runs, the same request returns it.
    let (status, same) = service.post("/v1/backfills", &body).await;
    assert!((status == 200 && same["id"] == started["id"]) || same["state"] == "done", "{same}");
    wait_until("the backfill is done", async || service.get_ok(&path).await["state"] == "done").await;
    let done = service.get_ok(&path).await;
    assert_eq!((&done["complete"], &done["known_ms"]), (&true.into(), &done["total_ms"]), "{done}");
    let before = simulation.simulator.stats(ExchangeId::OKX).rest_requests;
    service.assert_complete(&simulation, ExchangeId::OKX, "ADA/USDT", range).await;
    let after = simulation.simulator.stats(ExchangeId::OKX).rest_requests;
    assert!(after - before <= 2, "nothing is fetched twice: {before}, {after}");
    assert!(service.get_ok("/v1/backfills").await["backfills"].as_array().unwrap().contains(&done));

    // A backfill ends, and is incomplete, if the exchange no longer has the data.
    let body = json!({"exchange": "kraken", "symbol": "ADA/USD", "interval": "1m", "since": range.start().millis()});
    let (_, started) = service.post("/v1/backfills", &body).await;
    let path = format!("/v1/backfills/{}", started["id"].as_str().unwrap());
    wait_until("the backfill of Kraken is done", async || service.get_ok(&path).await["state"] == "done").await;
    assert_eq!(service.get_ok(&path).await["complete"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_backfill_is_rejected() {
    let simulation = Simulation::new().await;
    let service = Service::live(&simulation).await;
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
        let (actual_status, problem) = service.post("/v1/backfills", &body).await;
        assert_eq!((actual_status, problem["code"].as_str()), (status, Some(code)), "{body}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
    let (status, problem) = service.get("/v1/backfills/none").await;
    assert_eq!((status, &problem["code"]), (404, &"not_found".into()));
    let (status, problem) = service.post("/v1/ticker", &json!({})).await;
    assert_eq!((status, &problem["code"]), (405, &"method_not_allowed".into()));
}
