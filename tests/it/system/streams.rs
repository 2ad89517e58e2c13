//! Demand: what someone listens to is collected, and what nobody does any more is not.

use std::time::Duration;

use candlewick::model::ExchangeId;
use serde_json::{Value, json};

use crate::support::listener::Listener;
use crate::support::{Service, World, until};

const WITHIN: Duration = Duration::from_secs(1);

async fn collected(service: &Service, symbol: &str) -> bool {
    let state = service.ok("/v1/exchanges/binance").await;
    state["symbols"].as_array().unwrap().contains(&Value::from(symbol))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_someone_listens_to_is_collected_within_a_second_and_until_a_while_after() {
    let world = World::paced(2.0).await;
    let service = Service::live_with(&world, "[stream]\nlinger_seconds = 3\n[collect]\non_demand_symbols = 1\n").await;
    let address = service.base.trim_start_matches("http://").parse().unwrap();
    assert!(!collected(&service, "ADA/USDT").await);
    let wish = |symbol: &str| json!({"channel": "trades", "exchange": "binance", "symbols": [symbol], "snapshot": 0});
    let mut listener = Listener::new(wish("ADA/USDT"));
    let asked = world.clock.now();
    let listening = tokio::spawn(async move { listener.listen(address, 2).await });
    until("it is collected", async || collected(&service, "ADA/USDT").await).await;
    let took = world.clock.now().since(asked);
    assert!(took <= WITHIN, "it took {took:?}");
    // While it is, there is no room for another.
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/v1/stream")).await.unwrap();
    let other = json!({"op": "subscribe", "channel": "trades", "exchange": "binance", "symbols": ["XRP/USDT"]});
    let answer = crate::support::listener::ask(&mut socket, &other).await;
    assert_eq!(answer["rejected"][0]["code"], "too_many_symbols");
    assert!(listening.await.unwrap());
    until("it is not collected any more", async || !collected(&service, "ADA/USDT").await).await;
    assert!(collected(&service, "BTC/USDT").await, "what is configured stays");
    assert!(service.end().await);
    let stats = world.simulator.stats(ExchangeId::Binance);
    assert_eq!(stats.limit_violations, 0);
}
