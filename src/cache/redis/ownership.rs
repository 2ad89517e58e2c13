//! The exchanges that this process collects.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::model::{ExchangeId, PerExchange};

/// Counts the collectors of this process per exchange. Data of local exchanges is read from memory.
#[derive(Default)]
pub(super) struct LocalOwnership(PerExchange<AtomicUsize>);

impl LocalOwnership {
    pub fn is_local(&self, exchange: ExchangeId) -> bool {
        self.0[exchange].load(Ordering::Acquire) > 0
    }

    /// Marks an exchange as collected by this process until the returned guard is dropped.
    pub fn acquire(self: &Arc<Self>, exchange: ExchangeId) -> OwnershipGuard {
        self.0[exchange].fetch_add(1, Ordering::AcqRel);
        OwnershipGuard { ownership: Arc::clone(self), exchange }
    }
}

/// Marks an exchange as collected by this process.
pub(super) struct OwnershipGuard {
    ownership: Arc<LocalOwnership>,
    exchange: ExchangeId,
}

impl Drop for OwnershipGuard {
    fn drop(&mut self) {
        self.ownership.0[self.exchange].fetch_sub(1, Ordering::AcqRel);
    }
}
