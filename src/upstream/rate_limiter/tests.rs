//! Order and duration of the waits, circuit breaker, shared budgets.

use super::*;

fn limiter(limit: u32, secs: u64) -> (Arc<RateLimiter>, Clock) {
    let clock = Clock::manual(Timestamp::EPOCH);
    let scope = RateLimit { name: "rest", limit, window: Duration::from_secs(secs), used_header: None };
    (Arc::new(RateLimiter::new(Box::leak(Box::new(scope)), clock.clone(), None)), clock)
}

fn spawn_call(limiter: &Arc<RateLimiter>, order: &Arc<Mutex<Vec<u32>>>, id: u32) -> tokio::task::JoinHandle<()> {
    let (limiter, order) = (Arc::clone(limiter), Arc::clone(order));
    tokio::spawn(async move {
        limiter.acquire(1, Priority::Live).await.unwrap();
        order.lock().push(id);
    })
}

#[tokio::test]
async fn calls_go_in_order_of_arrival_and_cancelled_calls_leave_the_queue() {
    let (limiter, clock) = limiter(1, 5);
    limiter.try_acquire(1).unwrap();
    let order = Arc::default();
    let calls: Vec<_> = (0..4).map(|id| spawn_call(&limiter, &order, id)).collect();
    clock.advance(Duration::from_secs(1)).await;
    calls[0].abort();
    calls[2].abort();
    clock.advance(Duration::from_secs(5)).await;
    assert_eq!(*order.lock(), [1]);
    clock.advance(Duration::from_secs(6)).await;
    assert_eq!(*order.lock(), [1, 3]);
}

#[tokio::test]
async fn call_with_too_long_a_wait_is_deferred_at_once() {
    let (limiter, clock) = limiter(10, 20);
    let order = Arc::default();
    let calls: Vec<_> = (0..18).map(|id| spawn_call(&limiter, &order, id)).collect();
    clock.advance(Duration::from_millis(1)).await;
    assert_eq!(order.lock().len(), 9);
    assert_eq!(
        limiter.acquire(1, Priority::Live).await,
        Err(Deferred(Timestamp::from_millis(42_000))),
        "one in the third window"
    );
    clock.advance(Duration::from_secs(25)).await;
    assert_eq!(order.lock().len(), 18);
    drop(calls);
}

#[tokio::test]
async fn pause_doubles_while_the_exchange_keeps_rejecting() {
    let (limiter, clock) = limiter(10, 1);
    let default = Duration::from_secs(5);
    for expected in [5, 10, 20, 40] {
        let until = limiter.record_rejection(None, default);
        assert_eq!(until.since(clock.now()), Duration::from_secs(expected));
        // Another call that was in flight at that time.
        assert_eq!(limiter.record_rejection(None, default), until);
        clock.advance(until.since(clock.now())).await;
    }
    assert_eq!(
        limiter.record_rejection(Some(Duration::from_secs(7)), default).since(clock.now()),
        Duration::from_secs(7)
    );
    clock.advance(Duration::from_hours(1)).await;
    assert_eq!(limiter.record_rejection(None, default).since(clock.now()), default);
}

#[tokio::test]
async fn open_breaker_defers_queued_calls() {
    let (limiter, clock) = limiter(1, 5);
    limiter.try_acquire(1).unwrap();
    let waiting = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { limiter.acquire(1, Priority::Live).await }
    });
    clock.advance(Duration::from_secs(1)).await;
    let until = limiter.open_breaker(Duration::from_mins(1));
    assert_eq!(until, Timestamp::from_millis(61_000));
    assert_eq!(limiter.open_breaker(Duration::from_secs(2)), until, "the longer pause stays");
    assert_eq!(limiter.acquire(1, Priority::Live).await, Err(Deferred(until)));
    assert_eq!(limiter.state().open_at, Some(until));
    clock.advance(Duration::from_secs(10)).await;
    assert_eq!(waiting.await.unwrap(), Err(Deferred(until)));
    clock.advance(Duration::from_secs(50)).await;
    assert_eq!(limiter.acquire(1, Priority::Live).await, Ok(()));
    assert_eq!(limiter.state().open_at, None);
}

/// A shared budget with scripted decisions.
struct FakeBudgets(Mutex<Vec<Result<BudgetDecision, crate::cache::CacheError>>>);

#[async_trait::async_trait]
impl Budgets for FakeBudgets {
    async fn spend(&self, _: BudgetRequest<'_>) -> Result<BudgetDecision, crate::cache::CacheError> {
        self.0.lock().remove(0)
    }
    async fn ban(&self, _: ExchangeId, _: &str, _: Duration) -> Result<(), crate::cache::CacheError> {
        Ok(())
    }
}

#[tokio::test]
async fn shared_budget_delays_calls_and_shared_ban_opens_the_breaker() {
    let clock = Clock::manual(Timestamp::EPOCH);
    let scope = RateLimit { name: "rest", limit: 10, window: Duration::from_mins(1), used_header: None };
    let decisions = vec![
        Ok(BudgetDecision::RetryAfter(Duration::from_secs(5))),
        Ok(BudgetDecision::Granted),
        Err(crate::cache::CacheError("down".to_owned())),
        Ok(BudgetDecision::Banned(Duration::from_secs(90))),
    ];
    let shared = SharedBudget { exchange: ExchangeId::BINANCE, budgets: Arc::new(FakeBudgets(Mutex::new(decisions))) };
    let limiter = Arc::new(RateLimiter::new(Box::leak(Box::new(scope)), clock.clone(), Some(shared)));
    let waiting = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { limiter.acquire(1, Priority::Live).await }
    });
    clock.advance(Duration::from_secs(4)).await;
    assert!(!waiting.is_finished(), "other processes have used it up");
    clock.advance(Duration::from_secs(2)).await;
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(limiter.acquire(1, Priority::Live).await, Ok(()), "if the shared budget fails, the local count decides");
    let until = Timestamp::from_millis(96_000);
    assert_eq!(limiter.acquire(1, Priority::Live).await, Err(Deferred(until)));
    assert_eq!(limiter.state().open_at, Some(until));
    assert_eq!(limiter.state().used, 2);
}

