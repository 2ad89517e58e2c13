//! Rate limits and bans of the simulated exchanges.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::model::ExchangeId;

/// Number of violations that an exchange tolerates before it bans an address. No number is documented.
const VIOLATIONS_BEFORE_BAN: u32 = 10;
/// Bans "scale in duration for repeat offenders, from 2 minutes to 3 days".
const BAN_SECONDS: [i64; 5] = [120, 600, 3_600, 86_400, 259_200];
const MINUTE: i64 = 60_000;
/// Maximum number of entries per map. A full map is cleared.
const MAX_TRACKED_CLIENTS: usize = 4_096;

/// Result of a check of the request weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Allowed; `used` is the weight used in the current minute.
    Allowed { used: u32 },
    /// Over the limit; `retry_after` is in seconds.
    OverLimit { used: u32, retry_after: i64 },
    /// Banned until `until` in Unix milliseconds; `retry_after` is in seconds. `is_new`: this request caused the ban.
    Banned { until: i64, retry_after: i64, is_new: bool },
}

#[derive(Debug, Default)]
struct WeightUsage {
    minute: i64,
    used: u32,
    violations: u32,
    bans: usize,
    banned_until: i64,
}

/// Rate-limit state by IP address.
#[derive(Debug, Default)]
pub struct Limits {
    weights: Mutex<HashMap<(IpAddr, ExchangeId), WeightUsage>>,
    /// By address, exchange and scope: when the token bucket is full again, in Unix milliseconds.
    buckets: Mutex<HashMap<(IpAddr, ExchangeId, String), i64>>,
    /// By address, exchange and kind of request.
    windows: Mutex<HashMap<(IpAddr, ExchangeId, String), Window>>,
}

/// Sliding window of accepted requests of one kind. Times are Unix milliseconds.
#[derive(Debug, Default)]
struct Window {
    accepted: VecDeque<i64>,
    violations: u32,
    banned_until: i64,
}

/// A request over the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    /// Milliseconds until the next request is allowed.
    pub retry_after: i64,
    /// Whether this request caused a ban.
    pub is_new_ban: bool,
}

impl Limits {
    /// Counts a request of `weight` at `now` against a `limit` of weight per minute.
    pub fn admit_weight(
        &self,
        client: IpAddr,
        exchange: ExchangeId,
        (weight, limit): (u32, u32),
        now: i64,
    ) -> Admission {
        let mut all = self.weights.lock();
        clear_if_full(&mut all);
        let state = all.entry((client, exchange)).or_default();
        if now < state.banned_until {
            return Admission::Banned {
                until: state.banned_until,
                retry_after: ceil_seconds(state.banned_until - now),
                is_new: false,
            };
        }
        if state.minute != now / MINUTE {
            *state = WeightUsage { minute: now / MINUTE, bans: state.bans, ..WeightUsage::default() };
        }
        state.used = state.used.saturating_add(weight);
        if state.used <= limit {
            return Admission::Allowed { used: state.used };
        }
        state.violations += 1;
        if state.violations <= VIOLATIONS_BEFORE_BAN {
            let next = (state.minute + 1) * MINUTE;
            return Admission::OverLimit { used: state.used, retry_after: ceil_seconds(next - now) };
        }
        let ban = BAN_SECONDS[state.bans.min(BAN_SECONDS.len() - 1)];
        state.bans += 1;
        state.banned_until = now + ban * 1_000;
        Admission::Banned { until: state.banned_until, retry_after: ban, is_new: true }
    }

    /// Counts a request at `now` against `limit` requests of one kind per sliding `window` in milliseconds.
    ///
    /// # Errors
    /// The request exceeds the limit. Repeated violations cause a ban.
    pub fn admit_in_window(
        &self,
        client: IpAddr,
        exchange: ExchangeId,
        kind: &str,
        (limit, window): (usize, i64),
        now: i64,
    ) -> Result<(), LimitExceeded> {
        let mut all = self.windows.lock();
        clear_if_full(&mut all);
        let state = all.entry((client, exchange, kind.chars().take(40).collect())).or_default();
        if now < state.banned_until {
            return Err(LimitExceeded { retry_after: state.banned_until - now, is_new_ban: false });
        }
        while state.accepted.front().is_some_and(|at| at + window <= now) {
            state.accepted.pop_front();
        }
        match state.accepted.front() {
            Some(oldest) if state.accepted.len() >= limit => {
                let retry_after = oldest + window - now;
                state.violations += 1;
                if state.violations <= VIOLATIONS_BEFORE_BAN {
                    return Err(LimitExceeded { retry_after, is_new_ban: false });
                }
                *state = Window { banned_until: now + BAN_SECONDS[1] * 1_000, ..Window::default() };
                Err(LimitExceeded { retry_after: state.banned_until - now, is_new_ban: true })
            }
            oldest => {
                if oldest.is_none() {
                    state.violations = 0;
                }
                state.accepted.push_back(now);
                Ok(())
            }
        }
    }

