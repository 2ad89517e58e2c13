//! The state of each exchange in `/v1/exchanges`.

use std::time::Duration;

use candlewick::model::ExchangeId;
use candlewick::simulator::FaultKind;

use crate::support::{Service, Simulation, markets, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn state_reports_connections_budgets_and_circuit_breakers() {
    // Slow enough that delays of a busy machine do not look like a silent stream.
    let simulation = Simulation::with_speed(15.0).await;
    let service = Service::live(&simulation).await;
    let get_state = async |exchange: ExchangeId| service.get_ok(&format!("/v1/exchanges/{exchange}")).await;
    for exchange in ExchangeId::all() {
        wait_until(&format!("{exchange} is live"), async || get_state(exchange).await["state"] == "live").await;
        let state = get_state(exchange).await;
        for connection in state["connections"].as_array().unwrap() {
            assert!(connection["topics"].as_u64() > Some(0) && connection["reconnects"] == 0, "{connection}");
            assert!(connection["last_message_ms"].as_u64() < Some(60_000), "{connection}");
        }
        for budget in state["budgets"].as_array().unwrap() {
            assert!(budget["used"].as_u64() <= budget["limit"].as_u64(), "{budget}");
            assert!(budget["open_at"].is_null(), "{budget}");
        }
        assert!(state["budgets"].as_array().unwrap().iter().any(|budget| budget["scope"] == "connections"), "{state}");
    }

    for exchange in ExchangeId::all() {
        simulation.inject_fault(exchange, FaultKind::Http418, Duration::from_mins(3));
        simulation.inject_fault(exchange, FaultKind::Drop, Duration::ZERO);
    }
    for (exchange, symbol) in markets() {
        let old = format!("/v1/history?exchange={exchange}&symbol={symbol}&interval=1d&limit=5");
        wait_until(&format!("the circuit breaker of {exchange} opens"), async || {
            // A request for history that is not stored fails at the exchange, which opens the circuit breaker.
            service.get(&old).await;
            let (state, now) = (get_state(exchange).await, simulation.clock.now().millis());
            state["budgets"].as_array().unwrap().iter().any(|budget| budget["open_at"].as_i64() > Some(now))
        })
        .await;
        wait_until(&format!("{exchange} is connected again"), async || {
            let state = get_state(exchange).await;
            let connections = state["connections"].as_array().unwrap();
            state["state"] == "live" && connections.iter().all(|one| one["reconnects"].as_u64() >= Some(1))
        })
        .await;
    }
}
