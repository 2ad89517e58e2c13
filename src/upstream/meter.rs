//! One metered scope of an exchange: its budget, the queue for it, and the breaker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::Urgency;
use super::window::Window;
use crate::cache::{Budgets, Spend, Spent};
use crate::clock::Clock;
use crate::exchanges::Scope;
use crate::model::{BudgetState, ExchangeId, Timestamp};

/// The longest that a call waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest that a call that nobody waits for waits for its turn: meanwhile its series is busy.
const SPARE_PATIENCE: Duration = Duration::from_secs(2);

/// While others wait, what nobody waits for looks again after so long.
const BEHIND: Duration = Duration::from_millis(100);

/// The longest that a breaker stays open. Binance bans for three days at most:
/// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits>
const LONGEST_PAUSE: Duration = Duration::from_hours(72);

/// A scope's budget, shared by all callers: who came first goes first.
pub(super) struct Meter {
    scope: &'static Scope,
    clock: Clock,
    state: Mutex<State>,
    /// Held by the caller whose turn it is; hands itself on in the order of asking.
    turn: tokio::sync::Mutex<()>,
    /// The weight of all who wait.
    queued: AtomicU32,
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
}

/// The exchange holds us back until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldBack(pub Timestamp);

impl Meter {
    pub fn new(scope: &'static Scope, clock: Clock, others: Option<Others>) -> Self {
        let window = Window::new(scope.limit, scope.window);
        let state = Mutex::new(State { window, open_until: Duration::ZERO });
        Self { scope, clock, state, turn: tokio::sync::Mutex::new(()), queued: AtomicU32::new(0), others }
    }

