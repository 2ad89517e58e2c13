//! Process lifecycle: phases, supervised tasks, shutdown and exit code.
//!
//! The first signal starts the drain: `readyz` returns 503, clients receive a close notice, the writer flushes. The
//! second signal, or the end of the grace period, kills the process. If an essential task ends unexpectedly, the
//! process shuts down with a non-zero exit code.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;

/// Initial and maximum delay before the restart of a panicked task.
const RESTART_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Runs the future that `make` creates until it returns. After a panic, logs it and runs a new future after an
/// increasing delay. Dropping the returned future aborts the task.
pub async fn restart_on_panic<F>(name: &'static str, clock: &Clock, mut make: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut delay = RESTART_BACKOFF.0;
    loop {
        let mut task = JoinSet::new();
        task.spawn(make());
        let Some(Err(error)) = task.join_next().await else { return };
        tracing::error!(task = name, %error, restart_in = ?delay, "task panicked, restarting");
        clock.sleep(delay).await;
        delay = (delay * 2).min(RESTART_BACKOFF.1);
    }
}

/// Lifecycle of the process. Clones share the same state.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    draining: CancellationToken,
    stopping: CancellationToken,
    tasks: TaskTracker,
    phase: AtomicU8,
    failed: AtomicBool,
}

/// Phase of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not ready yet.
    Starting,
    /// Serves requests.
    Ready,
    /// Shutting down: completes current work and accepts no new work.
    Draining,
}

impl Lifecycle {
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.0.draining.is_cancelled() {
            Phase::Draining
        } else if self.0.phase.load(Ordering::Acquire) == 1 {
            Phase::Ready
        } else {
            Phase::Starting
        }
    }

    /// Marks the process as ready.
    pub fn set_ready(&self) {
        self.0.phase.store(1, Ordering::Release);
    }

    /// Cancelled when the drain starts: listeners close, streams send their close notice.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.0.draining
    }

    /// Cancelled when all listeners are closed: collectors end, the writer flushes.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// Spawns a task that [`Lifecycle::stopped`] waits for. The task must end when one of the tokens is cancelled.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        self.0.tasks.spawn(task)
    }

    /// Spawns a task that must run until the shutdown. If it returns or panics earlier, the process drains and exits
    /// with a non-zero code.
    pub fn spawn_essential<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let lifecycle = self.clone();
        let task = self.0.tasks.spawn(task);
        self.0.tasks.spawn(async move {
            let ended = task.await;
            if !lifecycle.0.draining.is_cancelled() && !lifecycle.0.stopping.is_cancelled() {
                let panicked = ended.is_err();
                tracing::error!(task = name, panicked, "essential task ended unexpectedly, shutting down");
                lifecycle.fail();
            }
        });
    }

    /// Starts the drain; the process exits with a non-zero code.
    pub fn fail(&self) {
        self.0.failed.store(true, Ordering::Release);
        self.0.draining.cancel();
    }

    /// Whether the process exits with a non-zero code.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.failed.load(Ordering::Acquire)
    }

    /// Starts the drain.
    pub fn drain(&self) {
        self.0.draining.cancel();
    }

    /// Starts the second phase of the shutdown, after the listeners are closed: all remaining tasks stop.
    pub fn stop(&self) {
        self.0.draining.cancel();
        self.0.stopping.cancel();
    }

    /// Waits until all tasks have ended.
    pub async fn stopped(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::model::Timestamp;

    #[tokio::test]
    async fn restarts_panicked_task_with_increasing_delay() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let runs = Arc::new(AtomicUsize::new(0));
        let make = {
            let runs = Arc::clone(&runs);
            move || {
                let run = runs.fetch_add(1, Ordering::Relaxed);
                async move { assert!(run >= 2, "panic on purpose") }
            }
        };
        let ended = tokio::spawn({
            let clock = clock.clone();
            async move { restart_on_panic("test", &clock, make).await }
        });
        while !ended.is_finished() {
            clock.advance(Duration::from_millis(500)).await;
        }
        assert_eq!(runs.load(Ordering::Relaxed), 3);
        assert!(clock.elapsed() >= Duration::from_secs(3), "the delays increase");
    }
}
