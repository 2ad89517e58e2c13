//! What the exchanges meter, and what they do to whom does not keep to it.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::model::ExchangeId;

/// Weight that Binance allows an address in a minute.
/// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits>, `exchangeInfo.rateLimits`
pub const BINANCE_WEIGHT: u32 = 6_000;
/// Refusals after which an exchange bans; no number is documented.
const TOLERATED: u32 = 10;
/// Bans "scale in duration for repeat offenders, from 2 minutes to 3 days".
const BAN_SECONDS: [i64; 5] = [120, 600, 3_600, 86_400, 259_200];
/// Kraken allows about one call a second; short bursts pass. How long they may be is not documented.
/// <https://support.kraken.com/articles/206548367-what-are-the-api-rate-limits->
const KRAKEN_BURST: i64 = 15;
const MINUTE: i64 = 60_000;
/// The most addresses that are remembered.
const REMEMBERED: usize = 4_096;

/// What Binance thinks of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass; so much of the minute is used.
    Pass { used: u32 },
    /// Too much: wait so many seconds.
    TooMuch { used: u32, retry_after: i64 },
    /// Banned until a time in Unix milliseconds.
    Banned { until: i64, retry_after: i64, new: bool },
}

#[derive(Debug, Default)]
struct Weight {
    minute: i64,
    used: u32,
    refused: u32,
    bans: usize,
    banned_until: i64,
}

/// Counters by address.
#[derive(Debug, Default)]
pub struct Limits {
    binance: Mutex<HashMap<IpAddr, Weight>>,
    /// By address and what Kraken counts apart: when the bucket would be full again, in Unix milliseconds.
    kraken: Mutex<HashMap<(IpAddr, String), i64>>,
    /// By address, exchange and what it counts.
    windows: Mutex<HashMap<(IpAddr, ExchangeId, String), Window>>,
}

/// The last requests of a kind. Times are Unix milliseconds.
#[derive(Debug, Default)]
struct Window {
    passed: VecDeque<i64>,
    refused: u32,
    banned_until: i64,
}

/// A request too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// In how many milliseconds one would pass.
    pub wait: i64,
    /// Whether it was the one that a ban follows from.
    pub banned: bool,
}

impl Limits {
    /// A request of `weight` at `now`.
    pub fn binance(&self, from: IpAddr, weight: u32, now: i64) -> Verdict {
        let mut all = self.binance.lock();
        forget_some(&mut all);
        let state = all.entry(from).or_default();
        if now < state.banned_until {
            return Verdict::Banned {
                until: state.banned_until,
                retry_after: seconds(state.banned_until - now),
                new: false,
            };
        }
        if state.minute != now / MINUTE {
            *state = Weight { minute: now / MINUTE, bans: state.bans, ..Weight::default() };
        }
        state.used = state.used.saturating_add(weight);
        if state.used <= BINANCE_WEIGHT {
            return Verdict::Pass { used: state.used };
        }
        state.refused += 1;
        if state.refused <= TOLERATED {
            let next = (state.minute + 1) * MINUTE;
            return Verdict::TooMuch { used: state.used, retry_after: seconds(next - now) };
        }
        let ban = BAN_SECONDS[state.bans.min(BAN_SECONDS.len() - 1)];
        state.bans += 1;
        state.banned_until = now + ban * 1_000;
        Verdict::Banned { until: state.banned_until, retry_after: ban, new: true }
    }

    /// Takes a request at `now` where an exchange allows `limit` of a kind in any `window` milliseconds.
    ///
    /// # Errors
    /// It is one too many. Who goes on asking is banned.
    pub fn window(
        &self,
        from: IpAddr,
        exchange: ExchangeId,
        kind: &str,
        (limit, window): (usize, i64),
        now: i64,
    ) -> Result<(), TooMany> {
        let mut all = self.windows.lock();
        forget_some(&mut all);
        let state = all.entry((from, exchange, kind.chars().take(40).collect())).or_default();
        if now < state.banned_until {
            return Err(TooMany { wait: state.banned_until - now, banned: false });
        }
        while state.passed.front().is_some_and(|at| at + window <= now) {
            state.passed.pop_front();
        }
        match state.passed.front() {
            Some(oldest) if state.passed.len() >= limit => {
                let wait = oldest + window - now;
                state.refused += 1;
                if state.refused <= TOLERATED {
                    return Err(TooMany { wait, banned: false });
                }
                *state = Window { banned_until: now + BAN_SECONDS[1] * 1_000, ..Window::default() };
                Err(TooMany { wait: state.banned_until - now, banned: true })
            }
            oldest => {
                if oldest.is_none() {
                    state.refused = 0;
                }
                state.passed.push_back(now);
                Ok(())
            }
        }
    }

