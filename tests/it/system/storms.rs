//! Everything at once: many markets on every exchange lose their connections together, again and again.

use std::fmt::Write as _;
use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::model::{ExchangeId, Symbol};
use candlewick::simulator::FaultKind;
use tokio::net::TcpListener;

use crate::support::{Service, World, minutes_after, until};

/// Markets of each exchange.
const MARKETS: usize = 40;

/// Slower than other tests, since so many markets speak.
const SPEED: f64 = 8.0;

fn symbols(world: &World, exchange: ExchangeId) -> Vec<Symbol> {
    let listed = world.simulator.market().listings(exchange);
    let symbols: Vec<_> = listed.map(|listing| listing.symbol.clone()).take(MARKETS).collect();
    assert_eq!(symbols.len(), MARKETS, "{exchange} is simulated with fewer markets than a storm needs");
    symbols
}

/// Waits until every connection of every exchange is live, and every market speaks.
async fn all_live(service: &Service, world: &World) {
    for exchange in ExchangeId::ALL {
        until(&format!("{exchange} is live"), async || {
            let state = service.ok(&format!("/v1/exchanges/{exchange}")).await;
            let connections = state["connections"].as_array().unwrap();
            state["state"] == "live"
                && state["symbols"].as_array().unwrap().len() == MARKETS
                && connections.iter().all(|connection| connection["state"] == "live")
        })
        .await;
        for chunk in symbols(world, exchange).chunks(20) {
            let list = chunk.iter().map(Symbol::dashed).collect::<Vec<_>>().join(",");
            until(&format!("{list} of {exchange} speak"), async || {
                let told = service.ok(&format!("/v1/tickers?exchange={exchange}&symbols={list}")).await;
                let tickers = told["tickers"].as_array().unwrap();
                let live = |ticker: &serde_json::Value| ticker["stale"] == false && ticker["source"] == "stream";
                tickers.len() == chunk.len() && tickers.iter().all(live)
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_stays_within_every_budget() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::at(listener, Clock::scaled(SPEED));
    let mut toml = "data = \"live\"\n".to_owned();
    for exchange in ExchangeId::ALL {
        let (address, symbols) = (world.address, symbols(&world, exchange));
        let list = symbols.iter().map(|symbol| format!("\"{symbol}\"")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(toml, "[exchanges.{exchange}]\nrest_url = \"http://{address}\"\nws_url = \"ws://{address}\"");
        let _ = writeln!(toml, "symbols = [{list}]");
    }
    // What each connection carries by itself is tested elsewhere; here it is the many at once.
    toml.push_str("[collect]\nhistory_minutes = 60\n");
    let service = Service::start(&toml, world.clock.clone()).await;
    all_live(&service, &world).await;

    let range = minutes_after(world.clock.now(), 4);
    for _ in 0..3 {
        for exchange in ExchangeId::ALL {
            world.fault(exchange, FaultKind::Drop, Duration::from_secs(4));
        }
        world.pass(Duration::from_secs(20)).await;
        all_live(&service, &world).await;
    }
    world.clock.sleep_until(range.end() + Duration::from_secs(3)).await;
    for exchange in ExchangeId::ALL {
        for symbol in symbols(&world, exchange) {
            service.assert_whole(&world, exchange, symbol.as_str(), range).await;
        }
        let stats = world.simulator.stats(exchange);
        assert_eq!((stats.limit_violations, stats.bans, stats.messages_over_rate), (0, 0, 0), "{exchange}: {stats:?}");
        let state = service.ok(&format!("/v1/exchanges/{exchange}")).await;
        let reconnects = state["connections"].as_array().unwrap().iter().map(|one| one["reconnects"].as_u64().unwrap());
        assert!(reconnects.min().unwrap() >= 3, "not every connection was cut: {state}");
        for budget in state["budgets"].as_array().unwrap() {
            assert!(budget["used"].as_u64() <= budget["limit"].as_u64(), "{exchange}: {budget}");
        }
    }
}
