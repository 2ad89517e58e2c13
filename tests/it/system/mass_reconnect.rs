//! Repeated loss of all connections at the same time, with many markets on every exchange.

use std::fmt::Write as _;
use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::model::{ExchangeId, Symbol};
use candlewick::simulator::FaultKind;
use tokio::net::TcpListener;

use crate::support::{Service, Simulation, minutes_after, wait_until};

/// Markets per exchange.
const MARKETS: usize = 40;

/// Lower than the default, because of the number of markets.
const SPEED: f64 = 8.0;

fn symbols(simulation: &Simulation, exchange: ExchangeId) -> Vec<Symbol> {
    let listed = simulation.simulator.market().listings(exchange);
    let symbols: Vec<_> = listed.map(|listing| listing.symbol.clone()).take(MARKETS).collect();
    assert_eq!(symbols.len(), MARKETS, "the simulator lists too few markets of {exchange}");
    symbols
}

/// Waits until every connection of every exchange is live and every market has a ticker from the stream.
async fn wait_until_all_live(service: &Service, simulation: &Simulation) {
    for exchange in ExchangeId::all() {
        wait_until(&format!("{exchange} is live"), async || {
            let state = service.get_ok(&format!("/v1/exchanges/{exchange}")).await;
            let connections = state["connections"].as_array().unwrap();
            state["state"] == "live"
                && state["symbols"].as_array().unwrap().len() == MARKETS
                && connections.iter().all(|connection| connection["state"] == "live")
        })
        .await;
        for chunk in symbols(simulation, exchange).chunks(20) {
            let list = chunk.iter().map(Symbol::dashed).collect::<Vec<_>>().join(",");
            wait_until(&format!("{list} of {exchange} have tickers"), async || {
                let page = service.get_ok(&format!("/v1/tickers?exchange={exchange}&symbols={list}")).await;
                let tickers = page["tickers"].as_array().unwrap();
                let live = |ticker: &serde_json::Value| ticker["stale"] == false && ticker["source"] == "stream";
                tickers.len() == chunk.len() && tickers.iter().all(live)
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mass_reconnects_stay_within_every_budget() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let simulation = Simulation::with_listener(listener, Clock::scaled(SPEED));
    let mut toml = "data = \"live\"\n".to_owned();
    for exchange in ExchangeId::all() {
        let (address, symbols) = (simulation.address, symbols(&simulation, exchange));
        let list = symbols.iter().map(|symbol| format!("\"{symbol}\"")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(toml, "[exchanges.{exchange}]\nrest_url = \"http://{address}\"\nws_url = \"ws://{address}\"");
        let _ = writeln!(toml, "symbols = [{list}]");
    }
    // A short history, because this test is about connections.
    toml.push_str("[collect]\nhistory_minutes = 60\n");
    let service = Service::start(&toml, simulation.clock.clone()).await;
    wait_until_all_live(&service, &simulation).await;

    let range = minutes_after(simulation.clock.now(), 4);
    for _ in 0..3 {
        for exchange in ExchangeId::all() {
            simulation.inject_fault(exchange, FaultKind::Drop, Duration::from_secs(4));
        }
        simulation.sleep(Duration::from_secs(20)).await;
        wait_until_all_live(&service, &simulation).await;
    }
    simulation.clock.sleep_until(range.end() + Duration::from_secs(3)).await;
    for exchange in ExchangeId::all() {
        for symbol in symbols(&simulation, exchange) {
            service.assert_complete(&simulation, exchange, symbol.as_str(), range).await;
        }
        let stats = simulation.simulator.stats(exchange);
        assert_eq!((stats.limit_violations, stats.bans, stats.messages_over_rate), (0, 0, 0), "{exchange}: {stats:?}");
        let state = service.get_ok(&format!("/v1/exchanges/{exchange}")).await;
        let reconnects = state["connections"].as_array().unwrap().iter().map(|one| one["reconnects"].as_u64().unwrap());
        assert!(reconnects.min().unwrap() >= 3, "not every connection was dropped: {state}");
        for budget in state["budgets"].as_array().unwrap() {
            assert!(budget["used"].as_u64() <= budget["limit"].as_u64(), "{exchange}: {budget}");
        }
    }
}
