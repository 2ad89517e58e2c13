//! One metered scope of an exchange: its budget, the queue for it, and the breaker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::window::Window;
use super::{LONGEST_BAN, Urgency};
use crate::cache::{Budgets, Spend, Spent};
use crate::clock::Clock;
use crate::exchanges::Scope;
use crate::model::{BudgetState, ExchangeId, Timestamp};

/// The longest that a call waits for its turn.
const LONGEST_TURN: Duration = Duration::from_secs(30);

/// The longest that a background call waits for its turn: meanwhile its series is busy.
const LONGEST_BACKGROUND_TURN: Duration = Duration::from_secs(2);

/// After so long a background call that did not get its turn tries again.
const BEHIND: Duration = Duration::from_millis(100);

/// The longest that a pause grows by refusals that name no time.
const LONGEST_DOUBLED: Duration = Duration::from_mins(10);

/// A scope's budget, shared by all callers: the most urgent goes first, and of those the one that came first.
pub(super) struct Meter {
    scope: &'static Scope,
    clock: Clock,
    state: Mutex<State>,
    /// The queue has changed, or the breaker opened.
    changed: Notify,
    /// Other processes behind the same address.
    others: Option<Others>,
}

/// Who else uses an exchange's limits.
#[derive(Clone)]
pub(super) struct Others {
    pub exchange: ExchangeId,
    pub budgets: Arc<dyn Budgets>,
}

struct State {
    window: Window,
    /// Until when nothing is sent, by the clock's `elapsed`.
    open_until: Duration,
    /// How long the breaker was last opened for where the exchange named no time.
    pause: Duration,
    /// The weight of each call that waits, in the order in which they go.
    queue: BTreeMap<Turn, u32>,
    /// How many calls have waited so far.
    turns: u64,
}

/// The place of a call in the queue.
type Turn = (Urgency, u64);

/// The exchange holds us back until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldBack(pub Timestamp);

impl Meter {
    pub fn new(scope: &'static Scope, clock: Clock, others: Option<Others>) -> Self {
        let window = Window::new(scope.limit, scope.window);
        let state =
            State { window, open_until: Duration::ZERO, pause: Duration::ZERO, queue: BTreeMap::new(), turns: 0 };
        Self { scope, clock, state: Mutex::new(state), changed: Notify::new(), others }
    }

