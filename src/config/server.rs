//! `[server]`: where and how much to serve.

use std::net::SocketAddr;

use serde::Deserialize;

/// Where and how much to serve.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port.
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
