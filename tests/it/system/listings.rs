//! Listings: what is not listed is named with what is near, and a market that goes ends with a reason.

use std::time::Duration;

use candlewick::model::{ExchangeId, Symbol, TimeRange};

use crate::support::{SPEED, Service, World, markets, minutes_after, until};

/// How old the listings get here.
const READ_EVERY: &str = "[collect]\nlisting_minutes = 2";
/// Longer than that.
const UNTIL_READ: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread")]
async fn an_unlisted_symbol_is_named_with_what_is_near() {
    let world = World::new().await;
    let service = Service::live(&world).await;
    for (exchange, symbol) in markets() {
        let wrong = symbol.replace("BTC", "BTV");
        for path in ["ticker", "history", "coverage"] {
            let path = format!("/v1/{path}?exchange={exchange}&symbol={wrong}");
            until("the listing is known", async || service.get(&path).await.0 != 503).await;
            let (status, problem) = service.get(&path).await;
            assert_eq!((status, &problem["code"]), (404, &"unknown_symbol".into()), "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains(symbol), "{problem}");
        }
    }
}

/// A market that was delisted after `before` is listed as inactive, and what is known of it is told. What the exchange
/// does not give any more is not asked for twice.
async fn what_is_gone_is_remembered(
    (world, service): (&World, &Service),
    (exchange, symbol): (ExchangeId, &str),
    before: TimeRange,
) {
    let found = service.ok(&format!("/v1/instruments?exchange={exchange}&q={symbol}")).await;
    let found = found["instruments"].as_array().unwrap().clone();
    let gone = found.iter().find(|one| one["symbol"] == symbol).unwrap();
    assert_eq!(gone["active"], false, "{gone}");
    let (whole, told) = service.minutes(exchange, symbol, before).await;
    assert!(whole && told.as_array().unwrap().len() == 1, "{exchange} {symbol}: {told}");

    // From the last whole minute on, over the end, to a minute that nobody can tell.
    let over = TimeRange::new(before.start(), minutes_after(world.clock.now(), 1).end());
    world.clock.sleep_until(over.end() + Duration::from_secs(3)).await;
    let path = |range: TimeRange| {
        let (start, end) = (range.start().millis(), range.end().millis());
        format!("/v1/history?exchange={exchange}&symbol={symbol}&start={start}&end={end}")
    };
    until(&format!("{exchange} {symbol} has an end"), async || {
        let gaps = service.ok(&path(over)).await["gaps"].to_string();
        gaps.contains("unavailable") && !gaps.contains("pending") && !gaps.contains("offline")
    })
    .await;
    let told = service.ok(&path(over)).await;
    assert_eq!((&told["complete"], &told["next_cursor"]), (&false.into(), &serde_json::Value::Null), "{told}");
    assert_eq!(told["candles"][0]["timestamp"], before.start().millis());
    let ledger = service.ok(&path(over).replace("history", "coverage")).await["ranges"].to_string();
    assert!(ledger.contains("unavailable"), "the ledger knows it: {ledger}");
    let asked = world.simulator.stats(exchange).rest_requests;
    for _ in 0..100 {
        service.ok(&path(over)).await;
    }
    let more = world.simulator.stats(exchange).rest_requests - asked;
    assert!(more < 20, "{exchange} was asked {more} times for what it does not give");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_market_that_is_delisted_ends_and_one_that_comes_back_begins() {
    let world = World::prompt(SPEED).await;
    let service = Service::live_with(&world, READ_EVERY).await;
    let set_listed = |listed| {
        for (exchange, symbol) in markets() {
            let symbol: Symbol = symbol.parse().unwrap();
            world.simulator.set_listed(exchange, &symbol, listed);
        }
    };
    let before = minutes_after(world.clock.now(), 1);
    world.clock.sleep_until(before.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in markets() {
        service.assert_whole(&world, exchange, symbol, before).await;
    }
    set_listed(false);
    world.pass(UNTIL_READ).await;
    for (exchange, symbol) in markets() {
        until(&format!("{exchange} {symbol} has ended"), async || {
            let state = service.ok(&format!("/v1/exchanges/{exchange}")).await;
            state["ended"][0]["symbol"] == symbol && !state["symbols"].to_string().contains(symbol)
        })
        .await;
        let state = service.ok(&format!("/v1/exchanges/{exchange}")).await;
        assert!(state["ended"][0]["detail"].as_str().unwrap().contains("does not list"), "{state}");
        assert_eq!(state["state"], "live", "the others go on: {state}");
        for path in ["/v1/ticker", "/ws/realtime"] {
            let asked = service.http.get(format!("{}{path}?exchange={exchange}&symbol={symbol}", service.base));
            let asked = asked.header("connection", "upgrade").header("upgrade", "websocket");
            let asked =
                asked.header("sec-websocket-version", "13").header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
            let refused = asked.send().await.unwrap();
            assert_eq!(refused.status(), 404, "{exchange} {path}");
            assert!(refused.text().await.unwrap().contains("unknown_symbol"), "{exchange} {path}");
        }
        what_is_gone_is_remembered((&world, &service), (exchange, symbol), before).await;
    }
    // Nothing asks for it again and again: the two other markets are whole, and only a listing may be read.
    let asked = ExchangeId::ALL.map(|exchange| world.simulator.stats(exchange).rest_requests);
    world.pass(Duration::from_mins(5)).await;
    for (exchange, before) in ExchangeId::ALL.into_iter().zip(asked) {
        let after = world.simulator.stats(exchange).rest_requests;
        assert!(after - before < 30, "{exchange} was asked {} times in five minutes", after - before);
    }
    set_listed(true);
    world.pass(UNTIL_READ).await;
    for (exchange, symbol) in markets() {
        until(&format!("{exchange} {symbol} is back"), async || {
            let state = service.ok(&format!("/v1/exchanges/{exchange}")).await;
            state["symbols"].to_string().contains(symbol) && state["ended"].as_array().unwrap().is_empty()
        })
        .await;
    }
    let after = minutes_after(world.clock.now(), 1);
    world.clock.sleep_until(after.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in markets() {
        service.assert_whole(&world, exchange, symbol, after).await;
    }
}
