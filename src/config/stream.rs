//! `[stream]`: limits of sockets, event streams and topic buffers.

use serde::Deserialize;

/// The `[stream]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamConfig {
    /// Time for which a topic without clients stays subscribed and its market collected, in seconds.
    pub linger_seconds: u32,
    /// Maximum number of open sockets and event streams.
    pub max_connections: usize,
    /// Maximum number of open sockets and event streams per client.
    pub max_connections_per_address: usize,
    /// Maximum number of topics per socket.
    pub max_topics_per_connection: usize,
    /// Size of a topic's ring buffer, in frames. It serves slow clients and clients that resume.
    pub kept_frames: usize,
    /// Size of a topic's ring buffer, in bytes.
    pub kept_bytes: usize,
    /// Maximum number of bytes of trades and candles that a slow client may miss without catching up. Beyond it, the
    /// client is disconnected.
    pub max_behind_bytes: u64,
}

impl StreamConfig {
    pub(super) fn check(self) -> Result<Self, String> {
        if !(3..=86_400).contains(&self.linger_seconds) {
            return Err("`stream.linger_seconds` must be a number from 3 to 86400".to_owned());
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
