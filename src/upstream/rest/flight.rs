//! Identical requests share one flight.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

use super::Fetched;
use crate::upstream::{UpstreamError, Urgency};

type Answer = Result<Fetched, UpstreamError>;
type Flight = BoxFuture<'static, Answer>;
type Key = (Urgency, String);
/// The requests in flight by their target, numbered.
type Board = Arc<Mutex<HashMap<Key, (u64, WeakShared<Flight>)>>>;

/// Which requests are in flight.
///
/// A flight has no owner: it is moved by whoever of its passengers is awake, so one who leaves strands nobody, and when
/// all have left it ends.
#[derive(Default)]
pub(super) struct Flights {
    flying: Board,
    next_id: AtomicU64,
}

impl Flights {
    /// Joins the flight to `target`, or starts it.
    pub fn join<F>(&self, (urgency, target): (Urgency, &str), start: impl FnOnce() -> F) -> Shared<Flight>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let target = (urgency, target.to_owned());
        let mut flying = self.flying.lock();
        if let Some(flight) = flying.get(&target).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let landing = Landing { flying: Arc::clone(&self.flying), target: target.clone(), id };
        let request = start();
        let flight = async move {
            let _landing = landing;
            request.await
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flying.insert(target, (id, weak));
        }
        flight
    }
}

/// Takes a flight off the board when it has landed or was left by all.
struct Landing {
    flying: Board,
    target: Key,
    id: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flying = self.flying.lock();
        // The next flight to the same target may be on the board by now.
        if flying.get(&self.target).is_some_and(|(id, _)| *id == self.id) {
            flying.remove(&self.target);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::model::Timestamp;

    fn flight(flights: &Flights, clock: &Clock, started: &Arc<AtomicU64>) -> Shared<Flight> {
        let (clock, started) = (clock.clone(), Arc::clone(started));
        flights.join((Urgency::Live, "/a"), || async move {
            started.fetch_add(1, Ordering::Relaxed);
            clock.sleep(Duration::from_secs(1)).await;
            let received = clock.elapsed();
            Ok(Fetched { status: 200, body: "x".into(), asked: received, received, date: None, named: None, origin: 0 })
        })
    }

    #[tokio::test]
    async fn a_leader_who_leaves_strands_nobody() {
        let (flights, clock, started) = (Flights::default(), Clock::manual(Timestamp::EPOCH), Arc::default());
        let leader = tokio::spawn(flight(&flights, &clock, &started));
        clock.advance(Duration::ZERO).await;
        let others: Vec<_> = (0..3).map(|_| tokio::spawn(flight(&flights, &clock, &started))).collect();
        clock.advance(Duration::from_millis(500)).await;
        leader.abort();
        clock.advance(Duration::from_millis(500)).await;
        for other in others {
            assert_eq!(other.await.unwrap().unwrap().received.as_millis(), 1_000);
        }
        assert_eq!(started.load(Ordering::Relaxed), 1);
        assert!(flights.flying.lock().is_empty(), "it has landed");
    }

    #[tokio::test]
    async fn a_flight_left_by_all_ends_and_the_next_starts_anew() {
        let (flights, clock, started) = (Flights::default(), Clock::manual(Timestamp::EPOCH), Arc::default());
        let first = tokio::spawn(flight(&flights, &clock, &started));
        clock.advance(Duration::from_millis(500)).await;
        first.abort();
        clock.advance(Duration::ZERO).await;
        assert!(flights.flying.lock().is_empty());
        let second = tokio::spawn(flight(&flights, &clock, &started));
        clock.advance(Duration::from_secs(1)).await;
        assert!(second.await.unwrap().is_ok());
        assert_eq!(started.load(Ordering::Relaxed), 2);
    }
}
