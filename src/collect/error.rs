//! Why a collector ended.

use std::time::Duration;

use crate::cache::CacheError;
use crate::store::StoreError;
use crate::upstream::UpstreamError;

/// Why a collector ended.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("a connection gave up: {0}")]
    GaveUp(String),
    #[error("another collector holds the lease")]
    LeaseLost,
    #[error("the task `{name}` ended: {cause}")]
    TaskEnded { name: String, cause: String },
    #[error("the clock was set or the machine was suspended, by {} s; missed data will be fetched", .0.as_secs())]
    ClockJumped(Duration),
}
