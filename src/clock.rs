//! The only source of time and of chance.
//!
//! Everything that asks for the time, sleeps or draws a random number does it through a [`Clock`], so that tests of
//! in-memory parts move time by hand and whole-system tests run it faster.

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

/// A clock; clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>, Arc<AtomicI64>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    chance: Mutex<StdRng>,
}

#[derive(Debug)]
enum Kind {
    /// The machine's time, `speed` times as fast since `origin`, which lay `offset` before `started`.
    Running { origin: Timestamp, offset: Duration, started: tokio::time::Instant, speed: f64 },
    /// Stands still until a test moves it.
    Manual(Mutex<Manual>),
}

#[derive(Debug)]
struct Manual {
    origin: Timestamp,
    elapsed: Duration,
    next_id: u64,
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

/// A clock as the library of limits asks it: by [`Clock::elapsed`].
#[derive(Clone, Debug)]
pub struct GovernorClock(pub Clock);

impl governor::clock::Clock for GovernorClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Waiting took longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct TimedOut;

/// A sleep that is kept: see [`Clock::timer`].
pub type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Clock {
    /// The machine's own time.
    #[must_use]
    pub fn system() -> Self {
        Self::running(1.0)
    }

    /// A time-lapse that runs `speed` times as fast since the start of the month, so that all processes of a test
    /// agree on the time, restarted ones too.
    #[must_use]
    pub fn scaled(speed: f64) -> Self {
        Self::running(speed)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine for time and chance")]
    fn running(speed: f64) -> Self {
        let origin = Interval::Mo1.floor(machine_time());
        let offset = machine_time().since(origin);
        let kind = Kind::Running { origin, offset, started: tokio::time::Instant::now(), speed };
        Self(Arc::new(Inner { kind, chance: Mutex::new(StdRng::from_os_rng()) }), Arc::default())
    }

    /// A clock that stands at `origin` until [`Clock::advance`] moves it, with chance from a fixed seed.
    #[must_use]
    pub fn manual(origin: Timestamp) -> Self {
        let manual = Manual { origin, elapsed: Duration::ZERO, next_id: 0, sleepers: BTreeMap::new() };
        let chance = Mutex::new(StdRng::seed_from_u64(1));
        Self(Arc::new(Inner { kind: Kind::Manual(Mutex::new(manual)), chance }), Arc::default())
    }

    /// A clock that runs with this one, but whose wall-clock time is `millis` ahead of it (behind it where negative):
    /// a machine whose clock is wrong. For tests.
    #[must_use]
    pub fn shifted(&self, millis: i64) -> Self {
        let shift = self.1.load(Ordering::Relaxed).saturating_add(millis);
        Self(Arc::clone(&self.0), Arc::new(AtomicI64::new(shift)))
    }

    /// Steps the wall-clock time of this clock and its clones by `millis`, as an administrator or a sleep of the machine
    /// does. For tests.
    pub fn step(&self, millis: i64) {
        self.1.fetch_add(millis, Ordering::Relaxed);
    }

    /// How many milliseconds the wall-clock time has moved against [`Clock::elapsed`] since this clock was made. It
    /// changes slowly while the machine's clock is corrected smoothly, and jumps when the clock is set or the machine
    /// sleeps: the monotonic time does not count a sleep on Linux.
    /// <https://man7.org/linux/man-pages/man2/clock_gettime.2.html>
    #[must_use]
    pub fn drift(&self) -> i64 {
        let shift = self.1.load(Ordering::Relaxed);
        match &self.0.kind {
            Kind::Running { origin, offset, started, speed: 1.0 } => {
                let steady = *origin + offset.saturating_add(started.elapsed());
                machine_time().millis().saturating_sub(steady.millis()).saturating_add(shift)
            }
            Kind::Running { .. } | Kind::Manual(_) => shift,
        }
    }

    /// The wall-clock time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = match &self.0.kind {
            // At the machine's own pace its wall clock is followed, corrections and all.
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

    /// Time since this clock was made; never goes back.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match &self.0.kind {
            Kind::Running { started, speed, .. } => started.elapsed().mul_f64(*speed),
            Kind::Manual(manual) => manual.lock().elapsed,
        }
    }

    /// How long `duration` of this clock takes outside of this process: what a server counts for us runs on the
    /// machine's own time, also in a time-lapse.
    #[must_use]
    pub fn outside(&self, duration: Duration) -> Duration {
        match &self.0.kind {
            Kind::Running { speed, .. } => duration.div_f64(*speed),
            Kind::Manual(_) => duration,
        }
    }

    /// The other way round: how long `duration` outside is by this clock.
    #[must_use]
    pub fn inside(&self, duration: Duration) -> Duration {
        match &self.0.kind {
            Kind::Running { speed, .. } => duration.mul_f64(*speed),
            Kind::Manual(_) => duration,
        }
    }

    /// Waits for `duration` of this clock's time.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0.kind {
            Kind::Running { speed, .. } => {
                #[expect(clippy::disallowed_methods, reason = "this is the one place that sleeps")]
                tokio::time::sleep(duration.div_f64(*speed)).await;
            }
            Kind::Manual(manual) => {
                let until = manual.lock().elapsed.saturating_add(duration);
                Sleeper { clock: self, until, id: None }.await;
            }
        }
    }

    /// The same as a value that can be kept and polled again.
    #[must_use]
    pub fn timer(&self, duration: Duration) -> Timer {
        let clock = self.clone();
        Box::pin(async move { clock.sleep(duration).await })
    }

    /// Waits until this clock shows `at`; returns at once if it does already.
    pub async fn sleep_until(&self, at: Timestamp) {
        self.sleep(at.since(self.now())).await;
    }

    /// Gives `future` at most `limit` of this clock's time.
    ///
    /// # Errors
    /// [`TimedOut`] when the time is over first; the future is dropped.
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, TimedOut> {
        tokio::select! {
            biased;
            output = future => Ok(output),
            () = self.sleep(limit) => Err(TimedOut),
        }
    }

    /// A random duration in `[Duration::ZERO, below]`, for jitter.
    #[must_use]
    pub fn jitter(&self, below: Duration) -> Duration {
        below.mul_f64(self.0.chance.lock().random_range(0.0..=1.0))
    }

    /// A random number, for ids that must differ between processes.
    #[must_use]
    pub fn random_u64(&self) -> u64 {
        self.0.chance.lock().random()
    }

    /// Moves a manual clock forward, waking each sleeper at its own time and letting all tasks of a current-thread
    /// runtime run in between. Does nothing on a running clock.
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

#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine for the time")]
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
    async fn a_manual_clock_wakes_sleepers_in_their_order() {
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
    async fn a_timeout_ends_what_hangs() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let hanging = clock.timeout(Duration::from_secs(1), std::future::pending::<()>());
        let (result, ()) = tokio::join!(hanging, clock.advance(Duration::from_secs(1)));
        assert_eq!(result, Err(TimedOut));
    }

    #[tokio::test]
    async fn a_shifted_clock_runs_with_its_own() {
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
    async fn a_scaled_clock_runs_faster() {
        let clock = Clock::scaled(10_000.0);
        let before = clock.now();
        clock.sleep(Duration::from_secs(20)).await;
        assert!(clock.now().since(before) >= Duration::from_secs(20));
    }
}
