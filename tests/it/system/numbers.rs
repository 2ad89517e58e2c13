//! Numbers that no market has, data that stop while the connection goes on, and what is told of it.

use std::time::Duration;

use candlewick::model::ExchangeId;
use candlewick::simulator::FaultKind;

use crate::support::{Service, World, markets, until};

async fn states(service: &Service) -> Vec<(String, String)> {
    let states = service.ok("/v1/exchanges").await;
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    states["exchanges"].as_array().unwrap().iter().map(|one| (text(&one["id"]), text(&one["state"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_without_data_are_no_life() {
    let world = World::paced(15.0).await;
    let service = Service::live(&world).await;
    world.pass(Duration::from_mins(2)).await;
    for exchange in ExchangeId::ALL {
        world.fault(exchange, FaultKind::PingsOnly, Duration::from_mins(30));
    }
    world.pass(Duration::from_secs(210)).await;
    // Connections that were made anew are confirmed, and still nothing comes.
    for (exchange, state) in states(&service).await {
        assert_ne!(state, "live", "{exchange}");
    }
    for (exchange, symbol) in markets() {
        let ticker = service.ok(&format!("/v1/ticker?exchange={exchange}&symbol={symbol}")).await;
        // What the stream gave before is stale; REST may be asked instead.
        let is_old = ticker["age_ms"].as_u64().is_none_or(|age| age > 60_000);
        assert!(ticker["stale"] == true || (ticker["source"] == "rest" && !is_old), "{ticker}");
    }
    for exchange in ExchangeId::ALL {
        let told = service.ok(&format!("/v1/exchanges/{exchange}")).await;
        let silent = told["connections"][0]["last_message_ms"].as_u64().unwrap();
        assert!(silent >= 150_000, "{told}");
        assert!(told["connections"][0]["reconnects"].as_u64().unwrap() >= 1, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_numbers_are_never_told() {
    let world = World::paced(15.0).await;
    let service = Service::live(&world).await;
    for exchange in ExchangeId::ALL {
        world.fault(exchange, FaultKind::AbsurdNumbers, Duration::from_mins(2));
        world.fault(exchange, FaultKind::WrongEvent, Duration::from_mins(2));
    }
    let mut looks = 0;
    let begun = world.clock.now();
    while world.clock.now().since(begun) < Duration::from_secs(110) {
        for (exchange, symbol) in markets() {
            let (status, ticker) = service.get(&format!("/v1/ticker?exchange={exchange}&symbol={symbol}")).await;
            if status == 200 {
                looks += 1;
                let last = ticker["last"].as_f64().unwrap_or(1.0);
                assert!(last > 0.0 && last < 1e7 && (last - 16_823.24).abs() > 1e-9, "{ticker}");
                assert!(ticker["change_percent"].as_f64().unwrap_or_default().abs() < 1e6, "{ticker}");
            }
        }
    }
    assert!(looks > 10, "{looks}");
    until("frames were counted as skipped", async || {
        let (_, metrics) = service.get("/metrics").await;
        let metrics = metrics.as_str().unwrap_or_default().to_owned();
        ExchangeId::ALL.into_iter().all(|exchange| {
            let name = format!("candlewick_upstream_frames_skipped_total{{exchange=\"{exchange}\"}}");
            metrics.lines().any(|line| line.starts_with(&name))
        })
    })
    .await;
}
