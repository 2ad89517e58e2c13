//! Client limits of a single process: it knows the whole usage.

use std::time::Duration;

use async_trait::async_trait;

use crate::cache::{CacheError, ClientLimits};

pub(super) struct MemoryLimits;

#[async_trait]
impl ClientLimits for MemoryLimits {
    fn is_shared(&self) -> bool {
        false
    }

    async fn record_usage(&self, _: &str, used: Duration, max: Duration) -> Result<Duration, CacheError> {
        Ok(used.min(max))
    }
}
