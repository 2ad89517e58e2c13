//! Configuration from `config/default.toml`, overridden by a file, overridden by environment variables. Each section
//! has its own module with validation.

mod access;
mod collect;
mod exchanges;
mod log;
mod server;
mod stream;
mod telemetry;
mod urls;

pub use access::{AuthConfig, LimitsConfig, MAX_PER_MINUTE};
pub use collect::CollectConfig;
pub use exchanges::ExchangeConfig;
pub use log::{LogConfig, LogFormat};
pub use server::ServerConfig;
pub use stream::StreamConfig;
pub use telemetry::TelemetryConfig;
pub use urls::{CacheConfig, CacheUrl, StoreConfig, StoreUrl};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::Deserialize;

use crate::model::ExchangeId;

/// All keys with default values and documentation.
pub const DEFAULT: &str = include_str!("../../config/default.toml");

/// Configuration file that is read by default, if it exists.
pub const DEFAULT_FILE: &str = "candlewick.toml";

/// A validated configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub role: Role,
    pub data: DataMode,
    pub server: ServerConfig,
    pub auth: AuthConfig,
    pub limits: LimitsConfig,
    pub store: StoreConfig,
    pub cache: CacheConfig,
    pub collect: CollectConfig,
    pub stream: StreamConfig,
    pub log: LogConfig,
    pub telemetry: TelemetryConfig,
    /// The enabled exchanges.
    pub exchanges: BTreeMap<ExchangeId, ExchangeConfig>,
}

/// The configuration before validation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    role: Role,
    data: Option<DataMode>,
    server: ServerConfig,
    auth: AuthConfig,
    limits: LimitsConfig,
    store: StoreConfig,
    cache: CacheConfig,
    collect: CollectConfig,
    stream: StreamConfig,
    log: LogConfig,
    telemetry: TelemetryConfig,
    exchanges: BTreeMap<String, ExchangeConfig>,
}

/// Role of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Collects and serves data.
    All,
    /// Serves the data of collectors.
    Api,
    /// Collects data.
    Collector,
}

impl Role {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Api => "api",
            Self::Collector => "collector",
        }
    }
}

/// Data source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataMode {
    /// The exchanges; the simulator replaces an exchange that is unreachable at the start.
    Auto,
    /// The exchanges.
    Live,
    /// The simulator; no network access.
    Simulated,
}

/// An invalid configuration. The message names the key and a valid value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Config {
    /// Reads the defaults, the file (`file`, else [`DEFAULT_FILE`] where it exists) and the environment.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and what would be right.
    pub fn load(file: Option<PathBuf>) -> Result<Self, ConfigError> {
        let file = match file {
            Some(path) if !path.is_file() => {
                return Err(ConfigError(format!(
                    "the configuration file {} does not exist; set --config or CANDLEWICK_CONFIG to an existing file",
                    path.display()
                )));
            }
            Some(path) => Some(path),
            None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.is_file()),
        };
        Self::from_figment(&figment(file.as_deref())?)
    }

    /// Reads the defaults, overridden by `toml`. Does not read a file or the environment.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and what would be right.
    pub fn from_toml(toml: &str) -> Result<Self, ConfigError> {
        Self::from_figment(&Figment::from(Toml::string(DEFAULT)).merge(Toml::string(toml)))
    }

    fn from_figment(figment: &Figment) -> Result<Self, ConfigError> {
        let raw: RawConfig = figment.extract().map_err(|error| ConfigError(explain(&error)))?;
        raw.check().map_err(ConfigError)
    }
}

