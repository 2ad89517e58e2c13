//! `[server]`: where and how much to serve.

use std::net::SocketAddr;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Where and how much to serve.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// The most connections at a time.
    pub max_connections: usize,
    /// The most bytes of a request's body.
    pub max_body_bytes: usize,
}

impl ServerConfig {
    pub(super) fn check(self) -> Result<Self, String> {
        if self.max_connections == 0 {
            return Err("`server.max_connections` must be at least 1".to_owned());
        }
        Ok(self)
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format_args!("`{text}` is no address and port; write IP:PORT, such as 127.0.0.1:8000"))
    })
}
