//! Detects connections without data. Pure; times are the clock's `elapsed`.
//!
//! A ping proves that the socket works, not that the exchange still sends the subscribed data. Only data and
//! application-level heartbeats count. Quiet markets may send nothing for minutes, so the timeout follows the longest
//! pause of the last minutes.

use std::time::Duration;

/// A pause counts for one to two times this duration.
const WINDOW: Duration = Duration::from_mins(10);
/// With fewer observed pauses than this, [`MAX_SILENCE`] is the timeout.
const MIN_PAUSES: u32 = 16;
/// The timeout is this multiple of the longest pause.
const PAUSE_FACTOR: u32 = 8;
/// Upper bound of the timeout.
pub(super) const MAX_SILENCE: Duration = Duration::from_mins(15);

/// Intervals between the data of a feed, across its reconnects.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LivenessMonitor {
    /// When data was last received, or the connection was opened.
    last_data_at: Duration,
    /// Number of observed pauses.
    pauses: u32,
    window_start: Duration,
    /// The longest pause of this window and of the previous one.
    longest: [Duration; 2],
    /// Number of consecutive connections that timed out.
    timeouts: u32,
}

impl LivenessMonitor {
    /// Starts the timeout of a new connection.
    pub fn start(&mut self, now: Duration) {
        self.last_data_at = now;
    }

    /// Discards the observed pauses because the subscriptions changed.
    pub fn reset(&mut self, now: Duration) {
        *self = Self { last_data_at: now, timeouts: self.timeouts, ..Self::default() };
    }

    /// Records data or a heartbeat.
    pub fn record_data(&mut self, now: Duration) {
        if now >= self.window_start + WINDOW {
            let previous = if now >= self.window_start + 2 * WINDOW { Duration::ZERO } else { self.longest[0] };
            (self.window_start, self.longest) = (now, [Duration::ZERO, previous]);
        }
        let pause = now.saturating_sub(self.last_data_at);
        self.longest[0] = self.longest[0].max(pause);
        self.pauses = self.pauses.saturating_add(1);
        (self.last_data_at, self.timeouts) = (now, 0);
    }

    /// Records that the connection ends because of the timeout.
    pub fn record_timeout(&mut self) {
        self.timeouts = self.timeouts.saturating_add(1);
    }

    /// When the connection times out; at least `min` after the last data.
    pub fn deadline(&self, min: Duration) -> Duration {
        self.last_data_at.saturating_add(self.timeout(min))
    }

    /// Time since the last data.
    pub fn silent_for(&self, now: Duration) -> Duration {
        now.saturating_sub(self.last_data_at)
    }

    fn timeout(&self, min: Duration) -> Duration {
        if self.pauses < MIN_PAUSES {
            return MAX_SILENCE.max(min);
        }
        let longest = self.longest[0].max(self.longest[1]);
        // Each consecutive timeout doubles the minimum.
        let min_doubled = min.saturating_mul(1 << self.timeouts.min(8));
        longest.saturating_mul(PAUSE_FACTOR).max(min_doubled).min(MAX_SILENCE.max(min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_mins(1);

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn data_every(pause: u64, count: u64) -> (LivenessMonitor, Duration) {
        let mut monitor = LivenessMonitor::default();
        monitor.start(Duration::ZERO);
        (1..=count).for_each(|n| monitor.record_data(secs(n * pause)));
        (monitor, secs(count * pause))
    }

    #[test]
    fn busy_feed_gets_the_minimum_timeout_and_quiet_feed_more() {
        let (busy, now) = data_every(1, 100);
        assert_eq!(busy.deadline(MIN), now + MIN);
        let (quiet, now) = data_every(40, 20);
        assert_eq!(quiet.deadline(MIN), now + secs(320));
        let (dead, now) = data_every(300, 20);
        assert_eq!(dead.deadline(MIN), now + MAX_SILENCE);
        let (new, now) = data_every(1, 3);
        assert_eq!(new.deadline(MIN), now + MAX_SILENCE, "three pauses are too few");
    }

    #[test]
    fn long_pause_expires_after_two_windows() {
        let (mut monitor, mut now) = data_every(1, 100);
        now += secs(55);
        monitor.record_data(now);
        assert_eq!(monitor.deadline(MIN), now + secs(440));
        for _ in 0..1_300 {
            now += secs(1);
            monitor.record_data(now);
        }
        assert_eq!(monitor.deadline(MIN), now + MIN);
    }

    #[test]
    fn consecutive_timeouts_increase_the_timeout() {
        let (mut monitor, now) = data_every(1, 100);
        for (timeouts, minutes) in [(1, 2), (2, 4), (3, 8), (4, 15), (5, 15)] {
            monitor.record_timeout();
            assert_eq!(monitor.deadline(MIN), now + Duration::from_mins(minutes), "{timeouts}");
        }
        monitor.record_data(now);
        assert_eq!(monitor.deadline(MIN), now + MIN);
    }

    #[test]
    fn changed_subscriptions_reset_the_timeout() {
        let (mut monitor, now) = data_every(1, 100);
        monitor.reset(now);
        assert_eq!(monitor.deadline(MIN), now + MAX_SILENCE);
    }
}
