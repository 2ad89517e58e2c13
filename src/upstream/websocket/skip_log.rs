//! Limits how often skipped frames are logged.

use std::time::Duration;

/// Minimum interval between logs of skipped frames.
const SKIP_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Counts the skipped frames that were not logged.
#[derive(Default)]
pub(super) struct SkipLog {
    logged_at: Option<Duration>,
    unlogged: u64,
}

impl SkipLog {
    /// Records a skipped frame. If it is due for logging, returns how many were not logged since the last log.
    pub fn record(&mut self, now: Duration) -> Option<u64> {
        if self.logged_at.is_some_and(|at| now < at + SKIP_LOG_INTERVAL) {
            self.unlogged += 1;
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}