#[tokio::test]
async fn background_calls_leave_a_third_and_go_last() {
    let (limiter, clock) = limiter(10, 20);
    for _ in 0..6 {
        limiter.acquire(1, Priority::Background).await.unwrap();
    }
    let background = |limiter: &Arc<RateLimiter>| {
        let limiter = Arc::clone(limiter);
        tokio::spawn(async move { limiter.acquire(1, Priority::Background).await })
    };
    let deferred = background(&limiter);
    clock.advance(Duration::from_secs(3)).await;
    assert!(deferred.await.unwrap().is_err(), "background calls do not get the last third");
    for _ in 0..3 {
        limiter.acquire(1, Priority::Live).await.unwrap();
    }
    // Nothing is left. A live call goes first although it arrives later.
    let (order, last) = (Arc::default(), background(&limiter));
    let first = spawn_call(&limiter, &order, 1);
    clock.advance(Duration::from_secs(19)).await;
    assert_eq!((*order.lock()).as_slice(), [1]);
    first.await.unwrap();
    assert!(last.await.unwrap().is_err(), "its queue time is over");
    assert_eq!(limiter.acquire(1, Priority::Background).await, Ok(()));
}

/// Spawns a call that pushes `name` to `order` when it is admitted.
fn spawn_named(
    limiter: &Arc<RateLimiter>,
    order: &Arc<Mutex<Vec<&'static str>>>,
    name: &'static str,
    priority: Priority,
) {
    let (limiter, order) = (Arc::clone(limiter), Arc::clone(order));
    tokio::spawn(async move {
        if limiter.acquire(1, priority).await.is_ok() {
            order.lock().push(name);
        }
    });
}

#[tokio::test]
async fn live_calls_go_before_repairs_and_repairs_before_client_requests() {
    let (limiter, clock) = limiter(1, 5);
    limiter.try_acquire(1).unwrap();
    let order = Arc::default();
    for name in ["client 1", "client 2", "client 3"] {
        spawn_named(&limiter, &order, name, Priority::ClientRequest);
    }
    clock.advance(Duration::from_secs(1)).await;
    spawn_named(&limiter, &order, "repair", Priority::Repair);
    clock.advance(Duration::from_secs(1)).await;
    spawn_named(&limiter, &order, "live", Priority::Live);
    for _ in 0..30 {
        clock.advance(Duration::from_secs(1)).await;
    }
    assert_eq!(*order.lock(), ["live", "repair", "client 1", "client 2", "client 3"]);
    assert!(limiter.state.lock().queue.is_empty());
}

#[tokio::test]
async fn client_requests_leave_budget_for_repairs() {
    let (limiter, clock) = limiter(20, 60);
    for _ in 0..15 {
        limiter.acquire(1, Priority::ClientRequest).await.unwrap();
    }
    let client = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { limiter.acquire(1, Priority::ClientRequest).await }
    });
    clock.advance(Duration::from_secs(1)).await;
    assert!(client.await.unwrap().is_err(), "it would wait for a minute");
    for priority in [Priority::Repair, Priority::Repair, Priority::Live] {
        limiter.acquire(1, priority).await.unwrap();
    }
    assert_eq!(limiter.state().used, 18);
}

/// For random arrivals and cancellations: of two waiting calls the one with the higher priority goes first, every call
/// is admitted or deferred, and the queue is empty at the end.
#[tokio::test]
async fn random_calls_finish_and_never_overtake_a_higher_priority() {
    use Priority::{Background, ClientRequest, Live, Repair};
    const PRIORITIES: [Priority; 4] = [Live, Repair, ClientRequest, Background];
    let random = Clock::manual(Timestamp::EPOCH);
    for _ in 0..40 {
        let (limiter, clock) = limiter(2, 1);
        let (done, mut calls) = (Arc::new(Mutex::new(Vec::new())), Vec::new());
        for id in 0..40_usize {
            #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
            let draw = random.random_u64() as usize;
            let (priority, began) = (PRIORITIES[draw % 4], clock.elapsed());
            let (limiter, done) = (Arc::clone(&limiter), Arc::clone(&done));
            let call = tokio::spawn(async move {
                let admitted = limiter.acquire(1, priority).await.is_ok();
                done.lock().push((id, priority, began, limiter.clock.elapsed(), admitted));
            });
            if draw.is_multiple_of(7) {
                calls.push(call);
            }
            if draw.is_multiple_of(3) {
                clock.advance(Duration::from_millis(200)).await;
            }
            if draw.is_multiple_of(11)
                && let Some(cancelled) = calls.pop()
            {
                cancelled.abort();
            }
        }
        for _ in 0..80 {
            clock.advance(Duration::from_secs(1)).await;
        }
        assert!(limiter.state.lock().queue.is_empty(), "no call waits forever");
        let done = done.lock();
        for (_, priority, began, ended, admitted) in done.iter() {
            // A call of higher priority that waited longer, and still waited when this one went.
            let overtaken = done.iter().find(|(_, other, at, until, _)| {
                other < priority && at < began && until > &(*ended + Duration::from_millis(250))
            });
            assert!(!admitted || overtaken.is_none(), "{priority:?} at {ended:?} overtook {overtaken:?}");
        }
    }
}
