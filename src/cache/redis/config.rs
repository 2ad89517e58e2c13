//! Configuration of the Redis backends.

use secrecy::SecretString;

/// Configuration of the Redis backends.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// `redis://`, `rediss://`, `redis-cluster://`, `redis-sentinel://`, `valkey://`…
    pub url: SecretString,
    /// Prefix of all keys and channels.
    pub prefix: String,
    /// Replicas with the same value share a public IP address, and so the exchanges' rate limits.
    pub egress: String,
}
