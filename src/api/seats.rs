//! Who stays: sockets and event streams, bounded altogether and by address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::problem::{Code, Problem};
use crate::telemetry::http::Open;

/// The seats for clients that stay.
pub struct Seats {
    most: usize,
    most_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Only addresses that have some.
    by_address: HashMap<IpAddr, usize>,
}

/// One client's seat, until it is dropped.
pub struct SocketSeat {
    seats: Arc<Seats>,
    address: Option<IpAddr>,
    _counted: Open,
}

impl Seats {
    pub fn new(most: usize, most_per_address: usize) -> Arc<Self> {
        Arc::new(Self { most, most_per_address, taken: Mutex::default() })
    }

    /// Takes a seat for a client at an address; `kind` is for the metrics.
    ///
    /// # Errors
    /// `not_ready` if there is none left, `rate_limited` if the address has as many as it may.
    pub fn take(self: &Arc<Self>, address: Option<IpAddr>, kind: &'static str) -> Result<SocketSeat, Problem> {
        let mut taken = self.taken.lock();
        if taken.all >= self.most {
            return Err(Problem::new(Code::NotReady, "too many sockets are open here: try again later"));
        }
        if let Some(address) = address {
            let own = taken.by_address.entry(address).or_default();
            if *own >= self.most_per_address {
                let detail = format!("{own} sockets of your address are open: close some, or put more topics on one");
                return Err(Problem::new(Code::RateLimited, detail));
            }
            *own += 1;
        }
        taken.all += 1;
        Ok(SocketSeat { seats: Arc::clone(self), address, _counted: Open::new(kind) })
    }
}

impl Drop for SocketSeat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock();
        taken.all -= 1;
        let Some(address) = self.address else { return };
        if let Some(own) = taken.by_address.get_mut(&address) {
            *own -= 1;
            if *own == 0 {
                taken.by_address.remove(&address);
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
        let (one, two) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let take = |address| seats.take(Some(address), "socket").map_err(|problem| problem.code);
        let first = take(one).unwrap();
        let _second = take(one).unwrap();
        assert_eq!(take(one).err(), Some(Code::RateLimited));
        let _third = take(two).unwrap();
        assert_eq!(take(two).err(), Some(Code::NotReady));
        drop(first);
        let _fourth = take(one).unwrap();
        assert_eq!(seats.taken.lock().by_address.len(), 2);
    }
}
