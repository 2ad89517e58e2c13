//! Who stays: connections, sockets and event streams, bounded altogether and by who it is.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::telemetry::http::Open;

/// The seats for those who stay; `K` says who it is.
pub struct Seats<K> {
    most: usize,
    most_each: usize,
    taken: Mutex<Taken<K>>,
}

struct Taken<K> {
    all: usize,
    /// Only those who have some.
    each: HashMap<K, usize>,
}

/// One seat, until it is dropped.
pub struct Seat<K: Eq + Hash> {
    seats: Arc<Seats<K>>,
    who: K,
    _counted: Open,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// None is left.
    All,
    /// This one has so many, which is as many as it may.
    Own(usize),
}

impl<K: Clone + Eq + Hash> Seats<K> {
    pub fn new(most: usize, most_each: usize) -> Arc<Self> {
        Arc::new(Self { most, most_each, taken: Mutex::new(Taken { all: 0, each: HashMap::new() }) })
    }

    /// Takes a seat; `kind` is for the metrics.
    pub fn take(self: &Arc<Self>, who: &K, kind: &'static str) -> Result<Seat<K>, Full> {
        let mut taken = self.taken.lock();
        if taken.all >= self.most {
            return Err(Full::All);
        }
        match taken.each.get_mut(who) {
            Some(own) if *own >= self.most_each => return Err(Full::Own(*own)),
            Some(own) => *own += 1,
            None => drop(taken.each.insert(who.clone(), 1)),
        }
        taken.all += 1;
        Ok(Seat { seats: Arc::clone(self), who: who.clone(), _counted: Open::new(kind) })
    }
}

impl<K: Eq + Hash> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock();
        taken.all -= 1;
        if let Some(own) = taken.each.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                taken.each.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_and_come_back() {
        let seats = Seats::new(3, 2);
        let take = |who: &'static str| seats.take(&who, "socket");
        let first = take("one").unwrap_or_else(|full| panic!("{full:?}"));
        let _second = take("one");
        assert_eq!(take("one").err(), Some(Full::Own(2)));
        let _third = take("two");
        assert_eq!(take("two").err(), Some(Full::All));
        drop(first);
        assert!(take("one").is_ok());
        assert_eq!(seats.taken.lock().each.len(), 2);
    }
}
