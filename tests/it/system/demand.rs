//! Demand: markets are collected while clients subscribe to them.

use std::time::Duration;

use candlewick::model::ExchangeId;
use serde_json::{Value, json};

use crate::support::stream_client::StreamClient;
use crate::support::{Service, Simulation, wait_until};

/// Maximum time from a subscription to the collection of its market.
const START_WITHIN: Duration = Duration::from_secs(1);

async fn is_collected(service: &Service, symbol: &str) -> bool {
    let state = service.get_ok("/v1/exchanges/binance").await;
    state["symbols"].as_array().unwrap().contains(&Value::from(symbol))
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribed_market_is_collected_within_a_second_until_linger_ends() {
    let simulation = Simulation::with_speed(2.0).await;
    let service =
        Service::live_with_config(&simulation, "[stream]\nlinger_seconds = 3\n[collect]\non_demand_symbols = 1\n")
            .await;
    let address = service.base_url.trim_start_matches("http://").parse().unwrap();
    assert!(!is_collected(&service, "ADA/USDT").await);
    let subscription = json!({"channel": "trades", "exchange": "binance", "symbols": ["ADA/USDT"], "snapshot": 0});
    let mut client = StreamClient::new(subscription);
    let subscribed_at = simulation.clock.now();
    let receiving = tokio::spawn(async move { client.receive_events(address, 2).await });
    wait_until("the market is collected", async || is_collected(&service, "ADA/USDT").await).await;
    let elapsed = simulation.clock.now().since(subscribed_at);
    assert!(elapsed <= START_WITHIN, "collection started after {elapsed:?}");
    // One market on demand is allowed, so another one is rejected.
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/v1/stream")).await.unwrap();
    let other = json!({"op": "subscribe", "channel": "trades", "exchange": "binance", "symbols": ["XRP/USDT"]});
    let reply = crate::support::stream_client::request(&mut socket, &other).await;
    assert_eq!(reply["rejected"][0]["code"], "too_many_symbols");
    assert!(receiving.await.unwrap());
    wait_until("the market is no longer collected", async || !is_collected(&service, "ADA/USDT").await).await;
    assert!(is_collected(&service, "BTC/USDT").await, "configured markets stay collected");
    assert!(service.shut_down().await);
    let stats = simulation.simulator.stats(ExchangeId::BINANCE);
    assert_eq!(stats.limit_violations, 0);
}
