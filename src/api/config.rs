//! Limits and access configuration of the API.

use std::time::Duration;

use super::access::AccessConfig;

/// Limits and access configuration of the API.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Maximum length of a request body, in bytes.
    pub max_body_bytes: u64,
    /// Maximum length of the path and query of a request, in bytes.
    pub max_url_bytes: usize,
    /// Maximum number of HTTP connections; further ones wait.
    pub max_connections: usize,
    /// Maximum number of connections per address that is not a trusted proxy; further ones are closed at once.
    pub max_connections_per_address: usize,
    /// Maximum number of sockets and event streams; further ones are rejected.
    pub max_sockets: usize,
    /// Maximum number of sockets and event streams per client.
    pub max_sockets_per_client: usize,
    /// Maximum number of topics per socket.
    pub max_topics: usize,
    /// A client is disconnected when it misses more bytes of trades and candles than this without catching up.
    pub max_behind_bytes: u64,
    /// Access control.
    pub access: AccessConfig,
    /// Origins whose pages may read responses; `*` allows all.
    pub cors_origins: Vec<String>,
    /// A connection is closed if its client reads nothing of a response for this long.
    pub stall_timeout: Duration,
    /// Time from the start of the drain until sockets and the listener are closed, so that balancers notice it.
    pub shutdown_notice: Duration,
    /// Time that requests in flight have to finish after that.
    pub shutdown_grace: Duration,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 * 1024,
            max_url_bytes: 32 * 1024,
            max_connections: 8_192,
            max_connections_per_address: 4_096,
            max_sockets: 8_192,
            max_sockets_per_client: 2_048,
            max_topics: 1_024,
            max_behind_bytes: 4 * 1024 * 1024,
            access: AccessConfig::default(),
            cors_origins: Vec::new(),
            stall_timeout: Duration::from_secs(30),
            shutdown_notice: Duration::from_secs(1),
            shutdown_grace: Duration::from_secs(4),
        }
    }
}
