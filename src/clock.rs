//! The only source of time and randomness.
//!
//! All code reads the time, sleeps and draws random numbers through a [`Clock`]. Unit tests use a clock that they
//! advance manually, system tests use one that runs faster than real time.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::model::{Interval, Timestamp};

/// If wall-clock and monotonic time diverge by this much at once, the clock was set or the machine was suspended.
pub const CLOCK_JUMP: Duration = Duration::from_secs(5);

/// A clock. Clones share the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>, Arc<AtomicI64>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    rng: Mutex<StdRng>,
}

#[derive(Debug)]
enum Kind {
    /// The machine's time, `speed` times as fast since `origin`, which is `offset` before `started`.
    Running { origin: Timestamp, offset: Duration, started: tokio::time::Instant, speed: f64 },
    /// Stands still until a test advances it.
    Manual(Mutex<Manual>),
}

#[derive(Debug)]
struct Manual {
    origin: Timestamp,
    elapsed: Duration,
    next_id: u64,
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

/// Adapter for the `governor` rate limiter library; uses [`Clock::elapsed`].
#[derive(Clone, Debug)]
pub struct GovernorClock(pub Clock);

impl governor::clock::Clock for GovernorClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A timeout expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct TimedOut;

/// A sleep that can be stored: see [`Clock::timer`].
pub type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Clock {
    /// The machine's time.
    #[must_use]
    pub fn system() -> Self {
        Self::running(1.0)
    }

    /// A clock that runs `speed` times as fast since the start of the month, so that all processes of a test, including
    /// restarted ones, agree on the time.
    #[must_use]
    pub fn scaled(speed: f64) -> Self {
        Self::running(speed)
    }

    #[expect(clippy::disallowed_methods, reason = "the only place that reads monotonic time and OS entropy")]
    fn running(speed: f64) -> Self {
        let origin = Interval::Mo1.floor(machine_time());
        let offset = machine_time().since(origin);
        let kind = Kind::Running { origin, offset, started: tokio::time::Instant::now(), speed };
        Self(Arc::new(Inner { kind, rng: Mutex::new(StdRng::from_os_rng()) }), Arc::default())
    }

    /// A clock that stands at `origin` until [`Clock::advance`] is called. Its random numbers have a fixed seed.
    #[must_use]
    pub fn manual(origin: Timestamp) -> Self {
        let manual = Manual { origin, elapsed: Duration::ZERO, next_id: 0, sleepers: BTreeMap::new() };
        let rng = Mutex::new(StdRng::seed_from_u64(1));
        Self(Arc::new(Inner { kind: Kind::Manual(Mutex::new(manual)), rng }), Arc::default())
    }

    /// A clock that runs with this one, but whose wall-clock time is `millis` milliseconds ahead (behind if negative).
    /// Simulates a machine whose clock is wrong. For tests.
    #[must_use]
    pub fn shifted(&self, millis: i64) -> Self {
        let shift = self.1.load(Ordering::Relaxed).saturating_add(millis);
        Self(Arc::clone(&self.0), Arc::new(AtomicI64::new(shift)))
    }

    /// Steps the wall-clock time of this clock and its clones by `millis` milliseconds. Simulates a clock change by an
    /// administrator or a suspended machine. For tests.
    pub fn step(&self, millis: i64) {
        self.1.fetch_add(millis, Ordering::Relaxed);
    }

    /// Drift of the wall-clock time relative to [`Clock::elapsed`] since the creation of this clock, in milliseconds.
    /// It changes slowly while the machine's clock is slewed, and jumps when the clock is set or the machine is
    /// suspended: on Linux, the monotonic time excludes suspension.
    /// <https://man7.org/linux/man-pages/man2/clock_gettime.2.html>
    #[must_use]
    pub fn drift(&self) -> i64 {
        let shift = self.1.load(Ordering::Relaxed);
        match &self.0.kind {
            Kind::Running { origin, offset, started, speed: 1.0 } => {
                let monotonic = *origin + offset.saturating_add(started.elapsed());
                machine_time().millis().saturating_sub(monotonic.millis()).saturating_add(shift)
            }
            Kind::Running { .. } | Kind::Manual(_) => shift,
        }
    }

    /// The wall-clock time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = match &self.0.kind {
            // At real speed, read the machine's wall clock, to include its corrections.
            Kind::Running { speed: 1.0, .. } => machine_time(),
            Kind::Running { origin, offset, started, speed } => {
                *origin + offset.saturating_add(started.elapsed()).mul_f64(*speed)
            }
            Kind::Manual(manual) => {
                let manual = manual.lock();
                manual.origin + manual.elapsed
            }
        };
        Timestamp::from_millis(now.millis().saturating_add(self.1.load(Ordering::Relaxed)))
    }

    /// Time since the creation of this clock; monotonic.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match &self.0.kind {
            Kind::Running { started, speed, .. } => started.elapsed().mul_f64(*speed),
            Kind::Manual(manual) => manual.lock().elapsed,
        }
    }

    /// Converts a duration of this clock to real time. For durations that another process measures, such as Redis: a
    /// scaled clock does not apply there.
    #[must_use]
    pub fn to_real_time(&self, duration: Duration) -> Duration {
        match &self.0.kind {
            Kind::Running { speed, .. } => duration.div_f64(*speed),
            Kind::Manual(_) => duration,
        }
    }

    /// Converts a duration of real time to this clock's time.
    #[must_use]
    pub fn to_clock_time(&self, duration: Duration) -> Duration {
        match &self.0.kind {
            Kind::Running { speed, .. } => duration.mul_f64(*speed),
            Kind::Manual(_) => duration,
        }
    }

    /// Waits for `duration` of this clock's time.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0.kind {
            Kind::Running { speed, .. } => {
                #[expect(clippy::disallowed_methods, reason = "the only place that sleeps")]
                tokio::time::sleep(duration.div_f64(*speed)).await;
            }
            Kind::Manual(manual) => {
                let until = manual.lock().elapsed.saturating_add(duration);
                Sleeper { clock: self, until, id: None }.await;
            }
        }
    }

    /// A sleep as a value that can be stored and polled repeatedly.
    #[must_use]
    pub fn timer(&self, duration: Duration) -> Timer {
        let clock = self.clone();
        Box::pin(async move { clock.sleep(duration).await })
    }

    /// Waits until the wall-clock time is `at`; returns immediately if it has passed.
    pub async fn sleep_until(&self, at: Timestamp) {
        self.sleep(at.since(self.now())).await;
    }

    /// Runs `future` for at most `limit` of this clock's time.
    ///
    /// # Errors
    /// [`TimedOut`] if the limit expires first; the future is dropped.
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, TimedOut> {
        tokio::select! {
            biased;
            output = future => Ok(output),
            () = self.sleep(limit) => Err(TimedOut),
        }
    }

    /// A random duration in `[Duration::ZERO, max]`, for jitter.
    #[must_use]
    pub fn jitter(&self, max: Duration) -> Duration {
        max.mul_f64(self.0.rng.lock().random_range(0.0..=1.0))
    }

    /// A random number, for ids that must differ between processes.
    #[must_use]
    pub fn random_u64(&self) -> u64 {
        self.0.rng.lock().random()
    }

    /// Advances a manual clock. Wakes each sleeper at its time and lets all tasks of a current-thread runtime run in
    /// between. Has no effect on a running clock.
    pub async fn advance(&self, by: Duration) {
        let Kind::Manual(manual) = &self.0.kind else { return };
        settle().await;
        let target = manual.lock().elapsed + by;
        loop {
            let due = {
                let mut manual = manual.lock();
                match manual.sleepers.first_key_value() {
                    Some((&(until, _), _)) if until <= target => {
                        manual.elapsed = manual.elapsed.max(until);
                        manual.sleepers.pop_first().map(|(_, waker)| waker)
                    }
                    _ => {
                        manual.elapsed = target;
                        None
                    }
                }
            };
            match due {
                Some(waker) => waker.wake(),
                None => break,
            }
            settle().await;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the only place that reads the wall clock")]
fn machine_time() -> Timestamp {
    Timestamp::from_millis(chrono::Utc::now().timestamp_millis())
}

/// Lets every ready task of a current-thread runtime run.
async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

struct Sleeper<'a> {
    clock: &'a Clock,
    until: Duration,
    id: Option<u64>,
}

impl Future for Sleeper<'_> {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Kind::Manual(manual) = &self.clock.0.kind else { return Poll::Ready(()) };
        let mut manual = manual.lock();
        if manual.elapsed >= self.until {
            return Poll::Ready(());
        }
        let id = self.id.unwrap_or_else(|| {
            manual.next_id += 1;
            manual.next_id
        });
        manual.sleepers.insert((self.until, id), context.waker().clone());
        drop(manual);
        self.id = Some(id);
        Poll::Pending
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        if let (Some(id), Kind::Manual(manual)) = (self.id, &self.clock.0.kind) {
            manual.lock().sleepers.remove(&(self.until, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn manual_clock_wakes_sleepers_in_order() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let order = Arc::new(Mutex::new(Vec::new()));
        for secs in [3, 1, 2] {
            let (clock, order) = (clock.clone(), Arc::clone(&order));
            tokio::spawn(async move {
                clock.sleep(Duration::from_secs(secs)).await;
                order.lock().push((secs, clock.now().millis()));
            });
        }
        clock.advance(Duration::from_millis(2_500)).await;
        assert_eq!(*order.lock(), [(1, 1_000), (2, 2_000)]);
        assert_eq!(clock.now().millis(), 2_500);
        clock.advance(Duration::from_millis(500)).await;
        assert_eq!(order.lock().len(), 3);
    }

    #[tokio::test]
    async fn timeout_ends_hanging_future() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let hanging = clock.timeout(Duration::from_secs(1), std::future::pending::<()>());
        let (result, ()) = tokio::join!(hanging, clock.advance(Duration::from_secs(1)));
        assert_eq!(result, Err(TimedOut));
    }

    #[tokio::test]
    async fn shifted_clock_runs_with_original() {
        let clock = Clock::manual(Timestamp::from_secs(1_000));
        let ahead = clock.shifted(90_000);
        clock.advance(Duration::from_secs(5)).await;
        assert_eq!((clock.now(), ahead.now()), (Timestamp::from_secs(1_005), Timestamp::from_secs(1_095)));
        assert_eq!((ahead.elapsed(), ahead.drift()), (clock.elapsed(), 90_000));
        ahead.clone().step(-100_000);
        assert_eq!((clock.now(), ahead.now()), (Timestamp::from_secs(1_005), Timestamp::from_secs(995)));
        assert!(Clock::system().drift().abs() < 1_000);
    }

    #[tokio::test]
    async fn scaled_clock_runs_faster() {
        let clock = Clock::scaled(10_000.0);
        let before = clock.now();
        clock.sleep(Duration::from_secs(20)).await;
        assert!(clock.now().since(before) >= Duration::from_secs(20));
    }
}
