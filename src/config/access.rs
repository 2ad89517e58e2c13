//! `[auth]` and `[limits]`: who is let in, and how much each may use.

use serde::Deserialize;

use super::server::ServerConfig;

/// Who is let in.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// Whether reading and listening need a key.
    pub required: bool,
    /// Whether changing needs no key on this machine; by what listens and stands in front where it is not set: see
    /// [`AuthConfig::opens_on_loopback`].
    pub open_on_loopback: Option<bool>,
}

impl AuthConfig {
    pub(super) fn check(self, server: &ServerConfig) -> Result<Self, String> {
        if self.open_on_loopback == Some(true) && !server.listen.ip().is_loopback() {
            return Err(format!(
                "`auth.open_on_loopback = true` needs a `server.listen` on loopback, such as 127.0.0.1:8000, not {}: leave it out, \
                 and make a key with `candlewick keys create --scopes admin`",
                server.listen
            ));
        }
        Ok(self)
    }

    /// Whether changing needs no key on this machine: where it is not set, if the service listens on loopback and trusts no
    /// proxy. A proxy on the same machine looks like a client of it.
    #[must_use]
    pub fn opens_on_loopback(&self, server: &ServerConfig) -> bool {
        let by_default = server.listen.ip().is_loopback() && server.trusted_proxies.is_empty();
        self.open_on_loopback.unwrap_or(by_default)
    }
}

/// How much each client may use.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// What a client may use in a minute; 0 is no limit.
    pub per_minute: u32,
}

/// The most that a client's limit may be: a microsecond each.
pub const MOST_PER_MINUTE: u32 = 60_000_000;

impl LimitsConfig {
    pub(super) fn check(self) -> Result<Self, String> {
        if self.per_minute > MOST_PER_MINUTE {
            return Err(format!("`limits.per_minute` is a number up to {MOST_PER_MINUTE}; 0 is no limit"));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError};

    fn opens(toml: &str) -> Result<bool, ConfigError> {
        let config = Config::from_toml(toml)?;
        Ok(config.auth.opens_on_loopback(&config.server))
    }

    #[test]
    fn changes_are_open_on_loopback_only() {
        let listen = |address: &str| format!("[server]\nlisten = \"{address}\"\n");
        let proxy = "trusted_proxies = [\"127.0.0.1\"]\n";
        let auth = |value: &str| format!("[auth]\nopen_on_loopback = {value}\n");
        for address in ["127.0.0.1:8000", "127.9.9.9:0", "[::1]:8000"] {
            let listen = listen(address);
            assert_eq!(opens(&listen), Ok(true), "{address}");
            assert_eq!(opens(&format!("{listen}{proxy}")), Ok(false), "{address} behind a proxy");
            for (value, opened) in [("true", true), ("false", false)] {
                assert_eq!(opens(&format!("{listen}{}", auth(value))), Ok(opened), "{address}");
                assert_eq!(opens(&format!("{listen}{proxy}{}", auth(value))), Ok(opened), "{address} behind a proxy");
            }
        }
        for address in ["0.0.0.0:8000", "192.0.2.7:8000", "[::]:8000"] {
            let listen = listen(address);
            for more in [String::new(), proxy.to_owned(), auth("false")] {
                assert_eq!(opens(&format!("{listen}{more}")), Ok(false), "{address} {more}");
            }
            let refused = opens(&format!("{listen}{}", auth("true"))).unwrap_err().to_string();
            assert!(refused.contains("auth.open_on_loopback") && refused.contains("keys create"), "{refused}");
        }
    }
}
