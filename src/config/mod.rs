//! Configuration: `config/default.toml`, over it a file, over it the environment. One file a section, each with its own
//! checks.

mod access;
mod collect;
mod exchanges;
mod log;
mod server;
mod stream;
mod telemetry;
mod urls;

pub use access::{AuthConfig, LimitsConfig, MOST_PER_MINUTE};
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

/// Every key with its default and what it means.
pub const DEFAULT: &str = include_str!("../../config/default.toml");

/// The file that is read where none is named, if it is there.
pub const DEFAULT_FILE: &str = "candlewick.toml";

/// A checked configuration.
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
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

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Collects and serves.
    All,
    /// Serves what collectors collect.
    Api,
    /// Collects.
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

/// Where data come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataMode {
    /// The exchanges; the simulator stands in for one that cannot be reached at the start.
    Auto,
    /// The exchanges.
    Live,
    /// The simulator; no network at all.
    Simulated,
}

/// What is wrong with a configuration, and where.
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
                    "the configuration file {} is not there; --config and CANDLEWICK_CONFIG name one that is",
                    path.display()
                )));
            }
            Some(path) => Some(path),
            None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.is_file()),
        };
        Self::from_figment(&figment(file.as_deref())?)
    }

    /// Reads the defaults and over them `toml`; no file and no environment.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and what would be right.
    pub fn from_toml(toml: &str) -> Result<Self, ConfigError> {
        Self::from_figment(&Figment::from(Toml::string(DEFAULT)).merge(Toml::string(toml)))
    }

    fn from_figment(figment: &Figment) -> Result<Self, ConfigError> {
        let raw: Raw = figment.extract().map_err(|error| ConfigError(explain(&error)))?;
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
            port.parse().map_err(|_| ConfigError(format!("PORT is a number from 0 to 65535, not `{port}`")))?;
        figment = figment.merge(Serialized::default("server.listen", format!("0.0.0.0:{port}")));
    }
    Ok(figment.merge(Env::prefixed("CANDLEWICK__").split("__")))
}

/// One line that names the key, what would be right and where it stands.
fn explain(error: &figment::Error) -> String {
    let what = match &error.kind {
        Kind::UnknownField(name, known) => format!("there is no key `{name}`; there are {}", known.join(", ")),
        Kind::UnknownVariant(found, known) => format!("`{found}` is not one of {}", known.join(", ")),
        other => in_one_line(&other.to_string()),
    };
    let place = match error.metadata.as_ref().map(|metadata| (&metadata.source, &metadata.name)) {
        Some((Some(figment::Source::File(path)), _)) => format!(" (in {})", path.display()),
        Some((_, name)) if name.contains("environment") => " (in the environment)".to_owned(),
        _ => String::new(),
    };
    let path = if error.path.is_empty() { String::new() } else { format!("`{}`: ", error.path.join(".")) };
    format!("{path}{what}{place}")
}

/// A text without the picture of the place that TOML's errors draw.
fn in_one_line(text: &str) -> String {
    let drawn = |line: &str| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|');
    let told: Vec<&str> = text.lines().filter(|line| !drawn(line)).map(str::trim).collect();
    told.join("; ")
}

