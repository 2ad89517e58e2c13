//! Usage of one exchange limit over a sliding window. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// Assumed difference in the time that requests take to arrive, until the reply arrives: a few round trips.
const ARRIVAL_SPREAD: Duration = Duration::from_millis(500);

/// The weights of the requests in the current window.
///
/// A sliding window keeps the limit in any window that the exchange may use, fixed ones included. Two margins are
/// added. Only nine tenths of the limit are used. A request counts from its reply, because requests take different
/// times to arrive: the first ones wait for a handshake, later ones reuse the connection. Until the reply arrives, a
/// request counts from the time it was sent, for slightly longer than the window.
#[derive(Debug)]
pub(super) struct Window {
    limit: u32,
    /// The part of the limit that we use.
    target: u32,
    /// How long a request counts after it was sent, and after its reply.
    after_send: Duration,
    after_reply: Duration,
    /// Expiry times are rounded up to a multiple of this, which bounds `spent`.
    resolution: Duration,
    /// Weights by the time at which they expire, ascending.
    spent: VecDeque<(Duration, u32)>,
    /// The sum of `spent`.
    used: u32,
}

impl Window {
    pub fn new(limit: u32, window: Duration) -> Self {
        let limit = limit.max(1);
        let after_reply = window + window / 20;
        let after_send = after_reply.max(window + ARRIVAL_SPREAD);
        let resolution = (window / 500).max(Duration::from_millis(1));
        Self { limit, target: limit - limit / 10, after_send, after_reply, resolution, spent: VecDeque::new(), used: 0 }
    }