    pub const fn scope(&self) -> &'static Scope {
        self.scope
    }

    /// Waits until `weight` may be spent, and spends it.
    pub async fn admit(&self, weight: u32, urgency: Urgency) -> Result<(), HeldBack> {
        let queued = self.enter(weight, urgency)?;
        let is_background = urgency == Urgency::Background;
        let longest = if is_background { LONGEST_BACKGROUND_TURN } else { LONGEST_TURN };
        match self.clock.timeout(longest, self.take_turn(&queued, weight)).await {
            Ok(admitted) => admitted,
            Err(_) => Err(self.held_back(if is_background { BEHIND } else { self.scope.window })),
        }
    }

    /// Joins the queue, unless the wait would be too long: who hears that at once need not wait to hear it.
    fn enter(&self, weight: u32, urgency: Urgency) -> Result<Queued<'_>, HeldBack> {
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        state.breaker(now).map_err(|open| self.held_back(open))?;
        let turn = (urgency, state.turns);
        if urgency != Urgency::Background {
            let ahead = state.queue.range(..=turn).fold(weight, |sum, (_, other)| sum.saturating_add(*other));
            let most = state.most(urgency);
            let wait = state.window.forecast_within(now, ahead, most);
            if wait > LONGEST_TURN {
                return Err(self.held_back(wait));
            }
        }
        state.turns += 1;
        state.queue.insert(turn, weight);
        drop(state);
        // Who was first may be so no longer.
        self.changed.notify_waiters();
        Ok(Queued { meter: self, turn })
    }

    async fn take_turn(&self, queued: &Queued<'_>, weight: u32) -> Result<(), HeldBack> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let now = self.clock.elapsed();
            let first = {
                let mut state = self.state.lock();
                state.breaker(now).map_err(|open| self.held_back(open))?;
                let is_first = state.queue.first_key_value().is_some_and(|(turn, _)| *turn == queued.turn);
                let most = state.most(queued.turn.0);
                is_first
                    .then(|| (state.window.forecast_within(now, weight.min(most), most), state.window.used(now), most))
            };
            let wait = match first {
                None => {
                    changed.await;
                    continue;
                }
                Some((wait, used, most)) if wait.is_zero() => self.ask_others(weight, used, most).await?,
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

    /// Spends `weight` of what all behind this address may, or says how long it takes until it can be. Where nobody knows
    /// of the others this process goes by its own count.
    async fn ask_others(&self, weight: u32, used: u32, most: u32) -> Result<Duration, HeldBack> {
        let Some(Others { exchange, budgets }) = &self.others else { return Ok(Duration::ZERO) };
        let Scope { name, window, .. } = *self.scope;
        let spend = Spend { exchange: *exchange, scope: name, weight, most, window, used, banned: Duration::ZERO };
        match budgets.spend(spend).await {
            Ok(Spent::Now) | Err(_) => Ok(Duration::ZERO),
            Ok(Spent::Later(wait)) => Ok(wait.max(Duration::from_millis(1))),
            Ok(Spent::Banned(left)) => {
                let now = self.clock.elapsed();
                let mut state = self.state.lock();
                state.open_until = state.open_until.max(now + left.min(LONGEST_BAN));
                Err(self.held_back(left))
            }
        }
    }

    /// Spends `weight` without waiting.
    pub fn admit_now(&self, weight: u32) -> Result<(), HeldBack> {
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        state.breaker(now).and_then(|()| state.window.take(now, weight)).map_err(|wait| self.held_back(wait))
    }

    /// What was admitted by `sent` was replied to, or failed, now.
    pub fn replied(&self, sent: Duration, weight: u32) {
        let now = self.clock.elapsed();
        self.state.lock().window.replied(sent, now, weight);
        // It may count for a shorter time than was thought.
        self.changed.notify_waiters();
    }

    /// The exchange said what it counts.
    pub fn correct(&self, used: u32) {
        let now = self.clock.elapsed();
        self.state.lock().window.correct(now, used);
    }

    /// The exchange refused a call because there were too many. Stays away for as long as it `named`, else for the `usual`
    /// time; where it refuses again soon after that, for twice as long as before. Returns the end.
    pub fn refused(&self, named: Option<Duration>, usual: Duration) -> Timestamp {
        let now = self.clock.elapsed();
        let pause = {
            let mut state = self.state.lock();
            // Calls that were under way together are refused together.
            let is_open = now < state.open_until;
            let is_soon = now < state.open_until + state.pause;
            state.pause = match state.pause {
                pause if is_open => pause.max(usual),
                pause if is_soon => (pause * 2).clamp(usual, LONGEST_DOUBLED.max(usual)),
                _ => usual,
            };
            state.pause
        };
        self.open_breaker(named.unwrap_or(pause))
    }

    /// The exchange said to stay away for so long. An earlier, longer word stays. Returns the end.
    pub fn open_breaker(&self, pause: Duration) -> Timestamp {
        let pause = pause.clamp(Duration::from_secs(1), LONGEST_BAN);
        if let Some(Others { exchange, budgets }) = &self.others {
            let (exchange, budgets, scope) = (*exchange, Arc::clone(budgets), self.scope.name);
            // Who does not hear it hears it from the exchange.
            tokio::spawn(async move { budgets.ban(exchange, scope, pause).await });
        }
        let now = self.clock.elapsed();
        let open_until = {
            let mut state = self.state.lock();
            state.open_until = state.open_until.max(now + pause);
            state.open_until
        };
        // Those who wait need not wait to hear it.
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

    fn held_back(&self, wait: Duration) -> HeldBack {
        HeldBack(self.clock.now() + wait)
    }
}

impl State {
    /// Refuses while the breaker is open, with the time until it closes.
    fn breaker(&self, now: Duration) -> Result<(), Duration> {
        match self.open_until.saturating_sub(now) {
            Duration::ZERO => Ok(()),
            open => Err(open),
        }
    }

    /// The most that may be used in a window when a call of this urgency is let go.
    const fn most(&self, urgency: Urgency) -> u32 {
        let aim = self.window.aim();
        match urgency {
            Urgency::Live | Urgency::Repair => aim,
            Urgency::Asked => aim - aim / 6,
            Urgency::Background => aim - aim / 3,
        }
    }
}

/// A call in the queue; leaves it when dropped, however the waiting ends.
struct Queued<'a> {
    meter: &'a Meter,
    turn: Turn,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.meter.state.lock().queue.remove(&self.turn);
        self.meter.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
