//! `[auth]` and `[limits]`: who is let in, and how much each may use.

use serde::Deserialize;

/// Who is let in.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// Whether reading and listening need a key.
    pub required: bool,
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
