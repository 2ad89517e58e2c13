//! Rate limiter for one scope of an exchange: budget, queue and circuit breaker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::window::Window;
use super::{MAX_BAN, Priority};
use crate::cache::{BudgetDecision, BudgetRequest, Budgets};
use crate::clock::Clock;
use crate::exchanges::RateLimit;
use crate::model::{BudgetState, ExchangeId, Timestamp};

/// Maximum time that a call waits in the queue.
const MAX_QUEUE_TIME: Duration = Duration::from_secs(30);

/// Maximum time that a background call waits in the queue: its series is locked in the meantime.
const MAX_BACKGROUND_QUEUE_TIME: Duration = Duration::from_secs(2);

/// Retry delay of a background call that timed out in the queue.
const BACKGROUND_RETRY: Duration = Duration::from_millis(100);

/// Upper bound for pauses that double after repeated rejections without a `Retry-After`.
const MAX_DOUBLED_PAUSE: Duration = Duration::from_mins(10);

/// A scope's budget, shared by all callers: the highest priority goes first, within a priority first come first served.
pub(super) struct RateLimiter {
    scope: &'static RateLimit,
    clock: Clock,
    state: Mutex<State>,
    /// Notified when the queue changes or the breaker opens.
    changed: Notify,
    /// The budget that processes behind the same address share.
    shared: Option<SharedBudget>,
}

/// An exchange's budget that several processes share.
#[derive(Clone)]
pub(super) struct SharedBudget {
    pub exchange: ExchangeId,
    pub budgets: Arc<dyn Budgets>,
}

struct State {
    window: Window,
    /// The breaker is open until then, by the clock's `elapsed`.
    open_until: Duration,
    /// How long the breaker was last opened without a `Retry-After`.
    pause: Duration,
    /// The weights of the waiting calls, in the order in which they go.
    queue: BTreeMap<QueuePosition, u32>,
    /// Number of calls that were queued so far.
    queued: u64,
}

/// Position of a call in the queue: priority, then arrival.
type QueuePosition = (Priority, u64);

/// No call is admitted before this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deferred(pub Timestamp);

impl RateLimiter {
    pub fn new(scope: &'static RateLimit, clock: Clock, shared: Option<SharedBudget>) -> Self {
        let window = Window::new(scope.limit, scope.window);
        let state =
            State { window, open_until: Duration::ZERO, pause: Duration::ZERO, queue: BTreeMap::new(), queued: 0 };
        Self { scope, clock, state: Mutex::new(state), changed: Notify::new(), shared }
    }