impl Raw {
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
        let own_store = matches!(store.parsed, StoreUrl::Sqlite(_));
        let own_cache = matches!(cache.parsed, CacheUrl::Memory);
        let embedded = own_store && own_cache;
        let role = self.role.as_str();
        if self.role != Role::All && (own_store || own_cache) {
            return Err(format!(
                "`role = \"{role}\"` shares its data with other processes: set `store.url` (or DATABASE_URL) to \
                 postgres://… and `cache.url` (or REDIS_URL) to redis://…, or use `role = \"all\"`"
            ));
        }
        if own_store && !own_cache {
            return Err("Redis is for several processes, which need a store that they share: set `store.url` (or \
                        DATABASE_URL) to postgres://…, or `cache.url` to memory://"
                .to_owned());
        }
        if self.role == Role::All && !own_cache && self.data.is_some_and(|data| data != DataMode::Live) {
            return Err("what is simulated lives in one process, and Redis is for several: set `data = \"live\"`, or \
                        `cache.url` to memory://"
                .to_owned());
        }
        if self.role != Role::All && self.data.is_some_and(|data| data != DataMode::Live) {
            return Err(format!(
                "`role = \"{role}\"` takes `data = \"live\"` only; to try it on simulated exchanges start `candlewick \
                 simulate` and set `rest_url` and `ws_url` of each exchange to it"
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

    fn with(toml: &str) -> Result<Config, ConfigError> {
        Config::from_toml(toml)
    }

    #[test]
    fn the_defaults_are_valid_and_safe() {
        let config = with("").unwrap();
        assert_eq!((config.role, config.data), (Role::All, DataMode::Auto));
        assert!(config.server.listen.ip().is_loopback());
        assert_eq!(config.exchanges.keys().copied().collect::<Vec<_>>(), ExchangeId::ALL);
    }

    #[test]
    fn the_reference_names_every_key() {
        let uncommented: String = DEFAULT
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|key| key.contains(" = ")).unwrap_or(line).to_owned() + "\n")
            .collect();
        let table: toml_keys::Table = toml_keys::parse(&uncommented);
        // A struct that misses one of these keys would refuse it, and one that has more would refuse the reference.
        assert!(with(&uncommented).is_ok());
        for key in ["data", "exchanges.binance.rest_url", "exchanges.binance.ws_url"] {
            assert!(table.contains(key), "{key}");
        }
    }

    mod toml_keys {
        pub(super) type Table = std::collections::BTreeSet<String>;

        /// The dotted keys of a simple TOML text.
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
    fn a_wrong_key_is_named() {
        for (toml, named) in [
            ("colour = 1", "colour"),
            ("[server]\nlissen = \"x\"", "lissen"),
            ("[server]\nlisten = \"nowhere\"", "server.listen"),
            ("[store]\nurl = \"mysql://x\"", "mysql"),
            ("[cache]\nurl = \"memcached://x\"", "memcached"),
            ("[exchanges.mtgox]\nenabled = true", "mtgox"),
            ("[exchanges.binance]\nsymbols = [\"BTCUSDT\"]", "BTCUSDT"),
            ("[exchanges.binance]\nrest_url = \"ftp://x\"", "ftp://x"),
            ("[exchanges.binance]\nws_url = \"wss://x.example/path\"", "no path"),
            ("role = \"api\"", "use `role = \"all\"`"),
            ("role = \"api\"\n[store]\nurl = \"postgres://x/y\"", "redis://"),
            (
                "role = \"collector\"\ndata = \"simulated\"\n[store]\nurl = \"postgres://x/y\"\n[cache]\nurl = \"redis://x\"",
                "candlewick simulate",
            ),
            ("[cache]\nurl = \"redis://x\"", "store that they share"),
            ("data = \"auto\"\n[store]\nurl = \"postgres://x/y\"\n[cache]\nurl = \"redis://x\"", "memory://"),
            ("[server]\ntrusted_proxies = [\"ten\"]", "`ten`"),
            ("[server]\ncors_origins = [\"charts.example\"]", "`charts.example`"),
            ("[telemetry]\nsample_ratio = 1.5", "sample_ratio"),
            ("[limits]\nper_minute = 60000001", "60000000"),
            ("[store]\nsimulated_candles = 1000", "simulated_candles"),
            ("role = \"king\"", "`king` is not one of all, api, collector"),
            ("role = [", "line 1, column 9"),
        ] {
            let error = with(toml).unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains('\n'), "{toml} -> {error}");
        }
    }

    #[test]
    fn live_is_the_default_for_the_open_world() {
        assert_eq!(with("[server]\nlisten = \"0.0.0.0:80\"").unwrap().data, DataMode::Live);
        assert_eq!(with("data = \"simulated\"").unwrap().data, DataMode::Simulated);
    }

    #[test]
    fn a_url_or_a_list_of_urls() {
        let config = with("[exchanges.kraken]\nrest_url = \"http://127.0.0.1:1\"\nws_url = [\"ws://a.example\", \"wss://b.example:9443\"]\nsymbols = \"BTC/USD, eth-eur\"").unwrap();
        let kraken = &config.exchanges[&ExchangeId::Kraken];
        assert_eq!(kraken.rest_url, ["http://127.0.0.1:1"]);
        assert_eq!(kraken.ws_url, ["ws://a.example", "wss://b.example:9443"]);
        assert_eq!(kraken.symbols.iter().map(Symbol::as_str).collect::<Vec<_>>(), ["BTC/USD", "ETH/EUR"]);
    }

    #[test]
    fn a_disabled_exchange_is_not_there() {
        let config = with("[exchanges.kraken]\nenabled = false").unwrap();
        assert_eq!(config.exchanges.len(), ExchangeId::ALL.len() - 1);
        let none = ExchangeId::ALL.map(|id| format!("[exchanges.{id}]\nenabled = false\n")).concat();
        assert!(with(&none).is_err());
    }
}
