//! `[stream]`: who may listen, and how far behind.

use serde::Deserialize;

/// Who may listen, and how far behind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamConfig {
    /// How long a topic is listened to and its market collected after the last client left.
    pub linger_seconds: u32,
    /// The most sockets and event streams at a time.
    pub max_connections: usize,
    /// The most of them from one address.
    pub max_connections_per_address: usize,
    /// The most topics of one socket.
    pub max_topics_per_connection: usize,
    /// How many frames of a topic are kept for clients that are slow or come back.
    pub kept_frames: usize,
    /// How many bytes of them.
    pub kept_bytes: usize,
    /// A client that missed so much without ever catching up is cut off.
    pub max_behind_bytes: u64,
}

impl StreamConfig {
    pub(super) fn check(self) -> Result<Self, String> {
        if !(3..=86_400).contains(&self.linger_seconds) {
            return Err("`stream.linger_seconds` is a number from 3 to 86400".to_owned());
        }
        for (key, value) in [
            ("max_connections", self.max_connections),
            ("max_connections_per_address", self.max_connections_per_address),
            ("max_topics_per_connection", self.max_topics_per_connection),
            ("kept_frames", self.kept_frames),
            ("kept_bytes", self.kept_bytes),
        ] {
            if value == 0 {
                return Err(format!("`stream.{key}` must be at least 1"));
            }
        }
        Ok(self)
    }
}
