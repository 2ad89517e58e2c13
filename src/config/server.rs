//! `[server]`: listener, connection limits, proxies and CORS.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::exchanges::one_or_many;

/// The `[server]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Listen address and port.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Maximum number of open connections.
    pub max_connections: usize,
    /// Maximum number of open connections per address.
    pub max_connections_per_address: usize,
    /// Maximum size of a request body, in bytes.
    pub max_body_bytes: usize,
    /// Proxies whose `Forwarded` and `X-Forwarded-For` headers are trusted.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Allowed CORS origins.
    #[serde(deserialize_with = "one_or_many")]
    pub cors_origins: Vec<String>,
}

impl ServerConfig {
    pub(super) fn check(self) -> Result<Self, String> {
        if self.max_connections == 0 {
            return Err("`server.max_connections` must be at least 1".to_owned());
        }
        if self.max_connections_per_address == 0 {
            return Err("`server.max_connections_per_address` must be at least 1".to_owned());
        }
        if let Some(wrong) = self.cors_origins.iter().find(|origin| !is_origin(origin)) {
            return Err(format!(
                "`server.cors_origins`: `{wrong}` is not an origin; use https://HOST, https://HOST:PORT or * for all"
            ));
        }
        Ok(self)
    }
}

/// Whether the text is an origin as browsers send it: lower case, nothing after the port. `*` is also accepted.
fn is_origin(text: &str) -> bool {
    let host = text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https")).map(|(_, host)| host);
    let is_host = |host: &str| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    text == "*" || host.is_some_and(is_host) && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Parses addresses and networks such as `10.0.0.0/8`.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = one_or_many(deserializer)?;
    let parse = |text: &String| {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| {
            D::Error::custom(format_args!("`{text}` is not an address or network; examples: 10.0.0.7, 10.0.0.0/8"))
        })
    };
    texts.iter().map(parse).collect()
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format_args!("`{text}` is not an address with port; use IP:PORT, such as 127.0.0.1:8000"))
    })
}
