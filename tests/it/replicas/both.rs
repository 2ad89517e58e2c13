//! One collector and one that serves, on one PostgreSQL and one Redis.

use std::time::Duration;

use candlewick::clock::Clock;
use candlewick::model::{ExchangeId, Timestamp};
use serde_json::Value;
use tokio::net::TcpListener;

use super::SPEED;
use crate::support::{Service, World, markets, minutes_after, until};

pub struct Both {
    pub world: World,
    pub collector: Service,
    pub server: Service,
}

impl Both {
    /// Starts both on the servers of these URLs, and waits until tickers flow.
    pub async fn start(database: &str, redis: &str, prefix: &str) -> Self {
        let world = World::at(TcpListener::bind("127.0.0.1:0").await.unwrap(), Clock::scaled(SPEED));
        let config = |role: &str| {
            let exchanges: String = ExchangeId::ALL
                .map(|id| {
                    let at = world.address;
                    let on = matches!(id, ExchangeId::Binance | ExchangeId::Coinbase);
                    format!("[exchanges.{id}]\nenabled = {on}\nrest_url = \"http://{at}\"\nws_url = \"ws://{at}\"\n")
                })
                .concat();
            format!(
                "role = \"{role}\"\n[store]\nurl = \"{database}\"\nconnections = 4\n[cache]\nurl = \"{redis}\"\n\
                 prefix = \"{prefix}\"\n{exchanges}"
            )
        };
        let collector = Service::on(&config("collector"), world.clock.clone()).await;
        let server = Service::on(&config("api"), world.clock.clone()).await;
        let both = Self { world, collector, server };
        both.until_live().await;
        both
    }

    pub async fn until_live(&self) {
        for (exchange, symbol) in collected() {
            until(&format!("the ticker of {exchange} is live"), async || {
                self.ticker(exchange, symbol).await.is_some_and(|ticker| is_fresh(&ticker))
            })
            .await;
        }
    }

    pub async fn ticker(&self, exchange: ExchangeId, symbol: &str) -> Option<Value> {
        let (status, body) = self.server.get(&format!("/v1/ticker?exchange={exchange}&symbol={symbol}")).await;
        (status == 200).then_some(body)
    }

    /// What the other replicas have missing is what they were told that they miss.
    pub async fn degraded(&self) -> Vec<String> {
        let (status, body) = self.server.get("/readyz").await;
        assert_eq!(status, 200, "{body}");
        body["degraded"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    }

    /// The candles from before the outage until now are whole, on both.
    pub async fn assert_whole(&self, since: Timestamp) {
        let minutes = (self.world.clock.now().since(since).as_secs() / 60).max(2);
        let range = minutes_after(since, i64::try_from(minutes).unwrap());
        self.world.clock.sleep_until(range.end()).await;
        for (exchange, symbol) in collected() {
            for service in [&self.server, &self.collector] {
                service.assert_whole(&self.world, exchange, symbol, range).await;
            }
        }
    }

    pub fn sockets(&self) -> u64 {
        collected().map(|(exchange, _)| self.world.simulator.stats(exchange).sockets_opened).sum()
    }
}

pub fn collected() -> impl Iterator<Item = (ExchangeId, &'static str)> {
    markets().filter(|(id, _)| matches!(id, ExchangeId::Binance | ExchangeId::Coinbase))
}

pub fn is_fresh(ticker: &Value) -> bool {
    let young = Duration::from_secs(10).as_millis();
    ticker["stale"] == false
        && ticker["source"] == "stream"
        && ticker["age_ms"].as_u64().is_some_and(|age| u128::from(age) < young)
}
