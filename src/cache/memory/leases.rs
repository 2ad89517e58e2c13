//! Leases in memory.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::cache::{CacheError, Lease, Leases};
use crate::clock::Clock;

/// Leases by name. There is one name per exchange.
pub struct MemoryLeases {
    clock: Clock,
    leases: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_token: u64,
    held: HashMap<String, Held>,
}

struct Held {
    token: u64,
    until: Duration,
}

impl MemoryLeases {
    pub fn new(clock: Clock) -> Self {
        Self { clock, leases: Mutex::default() }
    }
}

#[async_trait]
impl Leases for MemoryLeases {
    async fn acquire(&self, name: &str, ttl: Duration) -> Result<Option<Lease>, CacheError> {
        let now = self.clock.elapsed();
        let mut state = self.leases.lock();
        state.held.retain(|_, held| held.until > now);
        if state.held.contains_key(name) {
            return Ok(None);
        }
        state.last_token += 1;
        let token = state.last_token;
        state.held.insert(name.to_owned(), Held { token, until: now.saturating_add(ttl) });
        Ok(Some(Lease { name: name.to_owned(), token }))
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<bool, CacheError> {
        let now = self.clock.elapsed();
        let mut state = self.leases.lock();
        match state.held.get_mut(&lease.name) {
            Some(held) if held.token == lease.token && held.until > now => {
                held.until = now.saturating_add(ttl);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn release(&self, lease: &Lease) -> Result<(), CacheError> {
        let mut state = self.leases.lock();
        if state.held.get(&lease.name).is_some_and(|held| held.token == lease.token) {
            state.held.remove(&lease.name);
        }
        Ok(())
    }
}
