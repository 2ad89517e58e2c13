//! What the processes of a test share: the world, PostgreSQL and Redis.

use std::path::Path;

use candlewick::cache::{Cache, RedisConfig, redis};
use candlewick::clock::Clock;
use candlewick::model::ExchangeId;
use serde_json::Value;
use tokio::net::TcpListener;

use super::SPEED;
use crate::support::process::{Process, all_exchanges_at, with};
use crate::support::{World, servers};

/// What all processes share.
pub struct Shared {
    pub folder: tempfile::TempDir,
    pub environment: Vec<(String, String)>,
    pub world: World,
    pub http: reqwest::Client,
    pub database: String,
    pub redis: (String, String),
}

impl Shared {
    pub async fn new() -> Self {
        let world = World::at(TcpListener::bind("127.0.0.1:0").await.unwrap(), Clock::scaled(SPEED));
        let (database, redis) = (servers::database().await, servers::redis().await);
        let mut environment = all_exchanges_at(&world.address.to_string());
        let own = [
            ("DATABASE_URL", database.as_str()),
            ("REDIS_URL", redis.0.as_str()),
            ("CANDLEWICK__CACHE__PREFIX", redis.1.as_str()),
            ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0"),
        ];
        environment.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { folder: tempfile::tempdir().unwrap(), environment, world, http, database, redis }
    }

    pub fn spawn(&self, role: &str) -> Process {
        let folder: &Path = self.folder.path();
        let own = [("CANDLEWICK__ROLE", role)];
        Process::spawn(folder, &["--clock-speed", &SPEED.to_string()], &with(&own, &self.environment))
    }

    pub async fn replica(&self) -> Cache {
        let (url, prefix) = self.redis.clone();
        redis(&RedisConfig { url: url.into(), prefix, egress: "test".to_owned() }, self.world.clock.clone())
            .await
            .unwrap()
    }

    pub async fn get(&self, process: &mut Process, path: &str) -> Option<Value> {
        let address = process.address().await;
        let reply = self.http.get(format!("http://{address}{path}")).send().await.ok()?;
        let text = (reply.status() == 200).then_some(reply)?.text().await.ok()?;
        serde_json::from_str(&text).ok()
    }

    pub fn sockets(&self) -> Vec<u64> {
        ExchangeId::ALL.map(|id| self.world.simulator.stats(id).sockets_open).to_vec()
    }
}

/// The newest lease of an exchange that a process says it has taken.
pub fn token_of(process: &Process, exchange: ExchangeId) -> u64 {
    let taken =
        |line: &Value| line["message"] == "this process collects the exchange" && line["exchange"] == exchange.as_str();
    process.log().iter().rev().find(|line| taken(line)).map_or(0, |line| line["token"].as_u64().unwrap())
}
