//! How much of an exchange's limit is used, over a sliding window. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// How much longer than another a request takes to arrive: a few round trips.
const ARRIVES_WITHIN: Duration = Duration::from_millis(500);

/// The weights of the last window's requests.
///
/// A sliding window keeps the limit in every window that the exchange may draw, fixed ones included. It is cautious
/// twice: only nine tenths of the limit are used, and a request counts for longer than the window, since requests do not take
/// the same time to arrive: the first ones wait for a handshake, those that follow find a connection.
#[derive(Debug)]
pub(super) struct Window {
    limit: u32,
    /// What we use of the limit.
    aim: u32,
    /// How long a request counts.
    length: Duration,
    /// Moments are rounded up to this, so that the list below is bounded.
    grain: Duration,
    /// What was spent when, ascending.
    spent: VecDeque<(Duration, u32)>,
    /// The sum of `spent`.
    used: u32,
}

impl Window {
    pub fn new(limit: u32, window: Duration) -> Self {
        let limit = limit.max(1);
        let length = window + (window / 20).max(ARRIVES_WITHIN);
        let grain = (window / 500).max(Duration::from_millis(1));
        Self { limit, aim: limit - limit / 10, length, grain, spent: VecDeque::new(), used: 0 }
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
        for &(at, weight) in &self.spent {
            if used.saturating_add(need) <= most {
                break;
            }
            used -= weight;
            wait = (at + self.length).saturating_sub(now);
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

    fn spend(&mut self, now: Duration, weight: u32) {
        if weight == 0 {
            return;
        }
        self.used += weight;
        let at = self.grain * u32::try_from(now.as_nanos().div_ceil(self.grain.as_nanos())).unwrap_or(u32::MAX);
        match self.spent.back_mut() {
            Some((last, sum)) if *last >= at => *sum += weight,
            _ => self.spent.push_back((at, weight)),
        }
    }

    fn forget(&mut self, now: Duration) {
        while let Some(&(at, weight)) = self.spent.front() {
            if at + self.length > now {
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