    /// Whether Kraken takes a request at `now`. `scope` is the pair for candles and trades, empty for all else.
    pub fn kraken(&self, from: IpAddr, scope: &str, now: i64) -> bool {
        let mut all = self.kraken.lock();
        forget_some(&mut all);
        let full_at = all.entry((from, scope.chars().take(40).collect())).or_default();
        let next = (*full_at).max(now) + 1_000;
        let pass = next - now <= KRAKEN_BURST * 1_000;
        if pass {
            *full_at = next;
        }
        pass
    }
}

fn forget_some<K: Eq + Hash, V>(all: &mut HashMap<K, V>) {
    if all.len() >= REMEMBERED {
        all.clear();
    }
}

/// Whole seconds, rounded up.
pub const fn seconds(millis: i64) -> i64 {
    (millis + 999) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn binance_counts_weight_by_the_minute_and_then_bans() {
        let limits = Limits::default();
        assert_eq!(limits.binance(HOME, 5_999, 1_000), Verdict::Pass { used: 5_999 });
        assert_eq!(limits.binance(HOME, 1, 1_000), Verdict::Pass { used: 6_000 });
        for _ in 0..TOLERATED {
            let verdict = limits.binance(HOME, 2, 58_500);
            assert!(matches!(verdict, Verdict::TooMuch { retry_after: 2, .. }), "{verdict:?}");
        }
        assert_eq!(limits.binance(HOME, 2, 59_000), Verdict::Banned { until: 179_000, retry_after: 120, new: true });
        assert_eq!(limits.binance(HOME, 2, 178_500), Verdict::Banned { until: 179_000, retry_after: 1, new: false });
        assert_eq!(limits.binance(HOME, 2, 179_000), Verdict::Pass { used: 2 });
        limits.binance(HOME, 6_000, 180_000);
        let last = (0..=TOLERATED).map(|_| limits.binance(HOME, 1, 180_001)).last();
        assert_eq!(last, Some(Verdict::Banned { until: 780_001, retry_after: 600, new: true }), "the second is longer");
    }

    #[test]
    fn a_window_slides() {
        let limits = Limits::default();
        let ask = |now| limits.window(HOME, ExchangeId::Kraken, "connections", (2, 1_000), now);
        let too_many = |wait, banned| Err(TooMany { wait, banned });
        assert_eq!([ask(0), ask(400), ask(999)], [Ok(()), Ok(()), too_many(1, false)]);
        assert_eq!([ask(1_000), ask(1_001)], [Ok(()), too_many(399, false)]);
        let refused: Vec<_> = (0..TOLERATED).map(|_| ask(1_002)).collect();
        assert!(refused.contains(&too_many(600_000, true)), "who goes on asking is banned: {refused:?}");
        assert_eq!([ask(600_000), ask(601_002)], [too_many(1_002, false), Ok(())]);
    }

    #[test]
    fn kraken_allows_a_burst_and_then_one_a_second() {
        let limits = Limits::default();
        assert!((0..KRAKEN_BURST).all(|_| limits.kraken(HOME, "XBTUSD", 5_000)));
        assert!(!limits.kraken(HOME, "XBTUSD", 5_000));
        assert!(limits.kraken(HOME, "ETHUSD", 5_000), "each pair is counted on its own");
        assert!(limits.kraken(HOME, "XBTUSD", 6_000));
        assert!(!limits.kraken(HOME, "XBTUSD", 6_000));
    }
}