    pub const fn scope(&self) -> &'static RateLimit {
        self.scope
    }

    /// Waits until `weight` can be spent, and spends it.
    pub async fn acquire(&self, weight: u32, priority: Priority) -> Result<(), Deferred> {
        let queued = self.enqueue(weight, priority)?;
        let is_background = priority == Priority::Background;
        let timeout = if is_background { MAX_BACKGROUND_QUEUE_TIME } else { MAX_QUEUE_TIME };
        match self.clock.timeout(timeout, self.wait_in_queue(&queued, weight)).await {
            Ok(acquired) => acquired,
            Err(_) => Err(self.deferred(if is_background { BACKGROUND_RETRY } else { self.scope.window })),
        }
    }

    /// Joins the queue. Fails at once if the expected wait exceeds [`MAX_QUEUE_TIME`].
    fn enqueue(&self, weight: u32, priority: Priority) -> Result<Queued<'_>, Deferred> {
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        state.check_breaker(now).map_err(|open| self.deferred(open))?;
        let position = (priority, state.queued);
        if priority != Priority::Background {
            let ahead = state.queue.range(..=position).fold(weight, |sum, (_, other)| sum.saturating_add(*other));
            let max = state.max_used(priority);
            let wait = state.window.wait_within(now, ahead, max);
            if wait > MAX_QUEUE_TIME {
                return Err(self.deferred(wait));
            }
        }
        state.queued += 1;
        state.queue.insert(position, weight);
        drop(state);
        // Another call may be first in the queue now.
        self.changed.notify_waiters();
        Ok(Queued { limiter: self, position })
    }

    async fn wait_in_queue(&self, queued: &Queued<'_>, weight: u32) -> Result<(), Deferred> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let now = self.clock.elapsed();
            let first = {
                let mut state = self.state.lock();
                state.check_breaker(now).map_err(|open| self.deferred(open))?;
                let is_first = state.queue.first_key_value().is_some_and(|(position, _)| *position == queued.position);
                let max = state.max_used(queued.position.0);
                is_first.then(|| (state.window.wait_within(now, weight.min(max), max), state.window.used(now), max))
            };
            let wait = match first {
                None => {
                    changed.await;
                    continue;
                }
                Some((wait, used, max)) if wait.is_zero() => self.spend_shared(weight, used, max).await?,
                Some((wait, ..)) => wait,
            };
            if wait.is_zero() && self.state.lock().window.take(self.clock.elapsed(), weight).is_ok() {
                return Ok(());
            }
            tokio::select! {
                () = self.clock.sleep(wait) => {}
                () = changed => {}
            }
        }
    }

    /// Spends `weight` of the shared budget, or returns the time until it can be spent. If there is no shared budget or
    /// it cannot be reached, the local count decides.
    async fn spend_shared(&self, weight: u32, used: u32, max: u32) -> Result<Duration, Deferred> {
        let Some(SharedBudget { exchange, budgets }) = &self.shared else { return Ok(Duration::ZERO) };
        let RateLimit { name, window, .. } = *self.scope;
        let request = BudgetRequest {
            exchange: *exchange,
            scope: name,
            weight,
            max_per_window: max,
            window,
            used_locally: used,
            ban_remaining: Duration::ZERO,
        };
        match budgets.spend(request).await {
            Ok(BudgetDecision::Granted) | Err(_) => Ok(Duration::ZERO),
            Ok(BudgetDecision::RetryAfter(wait)) => Ok(wait.max(Duration::from_millis(1))),
            Ok(BudgetDecision::Banned(left)) => {
                let now = self.clock.elapsed();
                let mut state = self.state.lock();
                state.open_until = state.open_until.max(now + left.min(MAX_BAN));
                Err(self.deferred(left))
            }
        }
    }

    /// Spends `weight` without waiting.
    pub fn try_acquire(&self, weight: u32) -> Result<(), Deferred> {
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        state.check_breaker(now).and_then(|()| state.window.take(now, weight)).map_err(|wait| self.deferred(wait))
    }

    /// Records that a call that was admitted at or before `sent` was answered, or failed, now.
    pub fn record_reply(&self, sent: Duration, weight: u32) {
        let now = self.clock.elapsed();
        self.state.lock().window.record_reply(sent, now, weight);
        // The call may expire from the window earlier than assumed.
        self.changed.notify_waiters();
    }

    /// Takes over the usage that the exchange reports, if it is higher than the local count.
    pub fn raise_used(&self, used: u32) {
        let now = self.clock.elapsed();
        self.state.lock().window.raise_to(now, used);
    }

    /// Opens the breaker because the exchange rejected a call for its rate limit: for `retry_after`, else for
    /// `default`. If the exchange rejects again soon after that, the pause without a `retry_after` doubles. Returns the
    /// end.
    pub fn record_rejection(&self, retry_after: Option<Duration>, default: Duration) -> Timestamp {
        let now = self.clock.elapsed();
        let pause = {
            let mut state = self.state.lock();
            // Calls that were in flight together are rejected together: that is one rejection.
            let is_open = now < state.open_until;
            let is_soon = now < state.open_until + state.pause;
            state.pause = match state.pause {
                pause if is_open => pause.max(default),
                pause if is_soon => (pause * 2).clamp(default, MAX_DOUBLED_PAUSE.max(default)),
                _ => default,
            };
            state.pause
        };
        self.open_breaker(retry_after.unwrap_or(pause))
    }

    /// Opens the breaker for `pause`, unless it is already open for longer. Returns the end.
    pub fn open_breaker(&self, pause: Duration) -> Timestamp {
        let pause = pause.clamp(Duration::from_secs(1), MAX_BAN);
        if let Some(SharedBudget { exchange, budgets }) = &self.shared {
            let (exchange, budgets, scope) = (*exchange, Arc::clone(budgets), self.scope.name);
            // A process that misses this is rejected by the exchange itself.
            tokio::spawn(async move { budgets.ban(exchange, scope, pause).await });
        }
        let now = self.clock.elapsed();
        let open_until = {
            let mut state = self.state.lock();
            state.open_until = state.open_until.max(now + pause);
            state.open_until
        };
        // Waiting calls fail now.
        self.changed.notify_waiters();
        self.clock.now() + open_until.saturating_sub(now)
    }

    pub fn state(&self) -> BudgetState {
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        let open = state.open_until.saturating_sub(now);
        BudgetState {
            scope: self.scope.name.into(),
            limit: state.window.limit(),
            window: self.scope.window,
            used: state.window.used(now),
            open_at: (!open.is_zero()).then(|| self.clock.now() + open),
        }
    }

    fn deferred(&self, wait: Duration) -> Deferred {
        Deferred(self.clock.now() + wait)
    }
}

impl State {
    /// Fails while the breaker is open, with the time until it closes.
    fn check_breaker(&self, now: Duration) -> Result<(), Duration> {
        match self.open_until.saturating_sub(now) {
            Duration::ZERO => Ok(()),
            open => Err(open),
        }
    }

    /// Maximum usage per window for a call of this priority to go.
    const fn max_used(&self, priority: Priority) -> u32 {
        let target = self.window.target();
        match priority {
            Priority::Live | Priority::Repair => target,
            Priority::ClientRequest => target - target / 6,
            Priority::Background => target - target / 3,
        }
    }
}

/// A queued call. Leaves the queue when dropped.
struct Queued<'a> {
    limiter: &'a RateLimiter,
    position: QueuePosition,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.limiter.state.lock().queue.remove(&self.position);
        self.limiter.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
