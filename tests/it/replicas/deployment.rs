//! Replicas as processes, with shared simulated exchanges, PostgreSQL and Redis.

use std::path::Path;

use candlewick::cache::{Cache, RedisConfig, redis};
use candlewick::clock::Clock;
use candlewick::model::ExchangeId;
use serde_json::Value;
use tokio::net::TcpListener;

use super::SPEED;
use crate::support::process::{Process, exchange_urls, merge_env};
use crate::support::{Simulation, servers};

/// The servers and settings that all replicas share.
pub struct Deployment {
    pub folder: tempfile::TempDir,
    pub environment: Vec<(String, String)>,
    pub simulation: Simulation,
    pub http: reqwest::Client,
    pub database: String,
    /// URL and key prefix.
    pub redis: (String, String),
}

impl Deployment {
    pub async fn new() -> Self {
        let simulation =
            Simulation::with_listener(TcpListener::bind("127.0.0.1:0").await.unwrap(), Clock::scaled(SPEED));
        let (database, redis) = (servers::database().await, servers::redis().await);
        let mut environment = exchange_urls(&simulation.address.to_string());
        let own = [
            ("DATABASE_URL", database.as_str()),
            ("REDIS_URL", redis.0.as_str()),
            ("CANDLEWICK__CACHE__PREFIX", redis.1.as_str()),
            ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0"),
        ];
        environment.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { folder: tempfile::tempdir().unwrap(), environment, simulation, http, database, redis }
    }

    /// Starts a replica with this role.
    pub fn spawn(&self, role: &str) -> Process {
        let folder: &Path = self.folder.path();
        let own = [("CANDLEWICK__ROLE", role)];
        Process::spawn(folder, &["--clock-speed", &SPEED.to_string()], &merge_env(&own, &self.environment))
    }

    /// Opens the shared cache as another replica does.
    pub async fn open_cache(&self) -> Cache {
        let (url, prefix) = self.redis.clone();
        redis(&RedisConfig { url: url.into(), prefix, egress: "test".to_owned() }, self.simulation.clock.clone())
            .await
            .unwrap()
    }

    /// The body of a response with status 200, otherwise `None`.
    pub async fn get(&self, process: &mut Process, path: &str) -> Option<Value> {
        let address = process.address().await;
        let response = self.http.get(format!("http://{address}{path}")).send().await.ok()?;
        let text = (response.status() == 200).then_some(response)?.text().await.ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Number of open WebSocket connections per exchange.
    pub fn open_sockets(&self) -> Vec<u64> {
        ExchangeId::all().map(|id| self.simulation.simulator.stats(id).sockets_open).collect()
    }
}

/// The token of the last lease of an exchange that a process acquired according to its log, or 0.
pub fn lease_token(process: &Process, exchange: ExchangeId) -> u64 {
    let is_acquired =
        |line: &Value| line["message"] == "this process collects the exchange" && line["exchange"] == exchange.as_str();
    process.log().iter().rev().find(|line| is_acquired(line)).map_or(0, |line| line["token"].as_u64().unwrap())
}
