//! The setting `data`: `auto`, `live` or `simulated`.

use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::model::ExchangeId;
use tokio::net::TcpListener;

use crate::support::{SPEED, Service, Simulation, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn simulated_mode_needs_no_network_and_marks_all_data() {
    let service = Service::start("data = \"simulated\"", Clock::scaled(SPEED)).await;
    let ticker = service.get_ok("/v1/ticker?symbol=BTC-USDT").await;
    assert_eq!((&ticker["exchange"], &ticker["simulated"]), (&"binance".into(), &true.into()));
    let history =
        service.http.get(format!("{}/v1/history?symbol=BTC/USD&limit=5", service.base_url)).send().await.unwrap();
    assert_eq!(history.headers()["candlewick-simulated"], "true");
    let history: serde_json::Value = serde_json::from_str(&history.text().await.unwrap()).unwrap();
    assert_eq!((&history["exchange"], &history["simulated"]), (&"kraken".into(), &true.into()));
    for exchange in ExchangeId::all() {
        wait_until(&format!("{exchange} is simulated"), async || {
            let state = service.get_ok(&format!("/v1/exchanges/{exchange}")).await;
            assert_eq!(state["simulated"], true);
            state["state"] == "simulated"
        })
        .await;
    }
    // Simulated candles are not written to the real store.
    wait_until("candles are collected", async || {
        service
            .get_ok("/v1/coverage?exchange=binance&symbol=BTC/USDT&interval=1m")
            .await
            .to_string()
            .contains("observed")
    })
    .await;
    let path = service.folder.path().join("candles.db");
    let store = candlewick::store::sqlite::SqliteStore::open(&format!("sqlite://{}", path.display())).await.unwrap();
    let listing =
        candlewick::store::InstrumentStore::instruments(&store, candlewick::model::ExchangeId::BINANCE).await.unwrap();
    assert!(listing.instruments.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_mode_simulates_only_until_exchange_is_reached() {
    // A port without a listener.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let clock = Clock::scaled(SPEED);
    let others = ExchangeId::all().skip(1).map(|id| format!("[exchanges.{id}]\nenabled = false\n"));
    let others: String = others.collect();
    let config = format!(
        "data = \"auto\"\n{others}[exchanges.binance]\nrest_url = \"http://{address}\"\nws_url = \"ws://{address}\"\n"
    );
    let service = Service::start(&config, clock.clone()).await;
    let ticker = service.get_ok("/v1/ticker?exchange=binance&symbol=BTC/USDT").await;
    assert_eq!(ticker["simulated"], true);

    let simulation = Simulation::with_listener(TcpListener::bind(address).await.unwrap(), clock.clone());
    wait_until("the exchange is live", async || service.get_ok("/v1/exchanges/binance").await["state"] == "live").await;
    wait_until("the ticker is from the exchange", async || {
        let (status, ticker) = service.get("/v1/ticker?exchange=binance&symbol=BTC/USDT").await;
        status == 200 && ticker["simulated"] == false && ticker["source"] == "stream"
    })
    .await;
    let history = service.get_ok("/v1/history?exchange=binance&symbol=BTC/USDT&limit=10").await;
    assert_eq!(history["simulated"], false);

    simulation.inject_fault(
        candlewick::model::ExchangeId::BINANCE,
        candlewick::simulator::FaultKind::Dark,
        Duration::from_secs(200),
    );
    wait_until("the exchange is not live", async || service.get_ok("/v1/exchanges/binance").await["state"] != "live")
        .await;
    let state = service.get_ok("/v1/exchanges/binance").await;
    assert_eq!(state["simulated"], false, "{state}");
    assert!(["stale", "reconnecting", "down"].contains(&state["state"].as_str().unwrap()), "{state}");
    let ticker = service.get_ok("/v1/ticker?exchange=binance&symbol=BTC/USDT").await;
    assert_eq!((&ticker["simulated"], &ticker["stale"]), (&false.into(), &true.into()), "{ticker}");
    assert_eq!(service.get_ok("/readyz").await["degraded"], serde_json::json!(["binance"]));
}