    /// Whether a token bucket of `burst` requests, refilled by one per second, allows a request at `now`. Each scope has
    /// its own bucket.
    pub fn admit_from_bucket(&self, client: IpAddr, exchange: ExchangeId, scope: &str, burst: i64, now: i64) -> bool {
        let mut all = self.buckets.lock();
        clear_if_full(&mut all);
        let full_at = all.entry((client, exchange, scope.chars().take(40).collect())).or_default();
        let next = (*full_at).max(now) + 1_000;
        let allowed = next - now <= burst * 1_000;
        if allowed {
            *full_at = next;
        }
        allowed
    }
}

fn clear_if_full<K: Eq + Hash, V>(all: &mut HashMap<K, V>) {
    if all.len() >= MAX_TRACKED_CLIENTS {
        all.clear();
    }
}

/// Milliseconds as whole seconds, rounded up.
pub const fn ceil_seconds(millis: i64) -> i64 {
    (millis + 999) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn bans_after_repeated_weight_violations() {
        let limits = Limits::default();
        let admit = |weight, now| limits.admit_weight(CLIENT, ExchangeId::BINANCE, (weight, 6_000), now);
        assert_eq!(admit(5_999, 1_000), Admission::Allowed { used: 5_999 });
        assert_eq!(admit(1, 1_000), Admission::Allowed { used: 6_000 });
        for _ in 0..VIOLATIONS_BEFORE_BAN {
            let admission = admit(2, 58_500);
            assert!(matches!(admission, Admission::OverLimit { retry_after: 2, .. }), "{admission:?}");
        }
        assert_eq!(admit(2, 59_000), Admission::Banned { until: 179_000, retry_after: 120, is_new: true });
        assert_eq!(admit(2, 178_500), Admission::Banned { until: 179_000, retry_after: 1, is_new: false });
        assert_eq!(admit(2, 179_000), Admission::Allowed { used: 2 });
        admit(6_000, 180_000);
        for _ in 0..VIOLATIONS_BEFORE_BAN {
            admit(1, 180_001);
        }
        let second_ban = Admission::Banned { until: 780_001, retry_after: 600, is_new: true };
        assert_eq!(admit(1, 180_001), second_ban, "it is longer");
    }

    #[test]
    fn sliding_window_limits_and_bans() {
        let limits = Limits::default();
        let admit = |now| limits.admit_in_window(CLIENT, ExchangeId::KRAKEN, "connections", (2, 1_000), now);
        let exceeded = |retry_after, is_new_ban| Err(LimitExceeded { retry_after, is_new_ban });
        assert_eq!([admit(0), admit(400), admit(999)], [Ok(()), Ok(()), exceeded(1, false)]);
        assert_eq!([admit(1_000), admit(1_001)], [Ok(()), exceeded(399, false)]);
        let results: Vec<_> = (0..VIOLATIONS_BEFORE_BAN).map(|_| admit(1_002)).collect();
        assert!(results.contains(&exceeded(600_000, true)), "repeated violations cause a ban: {results:?}");
        assert_eq!([admit(600_000), admit(601_002)], [exceeded(1_002, false), Ok(())]);
    }

    #[test]
    fn bucket_allows_burst_then_one_request_per_second() {
        let limits = Limits::default();
        let admit = |scope, now| limits.admit_from_bucket(CLIENT, ExchangeId::KRAKEN, scope, 15, now);
        assert!((0..15).all(|_| admit("XBTUSD", 5_000)));
        assert!(!admit("XBTUSD", 5_000));
        assert!(admit("ETHUSD", 5_000), "each scope has its own bucket");
        assert!(admit("XBTUSD", 6_000));
        assert!(!admit("XBTUSD", 6_000));
    }
}
