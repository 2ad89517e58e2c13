//! Single flight: identical concurrent requests share one HTTP request.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

use super::response::FetchedResponse;
use crate::upstream::{Priority, UpstreamError};

type FetchResult = Result<FetchedResponse, UpstreamError>;
type Flight = BoxFuture<'static, FetchResult>;
type Key = (Priority, String);
/// The requests in flight by priority and target, each with its id.
type FlightTable = Arc<Mutex<HashMap<Key, (u64, WeakShared<Flight>)>>>;

/// The requests in flight.
///
/// No caller owns a shared request: any of the waiting callers polls it. It goes on when a caller is cancelled, and
/// ends when all are.
#[derive(Default)]
pub(super) struct SingleFlight {
    in_flight: FlightTable,
    next_id: AtomicU64,
}

impl SingleFlight {
    /// Joins the request in flight to `target`, or starts it.
    pub fn join<F>(&self, (priority, target): (Priority, &str), start: impl FnOnce() -> F) -> Shared<Flight>
    where
        F: Future<Output = FetchResult> + Send + 'static,
    {
        let key = (priority, target.to_owned());
        let mut in_flight = self.in_flight.lock();
        if let Some(flight) = in_flight.get(&key).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let guard = FlightGuard { in_flight: Arc::clone(&self.in_flight), key: key.clone(), id };
        let request = start();
        let flight = async move {
            let _guard = guard;
            request.await
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            in_flight.insert(key, (id, weak));
        }
        flight
    }
}

/// Removes a request from the table when it has finished or all callers were cancelled.
struct FlightGuard {
    in_flight: FlightTable,
    key: Key,
    id: u64,
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        let mut in_flight = self.in_flight.lock();
        // A new request with the same key may be in the table by now.
        if in_flight.get(&self.key).is_some_and(|(id, _)| *id == self.id) {
            in_flight.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::model::Timestamp;

    fn flight(single_flight: &SingleFlight, clock: &Clock, started: &Arc<AtomicU64>) -> Shared<Flight> {
        let (clock, started) = (clock.clone(), Arc::clone(started));
        single_flight.join((Priority::Live, "/a"), || async move {
            started.fetch_add(1, Ordering::Relaxed);
            clock.sleep(Duration::from_secs(1)).await;
            let received = clock.elapsed();
            Ok(FetchedResponse {
                status: 200,
                body: "x".into(),
                sent: received,
                received,
                date: None,
                retry_after: None,
                origin: 0,
            })
        })
    }

    #[tokio::test]
    async fn cancelling_the_first_caller_does_not_cancel_the_request() {
        let (single_flight, clock, started) =
            (SingleFlight::default(), Clock::manual(Timestamp::EPOCH), Arc::default());
        let first = tokio::spawn(flight(&single_flight, &clock, &started));
        clock.advance(Duration::ZERO).await;
        let others: Vec<_> = (0..3).map(|_| tokio::spawn(flight(&single_flight, &clock, &started))).collect();
        clock.advance(Duration::from_millis(500)).await;
        first.abort();
        clock.advance(Duration::from_millis(500)).await;
        for other in others {
            assert_eq!(other.await.unwrap().unwrap().received.as_millis(), 1_000);
        }
        assert_eq!(started.load(Ordering::Relaxed), 1);
        assert!(single_flight.in_flight.lock().is_empty(), "it has finished");
    }

    #[tokio::test]
    async fn request_without_callers_ends_and_the_next_call_starts_a_new_one() {
        let (single_flight, clock, started) =
            (SingleFlight::default(), Clock::manual(Timestamp::EPOCH), Arc::default());
        let first = tokio::spawn(flight(&single_flight, &clock, &started));
        clock.advance(Duration::from_millis(500)).await;
        first.abort();
        clock.advance(Duration::ZERO).await;
        assert!(single_flight.in_flight.lock().is_empty());
        let second = tokio::spawn(flight(&single_flight, &clock, &started));
        clock.advance(Duration::from_secs(1)).await;
        assert!(second.await.unwrap().is_ok());
        assert_eq!(started.load(Ordering::Relaxed), 2);
    }
}
