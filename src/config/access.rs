//! `[auth]` and `[limits]`: authorization and rate limits of clients.

use serde::Deserialize;

use super::server::ServerConfig;

/// The `[auth]` section.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// Whether reading and streaming require an API key.
    pub required: bool,
    /// Whether changes from this machine need no API key. For the default see [`AuthConfig::is_open_on_loopback`].
    pub open_on_loopback: Option<bool>,
}

impl AuthConfig {
    pub(super) fn check(self, server: &ServerConfig) -> Result<Self, String> {
        if self.open_on_loopback == Some(true) && !server.listen.ip().is_loopback() {
            return Err(format!(
                "`auth.open_on_loopback = true` requires `server.listen` on a loopback address, such as \
                 127.0.0.1:8000, not {}; remove `auth.open_on_loopback` and create a key with `candlewick keys create \
                 --scopes admin`",
                server.listen
            ));
        }
        Ok(self)
    }

    /// Whether changes from this machine need no API key. The default is true if the service listens on loopback and
    /// has no trusted proxies: requests through a proxy on the same machine also come from loopback.
    #[must_use]
    pub fn is_open_on_loopback(&self, server: &ServerConfig) -> bool {
        let default = server.listen.ip().is_loopback() && server.trusted_proxies.is_empty();
        self.open_on_loopback.unwrap_or(default)
    }
}

/// The `[limits]` section.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Rate limit per client, in cost units per minute; 0 for no limit.
    pub per_minute: u32,
}

/// Maximum rate limit: one cost unit per microsecond.
pub const MAX_PER_MINUTE: u32 = 60_000_000;

impl LimitsConfig {
    pub(super) fn check(self) -> Result<Self, String> {
        if self.per_minute > MAX_PER_MINUTE {
            return Err(format!("`limits.per_minute` must be a number from 0 (no limit) to {MAX_PER_MINUTE}"));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError};

    fn is_open(toml: &str) -> Result<bool, ConfigError> {
        let config = Config::from_toml(toml)?;
        Ok(config.auth.is_open_on_loopback(&config.server))
    }

    #[test]
    fn allows_changes_without_key_only_on_loopback() {
        let listen = |address: &str| format!("[server]\nlisten = \"{address}\"\n");
        let proxy = "trusted_proxies = [\"127.0.0.1\"]\n";
        let auth = |value: &str| format!("[auth]\nopen_on_loopback = {value}\n");
        for address in ["127.0.0.1:8000", "127.9.9.9:0", "[::1]:8000"] {
            let listen = listen(address);
            assert_eq!(is_open(&listen), Ok(true), "{address}");
            assert_eq!(is_open(&format!("{listen}{proxy}")), Ok(false), "{address} behind a proxy");
            for (value, open) in [("true", true), ("false", false)] {
                assert_eq!(is_open(&format!("{listen}{}", auth(value))), Ok(open), "{address}");
                assert_eq!(is_open(&format!("{listen}{proxy}{}", auth(value))), Ok(open), "{address} behind a proxy");
            }
        }
        for address in ["0.0.0.0:8000", "192.0.2.7:8000", "[::]:8000"] {
            let listen = listen(address);
            for settings in [String::new(), proxy.to_owned(), auth("false")] {
                assert_eq!(is_open(&format!("{listen}{settings}")), Ok(false), "{address} {settings}");
            }
            let error = is_open(&format!("{listen}{}", auth("true"))).unwrap_err().to_string();
            assert!(error.contains("auth.open_on_loopback") && error.contains("keys create"), "{error}");
        }
    }
}
