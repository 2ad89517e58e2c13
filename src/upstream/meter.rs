//! One metered scope of an exchange: its budget, the queue for it, and the breaker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Urgency;
use super::window::Window;
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

/// The longest that a breaker stays open. Binance bans for three days at most:
/// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits>
const LONGEST_PAUSE: Duration = Duration::from_hours(72);

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
        let pause = pause.clamp(Duration::from_secs(1), LONGEST_PAUSE);
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
    async fn pauses_grow_while_the_exchange_goes_on_refusing() {
        let (meter, clock) = meter(10, 1);
        let usual = Duration::from_secs(5);
        for expected in [5, 10, 20, 40] {
            let until = meter.refused(None, usual);
            assert_eq!(until.since(clock.now()), Duration::from_secs(expected));
            // Another call that was under way at the time.
            assert_eq!(meter.refused(None, usual), until);
            clock.advance(until.since(clock.now())).await;
        }
        assert_eq!(meter.refused(Some(Duration::from_secs(7)), usual).since(clock.now()), Duration::from_secs(7));
        clock.advance(Duration::from_hours(1)).await;
        assert_eq!(meter.refused(None, usual).since(clock.now()), usual);
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

    /// A call that waits; leaves its name in `order` when it goes.
    fn wait_as(meter: &Arc<Meter>, order: &Arc<Mutex<Vec<&'static str>>>, name: &'static str, urgency: Urgency) {
        let (meter, order) = (Arc::clone(meter), Arc::clone(order));
        tokio::spawn(async move {
            if meter.admit(1, urgency).await.is_ok() {
                order.lock().push(name);
            }
        });
    }

    #[tokio::test]
    async fn with_a_queue_of_asked_calls_a_repair_goes_first_and_a_live_one_before_it() {
        let (meter, clock) = meter(1, 5);
        meter.admit_now(1).unwrap();
        let order = Arc::default();
        for name in ["asked 1", "asked 2", "asked 3"] {
            wait_as(&meter, &order, name, Urgency::Asked);
        }
        clock.advance(Duration::from_secs(1)).await;
        wait_as(&meter, &order, "repair", Urgency::Repair);
        clock.advance(Duration::from_secs(1)).await;
        wait_as(&meter, &order, "live", Urgency::Live);
        for _ in 0..30 {
            clock.advance(Duration::from_secs(1)).await;
        }
        assert_eq!(*order.lock(), ["live", "repair", "asked 1", "asked 2", "asked 3"]);
        assert!(meter.state.lock().queue.is_empty());
    }

    #[tokio::test]
    async fn what_clients_ask_for_leaves_something_to_repair() {
        let (meter, clock) = meter(20, 60);
        for _ in 0..15 {
            meter.admit(1, Urgency::Asked).await.unwrap();
        }
        let asked = tokio::spawn({
            let meter = Arc::clone(&meter);
            async move { meter.admit(1, Urgency::Asked).await }
        });
        clock.advance(Duration::from_secs(1)).await;
        assert!(asked.await.unwrap().is_err(), "it would wait for a minute");
        for urgency in [Urgency::Repair, Urgency::Repair, Urgency::Live] {
            meter.admit(1, urgency).await.unwrap();
        }
        assert_eq!(meter.state().used, 18);
    }

    /// Whatever comes in whatever order, and whoever leaves: of two that wait at the same time the more urgent goes first, all
    /// go or are refused in the end, and the queue is empty then.
    #[tokio::test]
    async fn no_order_of_calls_gets_stuck_or_lets_the_less_urgent_pass() {
        use Urgency::{Asked, Background, Live, Repair};
        const LEVELS: [Urgency; 4] = [Live, Repair, Asked, Background];
        let chance = Clock::manual(Timestamp::EPOCH);
        for _ in 0..40 {
            let (meter, clock) = meter(2, 1);
            let (done, mut calls) = (Arc::new(Mutex::new(Vec::new())), Vec::new());
            for id in 0..40_usize {
                #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
                let draw = chance.random_u64() as usize;
                let (urgency, at) = (LEVELS[draw % 4], clock.elapsed());
                let (own, done) = (Arc::clone(&meter), Arc::clone(&done));
                let call = tokio::spawn(async move {
                    let admitted = own.admit(1, urgency).await.is_ok();
                    done.lock().push((id, urgency, at, own.clock.elapsed(), admitted));
                });
                if draw.is_multiple_of(7) {
                    calls.push(call);
                }
                if draw.is_multiple_of(3) {
                    clock.advance(Duration::from_millis(200)).await;
                }
                if draw.is_multiple_of(11)
                    && let Some(left) = calls.pop()
                {
                    left.abort();
                }
            }
            for _ in 0..80 {
                clock.advance(Duration::from_secs(1)).await;
            }
            assert!(meter.state.lock().queue.is_empty(), "none waits for ever");
            let done = done.lock();
            for (_, urgency, began, ended, admitted) in done.iter() {
                // Someone more urgent who waited all the while, and still waited when this one went.
                let passed = done.iter().find(|(_, other, at, until, _)| {
                    other < urgency && at < began && until > &(*ended + Duration::from_millis(250))
                });
                assert!(!admitted || passed.is_none(), "{urgency:?} at {ended:?} passed {passed:?}");
            }
        }
    }
}
