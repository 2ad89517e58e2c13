//! `[store]` and `[cache]`: the URL picks the backend.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// Where closed candles are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    url: SecretString,
    /// The most connections to PostgreSQL; by role where it is not set.
    pub connections: Option<u32>,
    /// The longest that a statement may take in PostgreSQL.
    pub statement_timeout_ms: u32,
    /// Older candles are deleted; 0 keeps all.
    pub retention_days: u32,
    /// The most candles of simulated exchanges, which are kept in memory.
    pub simulated_candles: u32,
    /// The backend that the URL names.
    #[serde(skip)]
    pub parsed: StoreUrl,
}

/// A store's URL.
#[derive(Clone, Debug, Default)]
pub enum StoreUrl {
    /// Not checked yet.
    #[default]
    Unchecked,
    /// `sqlite://PATH`
    Sqlite(String),
    /// `postgres://…`
    Postgres(SecretString),
}

/// What replicas share.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheConfig {
    url: SecretString,
    /// What all keys and channels in Redis begin with.
    pub prefix: String,
    /// Replicas of one name share an address on the internet.
    pub egress: String,
    /// The backend that the URL names.
    #[serde(skip)]
    pub parsed: CacheUrl,
}

/// A cache's URL.
#[derive(Clone, Debug, Default)]
pub enum CacheUrl {
    /// Not checked yet.
    #[default]
    Unchecked,
    /// `memory://`
    Memory,
    /// `redis://…` and its relatives
    Redis(SecretString),
}

/// The schemes of Redis and Valkey: with TLS, and as a cluster or with sentinels.
const REDIS: [&str; 12] = [
    "redis",
    "rediss",
    "redis-cluster",
    "rediss-cluster",
    "redis-sentinel",
    "rediss-sentinel",
    "valkey",
    "valkeys",
    "valkey-cluster",
    "valkeys-cluster",
    "valkey-sentinel",
    "valkeys-sentinel",
];

impl StoreConfig {
    pub(super) fn check(mut self) -> Result<Self, String> {
        let url = self.url.expose_secret();
        self.parsed = match url.split_once("://") {
            Some(("sqlite", path)) if !path.is_empty() => StoreUrl::Sqlite(url.to_owned()),
            Some(("postgres" | "postgresql", rest)) if !rest.is_empty() => StoreUrl::Postgres(self.url.clone()),
            _ => {
                return Err(format!(
                    "`store.url` is written sqlite://PATH or postgres://USER:PASSWORD@HOST/NAME, not {}; where the host sets \
                     DATABASE_URL to another store, CANDLEWICK__STORE__URL comes before it",
                    without_secret(url)
                ));
            }
        };
        if self.connections.is_some_and(|connections| !(2..=1_000).contains(&connections)) {
            return Err("`store.connections` is a number from 2 to 1000".to_owned());
        }
        if !(100..=600_000).contains(&self.statement_timeout_ms) {
            return Err("`store.statement_timeout_ms` is a number from 100 to 600000".to_owned());
        }
        if !(20_000..=1_000_000_000).contains(&self.simulated_candles) {
            return Err("`store.simulated_candles` is a number from 20000 to 1000000000".to_owned());
        }
        Ok(self)
    }
}

impl CacheConfig {
    pub(super) fn check(mut self) -> Result<Self, String> {
        let url = self.url.expose_secret();
        self.parsed = match url.split_once(':') {
            Some(("memory", "" | "//")) => CacheUrl::Memory,
            Some((scheme, rest)) if REDIS.contains(&scheme) && rest.len() > 2 => CacheUrl::Redis(self.url.clone()),
            _ => {
                return Err(format!(
                    "`cache.url` is written memory:// or redis://:PASSWORD@HOST:PORT, not {}; where the host sets REDIS_URL, \
                     CANDLEWICK__CACHE__URL comes before it",
                    without_secret(url)
                ));
            }
        };
        for (name, value) in [("prefix", &self.prefix), ("egress", &self.egress)] {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if value.is_empty() || value.len() > 64 || !value.chars().all(is_plain) {
                return Err(format!("`cache.{name}` has letters, digits, `-`, `_` and `.`, at most 64"));
            }
        }
        Ok(self)
    }
}

/// A URL without what may be secret in it: who asks, and the parameters.
fn without_secret(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "what it is".to_owned() };
    let place = rest.split(['?', '#']).next().unwrap_or_default();
    match place.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}"),
        None => format!("{scheme}://{place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(without_secret("postgres://me:secret@db:5432/x"), "postgres://…@db:5432/x");
        assert_eq!(without_secret("mysql://db/x?password=secret"), "mysql://db/x");
        assert!(!without_secret("me:secret@db/x").contains("secret"));
        let config = StoreConfig {
            url: "mysql://me:secret@db/x".into(),
            connections: None,
            statement_timeout_ms: 1_000,
            retention_days: 0,
            simulated_candles: 100_000,
            parsed: StoreUrl::Unchecked,
        };
        assert!(!format!("{config:?}").contains("secret") && !config.check().err().unwrap().contains("secret"));
    }
}
