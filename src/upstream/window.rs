//! How much of an exchange's limit is used, over a sliding window. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// How much longer than another a request takes to arrive, as long as its reply does not say it: a few round trips.
const ARRIVES_WITHIN: Duration = Duration::from_millis(500);

/// The weights of the last window's requests.
///
/// A sliding window keeps the limit in every window that the exchange may draw, fixed ones included. It is cautious
/// twice: only nine tenths of the limit are used, and a request counts from its reply, since requests do not take the same
/// time to arrive: the first ones wait for a handshake, those that follow find a connection. Until there is a reply it
/// counts from when it was sent, for a little longer than the window.
#[derive(Debug)]
pub(super) struct Window {
    limit: u32,
    /// What we use of the limit.
    aim: u32,
    /// How long a request counts from when it was sent, and from its reply.
    length: Duration,
    after_reply: Duration,
    /// Moments are rounded up to this, so that the list below is bounded.
    grain: Duration,
    /// Until when what was spent counts, ascending.
    spent: VecDeque<(Duration, u32)>,
    /// The sum of `spent`.
    used: u32,
}

impl Window {
    pub fn new(limit: u32, window: Duration) -> Self {
        let limit = limit.max(1);
        let after_reply = window + window / 20;
        let length = after_reply.max(window + ARRIVES_WITHIN);
        let grain = (window / 500).max(Duration::from_millis(1));
        Self { limit, aim: limit - limit / 10, length, after_reply, grain, spent: VecDeque::new(), used: 0 }
    }

    /// Spends `weight` now, or says how long it takes until it can be.
    pub fn take(&mut self, now: Duration, weight: u32) -> Result<(), Duration> {
        // What is dearer than the whole budget goes when nothing else was spent.
        let weight = weight.min(self.aim);
        match self.forecast(now, weight) {
            Duration::ZERO => {
                self.spend(now, weight);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// How long it takes until `weight` can be spent; more than the budget takes several windows.
    pub fn forecast(&mut self, now: Duration, weight: u32) -> Duration {
        self.forecast_within(now, weight, self.aim)
    }

    /// The same, if no more than `most` may be used in a window.
    pub fn forecast_within(&mut self, now: Duration, weight: u32, most: u32) -> Duration {
        self.forget(now);
        let windows = weight.saturating_sub(1) / most;
        let need = weight - windows * most;
        let mut wait = Duration::ZERO;
        let mut used = self.used;
        for &(until, weight) in &self.spent {
            if used.saturating_add(need) <= most {
                break;
            }
            used -= weight;
            wait = until.saturating_sub(now);
        }
        wait + self.length * windows
    }

    /// The exchange counts `used`: what it knows of and we do not is added. Never corrects downwards, since the
    /// exchange's window may have begun just now.
    pub fn correct(&mut self, now: Duration, used: u32) {
        self.forget(now);
        self.spend(now, used.min(self.limit).saturating_sub(self.used));
    }

    /// What is used now.
    pub fn used(&mut self, now: Duration) -> u32 {
        self.forget(now);
        self.used
    }

    /// The most that we use in a window.
    pub const fn aim(&self) -> u32 {
        self.aim
    }

    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// What was sent by `sent` was replied to: it arrived by now.
    pub fn replied(&mut self, sent: Duration, now: Duration, weight: u32) {
        self.forget(now);
        let weight = weight.min(self.aim);
        let by = self.rounded(sent + self.length);
        let mut left = weight;
        for (_, spent) in self.spent.iter_mut().rev().filter(|(until, _)| *until <= by) {
            let part = left.min(*spent);
            *spent -= part;
            self.used -= part;
            left -= part;
        }
        self.spent.retain(|(_, spent)| *spent > 0);
        self.count(now + self.after_reply, weight);
    }

    fn spend(&mut self, now: Duration, weight: u32) {
        self.count(now + self.length, weight);
    }

    fn count(&mut self, until: Duration, weight: u32) {
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
        self.grain * u32::try_from(at.as_nanos().div_ceil(self.grain.as_nanos())).unwrap_or(u32::MAX)
    }

    fn forget(&mut self, now: Duration) {
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
        fn no_window_holds_more_than_the_limit(
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
                let weight = weight.min(budget.aim);
                if let Err(wait) = budget.take(now, weight) {
                    prop_assert!(!wait.is_zero());
                    now += wait;
                    prop_assert_eq!(budget.take(now, weight), Ok(()), "the forecast was wrong");
                }
                sent.push((now, weight));
                let in_window: u32 = sent.iter().filter(|(at, _)| *at + length > now).map(|(_, weight)| weight).sum();
                prop_assert!(in_window <= limit, "{in_window} of {limit}");
            }
        }

        #[test]
        fn however_late_requests_arrive_no_window_holds_more_than_the_limit(
            limit in 1_u32..30,
            window in 100_u64..2_000,
            calls in prop::collection::vec((0_u64..300, 0_u64..100, 0_u64..100), 1..200),
        ) {
            let length = Duration::from_millis(window);
            let mut budget = Window::new(limit, length);
            let (mut now, mut arrived) = (Duration::ZERO, Vec::new());
            let mut under_way: Vec<(Duration, Duration)> = Vec::new();
            for (pause, part, reply) in calls {
                now += Duration::from_millis(pause);
                loop {
                    under_way.sort_unstable();
                    while under_way.first().is_some_and(|(replied, _)| *replied <= now) {
                        let (replied, sent) = under_way.remove(0);
                        budget.replied(sent, replied, 1);
                    }
                    match budget.take(now, 1) {
                        Ok(()) => break,
                        // Each reply is looked at when it comes.
                        Err(wait) => now = under_way.first().map_or(now + wait, |(replied, _)| (now + wait).min(*replied)),
                    }
                }
                // The reply takes up to a window and a little more.
                let arrives = now + length / 100 * u32::try_from(part).unwrap();
                arrived.push(arrives);
                under_way.push((arrives + Duration::from_millis(reply), now));
            }
            for end in &arrived {
                let in_window = arrived.iter().filter(|at| **at <= *end && **at + length > *end).count();
                prop_assert!(in_window <= limit as usize, "{in_window} of {limit}");
            }
        }

        #[test]
        fn what_the_exchange_counts_is_kept_to(limit in 10_u32..1_000, told in 0_u32..2_000, own in 1_u32..10) {
            let mut budget = Window::new(limit, Duration::from_mins(1));
            prop_assert_eq!(budget.take(Duration::ZERO, own), Ok(()));
            budget.correct(Duration::from_secs(1), told);
            let used = budget.used(Duration::from_secs(1));
            prop_assert_eq!(used, told.min(limit).max(own));
            let room = budget.take(Duration::from_secs(2), 1).is_ok();
            prop_assert_eq!(room, used < budget.aim);
        }
    }

    #[test]
    fn the_list_is_bounded() {
        let mut budget = Window::new(1_000_000, Duration::from_mins(1));
        for millis in 0..120_000 {
            let _ = budget.take(Duration::from_millis(millis), 1);
        }
        assert!(budget.spent.len() <= 600, "{}", budget.spent.len());
    }

    #[test]
    fn a_call_dearer_than_the_budget_goes_alone() {
        let mut budget = Window::new(10, Duration::from_secs(10));
        assert_eq!(budget.take(Duration::ZERO, 1), Ok(()));
        let wait = budget.take(Duration::ZERO, 50).unwrap_err();
        assert_eq!(budget.take(wait, 50), Ok(()));
    }
}