fn figment(file: Option<&Path>) -> Result<Figment, ConfigError> {
    let mut figment = Figment::from(Toml::string(DEFAULT));
    if let Some(path) = file {
        figment = figment.merge(Toml::file_exact(path));
    }
    for (name, key) in [
        ("DATABASE_URL", "store.url"),
        ("REDIS_URL", "cache.url"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
    ] {
        if let Ok(url) = std::env::var(name) {
            figment = figment.merge(Serialized::default(key, url));
        }
    }
    if let Ok(port) = std::env::var("PORT") {
        let port: u16 =
            port.parse().map_err(|_| ConfigError(format!("PORT must be a number from 0 to 65535, not `{port}`")))?;
        figment = figment.merge(Serialized::default("server.listen", format!("0.0.0.0:{port}")));
    }
    Ok(figment.merge(Env::prefixed("CANDLEWICK__").split("__")))
}

/// Formats an error as one line with the key, the problem and the source.
fn explain(error: &figment::Error) -> String {
    let problem = match &error.kind {
        Kind::UnknownField(name, known) => format!("unknown key `{name}`; expected one of {}", known.join(", ")),
        Kind::UnknownVariant(found, known) => format!("`{found}` is not one of {}", known.join(", ")),
        other => to_single_line(&other.to_string()),
    };
    let source = match error.metadata.as_ref().map(|metadata| (&metadata.source, &metadata.name)) {
        Some((Some(figment::Source::File(path)), _)) => format!(" (in {})", path.display()),
        Some((_, name)) if name.contains("environment") => " (in the environment)".to_owned(),
        _ => String::new(),
    };
    let path = if error.path.is_empty() { String::new() } else { format!("`{}`: ", error.path.join(".")) };
    format!("{path}{problem}{source}")
}

/// Removes the source excerpt that TOML errors contain, and joins the other lines.
fn to_single_line(text: &str) -> String {
    let is_excerpt = |line: &str| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|');
    let lines: Vec<&str> = text.lines().filter(|line| !is_excerpt(line)).map(str::trim).collect();
    lines.join("; ")
}

impl RawConfig {
    fn check(self) -> Result<Config, String> {
        let exchanges = exchanges::check(self.exchanges)?;
        let store = self.store.check()?;
        let cache = self.cache.check()?;
        let server = self.server.check()?;
        let auth = self.auth.check(&server)?;
        let limits = self.limits.check()?;
        let collect = self.collect.check()?;
        let stream = self.stream.check()?;
        let telemetry = self.telemetry.check()?;
        let local_store = matches!(store.parsed, StoreUrl::Sqlite(_));
        let local_cache = matches!(cache.parsed, CacheUrl::Memory);
        let embedded = local_store && local_cache;
        let role = self.role.as_str();
        if self.role != Role::All && (local_store || local_cache) {
            return Err(format!(
                "`role = \"{role}\"` requires a shared store and cache: set `store.url` (or DATABASE_URL) to \
                 postgres://… and `cache.url` (or REDIS_URL) to redis://…, or use `role = \"all\"`"
            ));
        }
        if local_store && !local_cache {
            return Err(
                "a Redis cache requires a shared store: set `store.url` (or DATABASE_URL) to postgres://…, or \
                        `cache.url` to memory://"
                    .to_owned(),
            );
        }
        if self.role == Role::All && !local_cache && self.data.is_some_and(|data| data != DataMode::Live) {
            return Err(
                "simulated data cannot be shared over Redis: set `data = \"live\"`, or `cache.url` to memory://"
                    .to_owned(),
            );
        }
        if self.role != Role::All && self.data.is_some_and(|data| data != DataMode::Live) {
            return Err(format!(
                "`role = \"{role}\"` supports only `data = \"live\"`; to use simulated exchanges, start `candlewick \
                 simulate` and set `rest_url` and `ws_url` of each exchange to its address"
            ));
        }
        let default = if embedded && server.listen.ip().is_loopback() { DataMode::Auto } else { DataMode::Live };
        Ok(Config {
            role: self.role,
            data: self.data.unwrap_or(default),
            server,
            auth,
            limits,
            store,
            cache,
            collect,
            stream,
            log: self.log,
            telemetry,
            exchanges,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Symbol;

    fn load(toml: &str) -> Result<Config, ConfigError> {
        Config::from_toml(toml)
    }

    #[test]
    fn defaults_are_valid_and_listen_on_loopback() {
        let config = load("").unwrap();
        assert_eq!((config.role, config.data), (Role::All, DataMode::Auto));
        assert!(config.server.listen.ip().is_loopback());
        assert!(config.exchanges.keys().copied().eq(ExchangeId::all()));
    }

    #[test]
    fn default_file_contains_every_key() {
        let uncommented: String = DEFAULT
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|key| key.contains(" = ")).unwrap_or(line).to_owned() + "\n")
            .collect();
        let table: toml_keys::Table = toml_keys::parse(&uncommented);
        // Loading fails if a struct lacks a key of the file, or has a required key that the file lacks.
        assert!(load(&uncommented).is_ok());
        for key in ["data", "exchanges.binance.rest_url", "exchanges.binance.ws_url"] {
            assert!(table.contains(key), "{key}");
        }
    }

    mod toml_keys {
        pub(super) type Table = std::collections::BTreeSet<String>;

        /// Returns the dotted keys of a simple TOML text.
        pub(super) fn parse(text: &str) -> Table {
            let mut section = String::new();
            let mut keys = Table::new();
            for line in text.lines() {
                if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                    section = format!("{name}.");
                } else if let Some((key, _)) = line.split_once(" = ") {
                    keys.insert(format!("{section}{key}"));
                }
            }
            keys
        }
    }

    #[test]
    fn error_names_invalid_key_or_value() {
        for (toml, expected) in [
            ("colour = 1", "colour"),
            ("[server]\nlissen = \"x\"", "lissen"),
            ("[server]\nlisten = \"nowhere\"", "server.listen"),
            ("[store]\nurl = \"mysql://x\"", "mysql"),
            ("[cache]\nurl = \"memcached://x\"", "memcached"),
            ("[exchanges.mtgox]\nenabled = true", "mtgox"),
            ("[exchanges.binance]\nsymbols = [\"BTCUSDT\"]", "BTCUSDT"),
            ("[exchanges.binance]\nrest_url = \"ftp://x\"", "ftp://x"),
            ("[exchanges.binance]\nws_url = \"wss://x.example/path\"", "without a path"),
            ("role = \"api\"", "use `role = \"all\"`"),
            ("role = \"api\"\n[store]\nurl = \"postgres://x/y\"", "redis://"),
            (
                "role = \"collector\"\ndata = \"simulated\"\n[store]\nurl = \"postgres://x/y\"\n[cache]\nurl = \"redis://x\"",
                "candlewick simulate",
            ),
            ("[cache]\nurl = \"redis://x\"", "requires a shared store"),
            ("data = \"auto\"\n[store]\nurl = \"postgres://x/y\"\n[cache]\nurl = \"redis://x\"", "memory://"),
            ("[server]\ntrusted_proxies = [\"ten\"]", "`ten`"),
            ("[server]\ncors_origins = [\"charts.example\"]", "`charts.example`"),
            ("[telemetry]\nsample_ratio = 1.5", "sample_ratio"),
            ("[limits]\nper_minute = 60000001", "60000000"),
            ("[store]\nsimulated_candles = 1000", "simulated_candles"),
            ("role = \"king\"", "`king` is not one of all, api, collector"),
            ("role = [", "line 1, column 9"),
        ] {
            let error = load(toml).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{toml} -> {error}");
        }
    }

    #[test]
    fn data_defaults_to_live_if_not_on_loopback() {
        assert_eq!(load("[server]\nlisten = \"0.0.0.0:80\"").unwrap().data, DataMode::Live);
        assert_eq!(load("data = \"simulated\"").unwrap().data, DataMode::Simulated);
    }

    #[test]
    fn accepts_string_or_list() {
        let config = load("[exchanges.kraken]\nrest_url = \"http://127.0.0.1:1\"\nws_url = [\"ws://a.example\", \"wss://b.example:9443\"]\nsymbols = \"BTC/USD, eth-eur\"").unwrap();
        let kraken = &config.exchanges[&ExchangeId::KRAKEN];
        assert_eq!(kraken.rest_url, ["http://127.0.0.1:1"]);
        assert_eq!(kraken.ws_url, ["ws://a.example", "wss://b.example:9443"]);
        assert_eq!(kraken.symbols.iter().map(Symbol::as_str).collect::<Vec<_>>(), ["BTC/USD", "ETH/EUR"]);
    }

    #[test]
    fn excludes_disabled_exchanges() {
        let config = load("[exchanges.kraken]\nenabled = false").unwrap();
        assert_eq!(config.exchanges.len(), ExchangeId::all().len() - 1);
        let sections: Vec<_> = ExchangeId::all().map(|id| format!("[exchanges.{id}]\nenabled = false\n")).collect();
        let none = sections.concat();
        assert!(load(&none).is_err());
    }
}
