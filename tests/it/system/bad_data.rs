//! Streams that send pings but no data, and streams with absurd numbers.

use std::time::Duration;

use candlewick::model::ExchangeId;
use candlewick::simulator::FaultKind;

use crate::support::{Service, Simulation, markets, wait_until};

async fn states(service: &Service) -> Vec<(String, String)> {
    let states = service.get_ok("/v1/exchanges").await;
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    states["exchanges"].as_array().unwrap().iter().map(|one| (text(&one["id"]), text(&one["state"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_with_only_pings_is_not_live() {
    let simulation = Simulation::with_speed(15.0).await;
    let service = Service::live(&simulation).await;
    simulation.sleep(Duration::from_mins(2)).await;
    for exchange in ExchangeId::all() {
        simulation.inject_fault(exchange, FaultKind::PingsOnly, Duration::from_mins(30));
    }
    simulation.sleep(Duration::from_secs(210)).await;
    // New connections get acknowledgements but no data.
    for (exchange, state) in states(&service).await {
        assert_ne!(state, "live", "{exchange}");
    }
    for (exchange, symbol) in markets() {
        let ticker = service.get_ok(&format!("/v1/ticker?exchange={exchange}&symbol={symbol}")).await;
        // The last ticker from the stream is stale. A ticker fetched by REST may replace it.
        let is_recent = ticker["age_ms"].as_u64().is_some_and(|age| age <= 60_000);
        assert!(ticker["stale"] == true || (ticker["source"] == "rest" && is_recent), "{ticker}");
    }
    for exchange in ExchangeId::all() {
        let state = service.get_ok(&format!("/v1/exchanges/{exchange}")).await;
        let silence_ms = state["connections"][0]["last_message_ms"].as_u64().unwrap();
        assert!(silence_ms >= 150_000, "{state}");
        assert!(state["connections"][0]["reconnects"].as_u64().unwrap() >= 1, "{state}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_numbers_are_never_published() {
    let simulation = Simulation::with_speed(15.0).await;
    let service = Service::live(&simulation).await;
    for exchange in ExchangeId::all() {
        simulation.inject_fault(exchange, FaultKind::AbsurdNumbers, Duration::from_mins(2));
        simulation.inject_fault(exchange, FaultKind::WrongEvent, Duration::from_mins(2));
    }
    let mut polls = 0;
    let start = simulation.clock.now();
    while simulation.clock.now().since(start) < Duration::from_secs(110) {
        for (exchange, symbol) in markets() {
            let (status, ticker) = service.get(&format!("/v1/ticker?exchange={exchange}&symbol={symbol}")).await;
            if status == 200 {
                polls += 1;
                let last = ticker["last"].as_f64().unwrap_or(1.0);
                assert!(last > 0.0 && last < 1e7 && (last - 16_823.24).abs() > 1e-9, "{ticker}");
                assert!(ticker["change_percent"].as_f64().unwrap_or_default().abs() < 1e6, "{ticker}");
            }
        }
    }
    assert!(polls > 10, "{polls}");
    wait_until("skipped frames are counted", async || {
        let (_, metrics) = service.get("/metrics").await;
        let metrics = metrics.as_str().unwrap_or_default().to_owned();
        ExchangeId::all().all(|exchange| {
            let name = format!("candlewick_upstream_frames_skipped_total{{exchange=\"{exchange}\"}}");
            metrics.lines().any(|line| line.starts_with(&name))
        })
    })
    .await;
}
