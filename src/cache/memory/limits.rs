//! The limits of clients, of one process: it knows all there is to know.

use std::time::Duration;

use async_trait::async_trait;

use crate::cache::{CacheError, ClientLimits};

pub(super) struct MemoryLimits;

#[async_trait]
impl ClientLimits for MemoryLimits {
    fn is_shared(&self) -> bool {
        false
    }

    async fn used(&self, _: &str, used: Duration, most: Duration) -> Result<Duration, CacheError> {
        Ok(used.min(most))
    }
}
