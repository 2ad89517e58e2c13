//! `data = auto | live | simulated`.

use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::model::ExchangeId;
use tokio::net::TcpListener;

use crate::support::{SPEED, Service, World, until};

#[tokio::test(flavor = "multi_thread")]
async fn simulated_needs_no_network_and_says_so_everywhere() {
    let service = Service::start("data = \"simulated\"", Clock::scaled(SPEED)).await;
    let ticker = service.ok("/v1/ticker?symbol=BTC-USDT").await;
    assert_eq!((&ticker["exchange"], &ticker["simulated"]), (&"binance".into(), &true.into()));
    let history = service.http.get(format!("{}/v1/history?symbol=BTC/USD&limit=5", service.base)).send().await.unwrap();
    assert_eq!(history.headers()["candlewick-simulated"], "true");
    let history: serde_json::Value = serde_json::from_str(&history.text().await.unwrap()).unwrap();
    assert_eq!((&history["exchange"], &history["simulated"]), (&"kraken".into(), &true.into()));
    for exchange in ExchangeId::ALL {
        until(&format!("{exchange} is simulated"), async || {
            let state = service.ok(&format!("/v1/exchanges/{exchange}")).await;
            assert_eq!(state["simulated"], true);
            state["state"] == "simulated"
        })
        .await;
    }
    // Simulated candles never touch the real store.
    until("minutes were collected", async || {
        service.ok("/v1/coverage?exchange=binance&symbol=BTC/USDT&interval=1m").await.to_string().contains("observed")
    })
    .await;
    let folder = service.folder.path().join("candles.db");
    let real = candlewick::store::sqlite::SqliteStore::open(&format!("sqlite://{}", folder.display())).await.unwrap();
    let listing =
        candlewick::store::CandleStore::instruments(&real, candlewick::model::ExchangeId::Binance).await.unwrap();
    assert!(listing.instruments.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_simulates_until_the_exchange_is_reached_and_never_again() {
    // A port on which nobody listens yet.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let clock = Clock::scaled(SPEED);
    let others = ExchangeId::ALL.into_iter().skip(1).map(|id| format!("[exchanges.{id}]\nenabled = false\n"));
    let others: String = others.collect();
    let origins = format!(
        "data = \"auto\"\n{others}[exchanges.binance]\nrest_url = \"http://{address}\"\nws_url = \"ws://{address}\"\n"
    );
    let service = Service::start(&origins, clock.clone()).await;
    let ticker = service.ok("/v1/ticker?exchange=binance&symbol=BTC/USDT").await;
    assert_eq!(ticker["simulated"], true);

    let world = World::at(TcpListener::bind(address).await.unwrap(), clock.clone());
    until("the exchange is live", async || service.ok("/v1/exchanges/binance").await["state"] == "live").await;
    until("its ticker is real", async || {
        let (status, ticker) = service.get("/v1/ticker?exchange=binance&symbol=BTC/USDT").await;
        status == 200 && ticker["simulated"] == false && ticker["source"] == "stream"
    })
    .await;
    let history = service.ok("/v1/history?exchange=binance&symbol=BTC/USDT&limit=10").await;
    assert_eq!(history["simulated"], false);

    world.fault(
        candlewick::model::ExchangeId::Binance,
        candlewick::simulator::FaultKind::Dark,
        Duration::from_secs(200),
    );
    until("the exchange is not live", async || service.ok("/v1/exchanges/binance").await["state"] != "live").await;
    let state = service.ok("/v1/exchanges/binance").await;
    assert_eq!(state["simulated"], false, "{state}");
    assert!(["stale", "reconnecting", "down"].contains(&state["state"].as_str().unwrap()), "{state}");
    let ticker = service.ok("/v1/ticker?exchange=binance&symbol=BTC/USDT").await;
    assert_eq!((&ticker["simulated"], &ticker["stale"]), (&false.into(), &true.into()), "{ticker}");
    assert_eq!(service.ok("/readyz").await["degraded"], serde_json::json!(["binance"]));
}