    pub const fn scope(&self) -> &'static Scope {
        self.scope
    }

    /// Waits until `weight` may be spent, and spends it.
    pub async fn admit(&self, weight: u32, urgency: Urgency) -> Result<(), HeldBack> {
        match urgency {
            Urgency::Live => self.admit_live(weight).await,
            Urgency::Background => self.admit_spare(weight).await,
        }
    }

    async fn admit_live(&self, weight: u32) -> Result<(), HeldBack> {
        let asked_at = self.clock.elapsed();
        let in_queue = InQueue::enter(&self.queued, weight);
        {
            let mut state = self.state.lock();
            state.breaker(asked_at).map_err(|open| self.held_back(open))?;
            // Who would wait too long need not wait to hear it.
            let wait = state.window.forecast(asked_at, in_queue.total);
            if wait > PATIENCE {
                return Err(self.held_back(wait));
            }
        }
        let turns = async {
            let _turn = self.turn.lock().await;
            loop {
                let now = self.clock.elapsed();
                let (wait, used, most) = {
                    let mut state = self.state.lock();
                    state.breaker(now).map_err(|open| self.held_back(open))?;
                    let most = state.window.aim();
                    (state.window.forecast(now, weight.min(most)), state.window.used(now), most)
                };
                let wait = if wait.is_zero() { self.ask_others(weight, used, most).await? } else { wait };
                if wait.is_zero() && self.state.lock().window.take(self.clock.elapsed(), weight).is_ok() {
                    return Ok(());
                }
                self.clock.sleep(wait).await;
            }
        };
        match self.clock.timeout(PATIENCE, turns).await {
            Ok(admitted) => admitted,
            Err(_) => Err(self.held_back(self.scope.window)),
        }
    }

    /// Spends of what live data leave: behind all who wait, and never the last third.
    async fn admit_spare(&self, weight: u32) -> Result<(), HeldBack> {
        let turns = async {
            loop {
                let now = self.clock.elapsed();
                let (wait, used, most) = {
                    let mut state = self.state.lock();
                    state.breaker(now).map_err(|open| self.held_back(open))?;
                    let most = state.window.spare();
                    let behind = if self.queued.load(Ordering::Acquire) > 0 { BEHIND } else { Duration::ZERO };
                    let wait = state.window.forecast_within(now, weight.min(most), most);
                    (wait.max(behind), state.window.used(now), most)
                };
                let wait = if wait.is_zero() { self.ask_others(weight, used, most).await? } else { wait };
                if wait.is_zero() && self.state.lock().window.take(self.clock.elapsed(), weight).is_ok() {
                    return Ok(());
                }
                self.clock.sleep(wait).await;
            }
        };
        match self.clock.timeout(SPARE_PATIENCE, turns).await {
            Ok(admitted) => admitted,
            Err(_) => Err(self.held_back(BEHIND)),
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
                state.open_until = state.open_until.max(now + left.min(LONGEST_PAUSE));
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

    /// The exchange said what it counts.
    pub fn correct(&self, used: u32) {
        let now = self.clock.elapsed();
        self.state.lock().window.correct(now, used);
    }

    /// The exchange said to stay away for so long. An earlier, longer word stays. Returns the end.
    pub fn open_breaker(&self, pause: Duration) -> Timestamp {
        let pause = pause.clamp(Duration::from_secs(1), LONGEST_PAUSE);
        if let Some(Others { exchange, budgets }) = &self.others {
            let (exchange, budgets, scope) = (*exchange, Arc::clone(budgets), self.scope.name);
            // Who does not hear it hears it from the exchange.
            tokio::spawn(async move { budgets.ban(exchange, scope, pause).await });
        }
        let now = self.clock.elapsed();
        let mut state = self.state.lock();
        state.open_until = state.open_until.max(now + pause);
        self.clock.now() + state.open_until.saturating_sub(now)
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
}

/// Weight that waits; leaves the queue when dropped, however the waiting ends.
struct InQueue<'a> {
    queued: &'a AtomicU32,
    weight: u32,
    /// The weight that goes no later than ours, ours included.
    total: u32,
}

impl<'a> InQueue<'a> {
    fn enter(queued: &'a AtomicU32, weight: u32) -> Self {
        // Weights are small and callers few: the sum cannot reach the end of u32.
        let weight = weight.min(1_000_000);
        let total = queued.fetch_add(weight, Ordering::AcqRel).saturating_add(weight);
        Self { queued, weight, total }
    }
}

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        self.queued.fetch_sub(self.weight, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(limit: u32, secs: u64) -> (Arc<Meter>, Clock) {
        let clock = Clock::manual(Timestamp::EPOCH);
        let scope = Scope { name: "rest", limit, window: Duration::from_secs(secs), used_header: None };
        (Arc::new(Meter::new(Box::leak(Box::new(scope)), clock.clone(), None)), clock)
    }

    fn queue(meter: &Arc<Meter>, order: &Arc<Mutex<Vec<u32>>>, id: u32) -> tokio::task::JoinHandle<()> {
        let (meter, order) = (Arc::clone(meter), Arc::clone(order));
        tokio::spawn(async move {
            meter.admit(1, Urgency::Live).await.unwrap();
            order.lock().push(id);
        })
    }

    #[tokio::test]
    async fn who_came_first_goes_first_and_who_left_holds_nobody_up() {
        let (meter, clock) = meter(1, 5);
        meter.admit_now(1).unwrap();
        let order = Arc::default();
        let calls: Vec<_> = (0..4).map(|id| queue(&meter, &order, id)).collect();
        clock.advance(Duration::from_secs(1)).await;
        calls[0].abort();
        calls[2].abort();
        clock.advance(Duration::from_secs(5)).await;
        assert_eq!(*order.lock(), [1]);
        clock.advance(Duration::from_secs(6)).await;
        assert_eq!(*order.lock(), [1, 3]);
    }

    #[tokio::test]
    async fn who_would_wait_too_long_hears_it_at_once() {
        let (meter, clock) = meter(10, 20);
        let order = Arc::default();
        let calls: Vec<_> = (0..18).map(|id| queue(&meter, &order, id)).collect();
        clock.advance(Duration::from_millis(1)).await;
        assert_eq!(order.lock().len(), 9);
        assert_eq!(
            meter.admit(1, Urgency::Live).await,
            Err(HeldBack(Timestamp::from_millis(42_000))),
            "one in the third window"
        );
        clock.advance(Duration::from_secs(25)).await;
        assert_eq!(order.lock().len(), 18);
        drop(calls);
    }

    #[tokio::test]
    async fn an_open_breaker_refuses_those_who_wait_too() {
        let (meter, clock) = meter(1, 5);
        meter.admit_now(1).unwrap();
        let waiting = tokio::spawn({
            let meter = Arc::clone(&meter);
            async move { meter.admit(1, Urgency::Live).await }
        });
        clock.advance(Duration::from_secs(1)).await;
        let until = meter.open_breaker(Duration::from_mins(1));
        assert_eq!(until, Timestamp::from_millis(61_000));
        assert_eq!(meter.open_breaker(Duration::from_secs(2)), until, "the longer word stays");
        assert_eq!(meter.admit(1, Urgency::Live).await, Err(HeldBack(until)));
        assert_eq!(meter.state().open_at, Some(until));
        clock.advance(Duration::from_secs(10)).await;
        assert_eq!(waiting.await.unwrap(), Err(HeldBack(until)));
        clock.advance(Duration::from_secs(50)).await;
        assert_eq!(meter.admit(1, Urgency::Live).await, Ok(()));
        assert_eq!(meter.state().open_at, None);
    }

    /// Others who use the limit, as they are told to answer.
    struct Fake(Mutex<Vec<Result<Spent, crate::cache::CacheError>>>);

    #[async_trait::async_trait]
    impl Budgets for Fake {
        async fn spend(&self, _: Spend<'_>) -> Result<Spent, crate::cache::CacheError> {
            self.0.lock().remove(0)
        }
        async fn ban(&self, _: ExchangeId, _: &str, _: Duration) -> Result<(), crate::cache::CacheError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_others_use_is_waited_for_and_their_ban_is_ours() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let scope = Scope { name: "rest", limit: 10, window: Duration::from_mins(1), used_header: None };
        let answers = vec![
            Ok(Spent::Later(Duration::from_secs(5))),
            Ok(Spent::Now),
            Err(crate::cache::CacheError("away".to_owned())),
            Ok(Spent::Banned(Duration::from_secs(90))),
        ];
        let others = Others { exchange: ExchangeId::Binance, budgets: Arc::new(Fake(Mutex::new(answers))) };
        let meter = Arc::new(Meter::new(Box::leak(Box::new(scope)), clock.clone(), Some(others)));
        let waiting = tokio::spawn({
            let meter = Arc::clone(&meter);
            async move { meter.admit(1, Urgency::Live).await }
        });
        clock.advance(Duration::from_secs(4)).await;
        assert!(!waiting.is_finished(), "others have used it up");
        clock.advance(Duration::from_secs(2)).await;
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert_eq!(meter.admit(1, Urgency::Live).await, Ok(()), "where nobody knows of them, our own count holds");
        let until = Timestamp::from_millis(96_000);
        assert_eq!(meter.admit(1, Urgency::Live).await, Err(HeldBack(until)));
        assert_eq!(meter.state().open_at, Some(until));
        assert_eq!(meter.state().used, 2);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_leaves_a_third_and_goes_last() {
        let (meter, clock) = meter(10, 20);
        for _ in 0..6 {
            meter.admit(1, Urgency::Background).await.unwrap();
        }
        let spare = |meter: &Arc<Meter>| {
            let meter = Arc::clone(meter);
            tokio::spawn(async move { meter.admit(1, Urgency::Background).await })
        };
        let refused = spare(&meter);
        clock.advance(Duration::from_secs(3)).await;
        assert!(refused.await.unwrap().is_err(), "the last third is not for it");
        for _ in 0..3 {
            meter.admit(1, Urgency::Live).await.unwrap();
        }
        // Nothing is left; whoever is live and came later goes first all the same.
        let (order, last) = (Arc::default(), spare(&meter));
        let first = queue(&meter, &order, 1);
        clock.advance(Duration::from_secs(19)).await;
        assert_eq!((*order.lock()).as_slice(), [1]);
        first.await.unwrap();
        assert!(last.await.unwrap().is_err(), "it did not wait so long");
        assert_eq!(meter.admit(1, Urgency::Background).await, Ok(()));
    }
}
