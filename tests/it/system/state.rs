//! How each exchange is doing, as anyone can see it.

use std::time::Duration;

use candlewick::model::ExchangeId;
use candlewick::simulator::FaultKind;

use crate::support::{Service, World, markets, until};

#[tokio::test(flavor = "multi_thread")]
async fn connections_budgets_and_breakers_are_in_the_open() {
    // Slow enough that a busy machine is no silent stream.
    let world = World::paced(15.0).await;
    let service = Service::live(&world).await;
    let state = async |exchange: ExchangeId| service.ok(&format!("/v1/exchanges/{exchange}")).await;
    for exchange in ExchangeId::ALL {
        until(&format!("{exchange} is live"), async || state(exchange).await["state"] == "live").await;
        let told = state(exchange).await;
        for connection in told["connections"].as_array().unwrap() {
            assert!(connection["topics"].as_u64() > Some(0) && connection["reconnects"] == 0, "{connection}");
            assert!(connection["last_message_ms"].as_u64() < Some(60_000), "{connection}");
        }
        for budget in told["budgets"].as_array().unwrap() {
            assert!(budget["used"].as_u64() <= budget["limit"].as_u64(), "{budget}");
            assert!(budget["open_at"].is_null(), "{budget}");
        }
        assert!(told["budgets"].as_array().unwrap().iter().any(|budget| budget["scope"] == "connections"), "{told}");
    }

    for exchange in ExchangeId::ALL {
        world.fault(exchange, FaultKind::Http418, Duration::from_mins(3));
        world.fault(exchange, FaultKind::Drop, Duration::ZERO);
    }
    for (exchange, symbol) in markets() {
        let old = format!("/v1/history?exchange={exchange}&symbol={symbol}&interval=1d&limit=5");
        until(&format!("the breaker of {exchange} opens"), async || {
            // A question that only the exchange can answer; what is asked in vain opens the breaker.
            service.get(&old).await;
            let (told, now) = (state(exchange).await, world.clock.now().millis());
            told["budgets"].as_array().unwrap().iter().any(|budget| budget["open_at"].as_i64() > Some(now))
        })
        .await;
        until(&format!("{exchange} is connected again"), async || {
            let told = state(exchange).await;
            let connections = told["connections"].as_array().unwrap();
            told["state"] == "live" && connections.iter().all(|one| one["reconnects"].as_u64() >= Some(1))
        })
        .await;
    }
}
