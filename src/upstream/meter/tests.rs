//! Who waits for a budget, and for how long.

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
