//! A collector replica and an API replica in this process, with a shared PostgreSQL and a shared Redis.

use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::model::{ExchangeId, Timestamp};
use serde_json::Value;
use tokio::net::TcpListener;

use super::SPEED;
use crate::support::{Service, Simulation, markets, minutes_after, wait_until};

pub struct ReplicaPair {
    pub simulation: Simulation,
    pub collector: Service,
    pub api: Service,
}

impl ReplicaPair {
    /// Starts both replicas with the servers of these URLs and waits until the API replica has live tickers.
    pub async fn start(database: &str, redis: &str, prefix: &str) -> Self {
        let simulation =
            Simulation::with_listener(TcpListener::bind("127.0.0.1:0").await.unwrap(), Clock::scaled(SPEED));
        let config = |role: &str| {
            let exchanges: Vec<_> = ExchangeId::all()
                .map(|id| {
                    let at = simulation.address;
                    let enabled = matches!(id, ExchangeId::BINANCE | ExchangeId::COINBASE);
                    format!(
                        "[exchanges.{id}]\nenabled = {enabled}\nrest_url = \"http://{at}\"\nws_url = \"ws://{at}\"\n"
                    )
                })
                .collect();
            let exchanges = exchanges.concat();
            format!(
                "role = \"{role}\"\n[store]\nurl = \"{database}\"\nconnections = 4\n[cache]\nurl = \"{redis}\"\n\
                 prefix = \"{prefix}\"\n{exchanges}"
            )
        };
        let collector = Service::start_with_store(&config("collector"), simulation.clock.clone()).await;
        let api = Service::start_with_store(&config("api"), simulation.clock.clone()).await;
        let pair = Self { simulation, collector, api };
        pair.wait_until_live().await;
        pair
    }

    pub async fn wait_until_live(&self) {
        for (exchange, symbol) in collected_markets() {
            wait_until(&format!("the ticker of {exchange} is live"), async || {
                self.ticker(exchange, symbol).await.is_some_and(|ticker| is_fresh(&ticker))
            })
            .await;
        }
    }

    /// The ticker of the API replica, or `None` without one.
    pub async fn ticker(&self, exchange: ExchangeId, symbol: &str) -> Option<Value> {
        let (status, body) = self.api.get(&format!("/v1/ticker?exchange={exchange}&symbol={symbol}")).await;
        (status == 200).then_some(body)
    }

    /// The degraded components that `/readyz` of the API replica reports.
    pub async fn degraded(&self) -> Vec<String> {
        let (status, body) = self.api.get("/readyz").await;
        assert_eq!(status, 200, "{body}");
        body["degraded"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    }

    /// Checks on both replicas that the candles from `since` until now are complete.
    pub async fn assert_complete(&self, since: Timestamp) {
        let minutes = (self.simulation.clock.now().since(since).as_secs() / 60).max(2);
        let range = minutes_after(since, i64::try_from(minutes).unwrap());
        self.simulation.clock.sleep_until(range.end()).await;
        for (exchange, symbol) in collected_markets() {
            for service in [&self.api, &self.collector] {
                service.assert_complete(&self.simulation, exchange, symbol, range).await;
            }
        }
    }

    /// Number of WebSocket connections that the collector has opened so far.
    pub fn sockets_opened(&self) -> u64 {
        collected_markets().map(|(exchange, _)| self.simulation.simulator.stats(exchange).sockets_opened).sum()
    }
}

/// The markets that a pair collects.
pub fn collected_markets() -> impl Iterator<Item = (ExchangeId, &'static str)> {
    markets().filter(|(id, _)| matches!(*id, ExchangeId::BINANCE | ExchangeId::COINBASE))
}

/// Returns whether a ticker is from the stream, not stale and younger than ten seconds.
pub fn is_fresh(ticker: &Value) -> bool {
    let max_age = Duration::from_secs(10).as_millis();
    ticker["stale"] == false
        && ticker["source"] == "stream"
        && ticker["age_ms"].as_u64().is_some_and(|age| u128::from(age) < max_age)
}