    /// Spends `weight` now.
    ///
    /// # Errors
    /// The time until `weight` can be spent.
    pub fn take(&mut self, now: Duration, weight: u32) -> Result<(), Duration> {
        // A call heavier than the whole budget goes when nothing else was spent.
        let weight = weight.min(self.target);
        match self.wait_for(now, weight) {
            Duration::ZERO => {
                self.spend(now, weight);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// The time until `weight` can be spent. More than the budget takes several windows.
    pub fn wait_for(&mut self, now: Duration, weight: u32) -> Duration {
        self.wait_within(now, weight, self.target)
    }

    /// Like [`Window::wait_for`], with at most `max` used per window.
    pub fn wait_within(&mut self, now: Duration, weight: u32, max: u32) -> Duration {
        self.remove_expired(now);
        let windows = weight.saturating_sub(1) / max;
        let needed = weight - windows * max;
        let mut wait = Duration::ZERO;
        let mut used = self.used;
        for &(until, weight) in &self.spent {
            if used.saturating_add(needed) <= max {
                break;
            }
            used -= weight;
            wait = until.saturating_sub(now);
        }
        wait + self.after_send * windows
    }

    /// Raises the usage to the `used` that the exchange reports. Never lowers it, because the exchange's window may
    /// have just begun.
    pub fn raise_to(&mut self, now: Duration, used: u32) {
        self.remove_expired(now);
        self.spend(now, used.min(self.limit).saturating_sub(self.used));
    }

    /// The weight used in the current window.
    pub fn used(&mut self, now: Duration) -> u32 {
        self.remove_expired(now);
        self.used
    }

    /// The maximum that we use per window.
    pub const fn target(&self) -> u32 {
        self.target
    }

    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Records at `now` the reply to a request of this weight that was admitted at or before `sent`.
    pub fn record_reply(&mut self, sent: Duration, now: Duration, weight: u32) {
        self.remove_expired(now);
        let weight = weight.min(self.target);
        let latest = self.rounded(sent + self.after_send);
        let mut left = weight;
        for (_, spent) in self.spent.iter_mut().rev().filter(|(until, _)| *until <= latest) {
            let part = left.min(*spent);
            *spent -= part;
            self.used -= part;
            left -= part;
        }
        self.spent.retain(|(_, spent)| *spent > 0);
        self.add(now + self.after_reply, weight);
    }

    fn spend(&mut self, now: Duration, weight: u32) {
        self.add(now + self.after_send, weight);
    }

    fn add(&mut self, until: Duration, weight: u32) {
        if weight == 0 {
            return;
        }
        self.used += weight;
        let until = self.rounded(until);
        let after = self.spent.partition_point(|(other, _)| *other <= until);
        match after.checked_sub(1).and_then(|last| self.spent.get_mut(last)) {
            Some((last, sum)) if *last == until => *sum += weight,
            _ => self.spent.insert(after, (until, weight)),
        }
    }

    fn rounded(&self, at: Duration) -> Duration {
        self.resolution * u32::try_from(at.as_nanos().div_ceil(self.resolution.as_nanos())).unwrap_or(u32::MAX)
    }

    fn remove_expired(&mut self, now: Duration) {
        while let Some(&(until, weight)) = self.spent.front() {
            if until > now {
                break;
            }
            self.spent.pop_front();
            self.used -= weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_window_exceeds_the_limit(
            limit in 1_u32..200,
            window in 10_u64..5_000,
            calls in prop::collection::vec((0_u64..400, 1_u32..50), 1..200),
        ) {
            let length = Duration::from_millis(window);
            let mut budget = Window::new(limit, length);
            let mut now = Duration::ZERO;
            let mut sent = Vec::new();
            for (pause, weight) in calls {
                now += Duration::from_millis(pause);
                let weight = weight.min(budget.target);
                if let Err(wait) = budget.take(now, weight) {
                    prop_assert!(!wait.is_zero());
                    now += wait;
                    prop_assert_eq!(budget.take(now, weight), Ok(()), "the predicted wait was wrong");
                }
                sent.push((now, weight));
                let in_window: u32 = sent.iter().filter(|(at, _)| *at + length > now).map(|(_, weight)| weight).sum();
                prop_assert!(in_window <= limit, "{in_window} of {limit}");
            }
        }

        #[test]
        fn late_arrival_of_requests_does_not_exceed_the_limit(
            limit in 1_u32..30,
            window in 100_u64..2_000,
            calls in prop::collection::vec((0_u64..300, 0_u64..100, 0_u64..100), 1..200),
        ) {
            let length = Duration::from_millis(window);
            let mut budget = Window::new(limit, length);
            let (mut now, mut arrived) = (Duration::ZERO, Vec::new());
            let mut in_flight: Vec<(Duration, Duration)> = Vec::new();
            for (pause, percent, reply_ms) in calls {
                now += Duration::from_millis(pause);
                loop {
                    in_flight.sort_unstable();
                    while in_flight.first().is_some_and(|(replied, _)| *replied <= now) {
                        let (replied, sent) = in_flight.remove(0);
                        budget.record_reply(sent, replied, 1);
                    }
                    match budget.take(now, 1) {
                        Ok(()) => break,
                        // A reply may shorten the wait.
                        Err(wait) => {
                            now = in_flight.first().map_or(now + wait, |(replied, _)| (now + wait).min(*replied));
                        }
                    }
                }
                // A request takes up to one window to arrive.
                let arrives = now + length / 100 * u32::try_from(percent).unwrap();
                arrived.push(arrives);
                in_flight.push((arrives + Duration::from_millis(reply_ms), now));
            }
            for end in &arrived {
                let in_window = arrived.iter().filter(|at| **at <= *end && **at + length > *end).count();
                prop_assert!(in_window <= limit as usize, "{in_window} of {limit}");
            }
        }

        #[test]
        fn usage_reported_by_exchange_is_respected(limit in 10_u32..1_000, reported in 0_u32..2_000, own in 1_u32..10) {
            let mut budget = Window::new(limit, Duration::from_mins(1));
            prop_assert_eq!(budget.take(Duration::ZERO, own), Ok(()));
            budget.raise_to(Duration::from_secs(1), reported);
            let used = budget.used(Duration::from_secs(1));
            prop_assert_eq!(used, reported.min(limit).max(own));
            let is_taken = budget.take(Duration::from_secs(2), 1).is_ok();
            prop_assert_eq!(is_taken, used < budget.target);
        }
    }

    #[test]
    fn list_of_expiries_is_bounded() {
        let mut budget = Window::new(1_000_000, Duration::from_mins(1));
        for millis in 0..120_000 {
            let _ = budget.take(Duration::from_millis(millis), 1);
        }
        assert!(budget.spent.len() <= 600, "{}", budget.spent.len());
    }

    #[test]
    fn call_heavier_than_the_budget_goes_alone() {
        let mut budget = Window::new(10, Duration::from_secs(10));
        assert_eq!(budget.take(Duration::ZERO, 1), Ok(()));
        let wait = budget.take(Duration::ZERO, 50).unwrap_err();
        assert_eq!(budget.take(wait, 50), Ok(()));
    }
}
