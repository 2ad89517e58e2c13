//! From start to end: who runs, who must stop, and what the process says of itself.
//!
//! The first signal drains: `readyz` turns 503, sockets get their notice, the writer flushes. The second signal, or the
//! end of the grace, kills. A supervised task that ends unasked makes the process end with a failing code.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;

/// The first pause before a task is started again, and the longest.
const RESTART: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Runs what `make` gives until it returns. Each time that it panics, it says so and runs another one, after a pause that
/// grows. Dropping the future ends the task.
pub async fn outlive_panics<F>(name: &'static str, clock: &Clock, mut make: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut pause = RESTART.0;
    loop {
        let mut task = JoinSet::new();
        task.spawn(make());
        let Some(Err(error)) = task.join_next().await else { return };
        tracing::error!(task = name, %error, restart_in = ?pause, "a task panicked: it is started again");
        clock.sleep(pause).await;
        pause = (pause * 2).min(RESTART.1);
    }
}

/// The process' life; clones are the same life.
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

/// Where in its life the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not ready for the first time yet.
    Starting,
    /// Serving.
    Ready,
    /// Asked to end: finishes what it has and takes nothing new.
    Draining,
}

impl Lifecycle {
    /// Where in its life the process is.
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

    /// Everything that must stand stands.
    pub fn set_ready(&self) {
        self.0.phase.store(1, Ordering::Release);
    }

    /// Cancelled when the process was asked to end: doors close, streams take their leave.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.0.draining
    }

    /// Cancelled when the doors are shut: collectors end, the writer flushes.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// Runs a task that [`Lifecycle::stopped`] waits for. It watches one of the tokens and ends by itself.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        self.0.tasks.spawn(task)
    }

    /// Runs a task that must not end before the process does. If it does, by returning or by a panic, the process
    /// drains and ends with a failing code.
    pub fn spawn_essential<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let life = self.clone();
        let task = self.0.tasks.spawn(task);
        self.0.tasks.spawn(async move {
            let ended = task.await;
            if !life.0.draining.is_cancelled() && !life.0.stopping.is_cancelled() {
                let panicked = ended.is_err();
                tracing::error!(task = name, panicked, "a task that must run ended unasked: shutting down");
                life.fail();
            }
        });
    }

    /// Asks the process to end with a failing code.
    pub fn fail(&self) {
        self.0.failed.store(true, Ordering::Release);
        self.0.draining.cancel();
    }

    /// Whether the process shall end with a failing code.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.failed.load(Ordering::Acquire)
    }

    /// Asks the process to end.
    pub fn drain(&self) {
        self.0.draining.cancel();
    }

    /// The doors are shut: asks everything else to end.
    pub fn stop(&self) {
        self.0.draining.cancel();
        self.0.stopping.cancel();
    }

    /// Waits until every task has ended.
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
    async fn a_task_that_panics_is_started_again() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let runs = Arc::new(AtomicUsize::new(0));
        let make = {
            let runs = Arc::clone(&runs);
            move || {
                let run = runs.fetch_add(1, Ordering::Relaxed);
                async move { assert!(run >= 2, "an absurd number") }
            }
        };
        let ended = tokio::spawn({
            let clock = clock.clone();
            async move { outlive_panics("test", &clock, make).await }
        });
        while !ended.is_finished() {
            clock.advance(Duration::from_millis(500)).await;
        }
        assert_eq!(runs.load(Ordering::Relaxed), 3);
        assert!(clock.elapsed() >= Duration::from_secs(3), "the pauses grow");
    }
}
