//! `[store]` and `[cache]`: the URL selects the backend.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// The `[store]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    url: SecretString,
    /// Maximum number of connections to PostgreSQL. The default depends on the role.
    pub connections: Option<u32>,
    /// Timeout of a PostgreSQL statement.
    pub statement_timeout_ms: u32,
    /// Maximum age of candles, in days. Older candles are deleted; 0 keeps all.
    pub retention_days: u32,
    /// Maximum number of candles of simulated exchanges, which are stored in memory.
    pub simulated_candles: u32,
    /// The backend that the URL names.
    #[serde(skip)]
    pub parsed: StoreUrl,
}

/// A store's URL.
#[derive(Clone, Debug, Default)]
pub enum StoreUrl {
    /// Not validated yet.
    #[default]
    Unchecked,
    /// `sqlite://PATH`
    Sqlite(String),
    /// `postgres://…`
    Postgres(SecretString),
}

/// The `[cache]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheConfig {
    url: SecretString,
    /// Prefix of all Redis keys and channels.
    pub prefix: String,
    /// Name of the public IP address; replicas with the same name share it.
    pub egress: String,
    /// The backend that the URL names.
    #[serde(skip)]
    pub parsed: CacheUrl,
}

/// A cache's URL.
#[derive(Clone, Debug, Default)]
pub enum CacheUrl {
    /// Not validated yet.
    #[default]
    Unchecked,
    /// `memory://`
    Memory,
    /// `redis://…` and the other schemes of `REDIS_SCHEMES`
    Redis(SecretString),
}

/// URL schemes of Redis and Valkey: plain, TLS, cluster and Sentinel.
const REDIS_SCHEMES: [&str; 12] = [
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
                    "`store.url` must be sqlite://PATH or postgres://USER:PASSWORD@HOST/NAME, not {}; if the hosting \
                     platform sets DATABASE_URL for another store, override it with CANDLEWICK__STORE__URL",
                    redact(url)
                ));
            }
        };
        if self.connections.is_some_and(|connections| !(2..=1_000).contains(&connections)) {
            return Err("`store.connections` must be a number from 2 to 1000".to_owned());
        }
        if !(100..=600_000).contains(&self.statement_timeout_ms) {
            return Err("`store.statement_timeout_ms` must be a number from 100 to 600000".to_owned());
        }
        if !(20_000..=1_000_000_000).contains(&self.simulated_candles) {
            return Err("`store.simulated_candles` must be a number from 20000 to 1000000000".to_owned());
        }
        Ok(self)
    }
}

impl CacheConfig {
    pub(super) fn check(mut self) -> Result<Self, String> {
        let url = self.url.expose_secret();
        self.parsed = match url.split_once(':') {
            Some(("memory", "" | "//")) => CacheUrl::Memory,
            Some((scheme, rest)) if REDIS_SCHEMES.contains(&scheme) && rest.len() > 2 => {
                CacheUrl::Redis(self.url.clone())
            }
            _ => {
                return Err(format!(
                    "`cache.url` must be memory:// or redis://:PASSWORD@HOST:PORT, not {}; if the hosting \
                     platform sets REDIS_URL, override it with CANDLEWICK__CACHE__URL",
                    redact(url)
                ));
            }
        };
        for (name, value) in [("prefix", &self.prefix), ("egress", &self.egress)] {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if value.is_empty() || value.len() > 64 || !value.chars().all(is_plain) {
                return Err(format!("`cache.{name}` must have 1 to 64 characters: letters, digits, `-`, `_` and `.`"));
            }
        }
        Ok(self)
    }
}

/// The URL without user, password and parameters, which may be secret.
fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "the given value".to_owned() };
    let authority = rest.split(['?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}"),
        None => format!("{scheme}://{authority}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_password_in_errors_and_debug_output() {
        assert_eq!(redact("postgres://me:secret@db:5432/x"), "postgres://…@db:5432/x");
        assert_eq!(redact("mysql://db/x?password=secret"), "mysql://db/x");
        assert!(!redact("me:secret@db/x").contains("secret"));
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
