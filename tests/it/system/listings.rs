//! Listings: errors for unknown symbols suggest similar ones, and delisted markets end with a reason.

use std::time::Duration;

use candlewick::model::{ExchangeId, Symbol, TimeRange};

use crate::support::{SPEED, Service, Simulation, markets, minutes_after, wait_until};

/// Interval between two reads of the listing.
const LISTING_INTERVAL: &str = "[collect]\nlisting_minutes = 2";
/// The listing is read again within this time.
const UNTIL_NEXT_READ: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread")]
async fn unknown_symbol_error_suggests_similar_symbol() {
    let simulation = Simulation::new().await;
    let service = Service::live(&simulation).await;
    for (exchange, symbol) in markets() {
        let unknown = symbol.replace("BTC", "BTV");
        for path in ["ticker", "history", "coverage"] {
            let path = format!("/v1/{path}?exchange={exchange}&symbol={unknown}");
            wait_until("the listing is known", async || service.get(&path).await.0 != 503).await;
            let (status, problem) = service.get(&path).await;
            assert_eq!((status, &problem["code"]), (404, &"unknown_symbol".into()), "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains(symbol), "{problem}");
        }
    }
}

/// Checks that a market that was delisted after `before` is inactive and that its history can be read. Ranges that the
/// exchange no longer has are fetched only once.
async fn assert_history_remains(
    (simulation, service): (&Simulation, &Service),
    (exchange, symbol): (ExchangeId, &str),
    before: TimeRange,
) {
    let listed = service.get_ok(&format!("/v1/instruments?exchange={exchange}&q={symbol}")).await;
    let instruments = listed["instruments"].as_array().unwrap();
    let delisted = instruments.iter().find(|instrument| instrument["symbol"] == symbol).unwrap();
    assert_eq!(delisted["active"], false, "{delisted}");
    let (complete, candles) = service.minute_candles(exchange, symbol, before).await;
    assert!(complete && candles.as_array().unwrap().len() == 1, "{exchange} {symbol}: {candles}");

    // From a complete minute before the delisting to a minute that is unavailable.
    let range = TimeRange::new(before.start(), minutes_after(simulation.clock.now(), 1).end());
    simulation.clock.sleep_until(range.end() + Duration::from_secs(3)).await;
    let path = |range: TimeRange| {
        let (start, end) = (range.start().millis(), range.end().millis());
        format!("/v1/history?exchange={exchange}&symbol={symbol}&start={start}&end={end}")
    };
    wait_until(&format!("the end of {exchange} {symbol} is unavailable"), async || {
        let gaps = service.get_ok(&path(range)).await["gaps"].to_string();
        gaps.contains("unavailable") && !gaps.contains("pending") && !gaps.contains("offline")
    })
    .await;
    let page = service.get_ok(&path(range)).await;
    assert_eq!((&page["complete"], &page["next_cursor"]), (&false.into(), &serde_json::Value::Null), "{page}");
    assert_eq!(page["candles"][0]["timestamp"], before.start().millis());
    let coverage = service.get_ok(&path(range).replace("history", "coverage")).await["ranges"].to_string();
    assert!(coverage.contains("unavailable"), "the ledger has the claim: {coverage}");
    let requests = simulation.simulator.stats(exchange).rest_requests;
    for _ in 0..100 {
        service.get_ok(&path(range)).await;
    }
    let more = simulation.simulator.stats(exchange).rest_requests - requests;
    assert!(more < 20, "{exchange} received {more} requests for unavailable candles");
}

#[tokio::test(flavor = "multi_thread")]
async fn delisted_market_ends_and_relisted_market_resumes() {
    let simulation = Simulation::without_default_faults(SPEED).await;
    let service = Service::live_with_config(&simulation, LISTING_INTERVAL).await;
    let set_listed = |listed| {
        for (exchange, symbol) in markets() {
            let symbol: Symbol = symbol.parse().unwrap();
            simulation.simulator.set_listed(exchange, &symbol, listed);
        }
    };
    let before = minutes_after(simulation.clock.now(), 1);
    simulation.clock.sleep_until(before.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in markets() {
        service.assert_complete(&simulation, exchange, symbol, before).await;
    }
    set_listed(false);
    simulation.sleep(UNTIL_NEXT_READ).await;
    for (exchange, symbol) in markets() {
        wait_until(&format!("{exchange} {symbol} has ended"), async || {
            let state = service.get_ok(&format!("/v1/exchanges/{exchange}")).await;
            state["ended"][0]["symbol"] == symbol && !state["symbols"].to_string().contains(symbol)
        })
        .await;
        let state = service.get_ok(&format!("/v1/exchanges/{exchange}")).await;
        assert!(state["ended"][0]["detail"].as_str().unwrap().contains("does not list"), "{state}");
        assert_eq!(state["state"], "live", "the other markets stay live: {state}");
        for path in ["/v1/ticker", "/ws/realtime"] {
            let request = service.http.get(format!("{}{path}?exchange={exchange}&symbol={symbol}", service.base_url));
            let request = request.header("connection", "upgrade").header("upgrade", "websocket");
            let request =
                request.header("sec-websocket-version", "13").header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 404, "{exchange} {path}");
            assert!(response.text().await.unwrap().contains("unknown_symbol"), "{exchange} {path}");
        }
        assert_history_remains((&simulation, &service), (exchange, symbol), before).await;
    }
    // The market is not fetched again: the other markets are complete, so only the listing is read.
    let requests: Vec<_> =
        ExchangeId::all().map(|exchange| simulation.simulator.stats(exchange).rest_requests).collect();
    simulation.sleep(Duration::from_mins(5)).await;
    for (exchange, before) in ExchangeId::all().zip(requests) {
        let after = simulation.simulator.stats(exchange).rest_requests;
        assert!(after - before < 30, "{exchange} received {} requests in five minutes", after - before);
    }
    set_listed(true);
    simulation.sleep(UNTIL_NEXT_READ).await;
    for (exchange, symbol) in markets() {
        wait_until(&format!("{exchange} {symbol} is collected again"), async || {
            let state = service.get_ok(&format!("/v1/exchanges/{exchange}")).await;
            state["symbols"].to_string().contains(symbol) && state["ended"].as_array().unwrap().is_empty()
        })
        .await;
    }
    let after = minutes_after(simulation.clock.now(), 1);
    simulation.clock.sleep_until(after.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in markets() {
        service.assert_complete(&simulation, exchange, symbol, after).await;
    }
}
