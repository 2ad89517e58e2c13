//! How often data come over a connection, and how long their silence may last. Pure; times are the clock's `elapsed`.
//!
//! A ping proves that the socket is there, not that the exchange still sends what was subscribed. What counts is data, and
//! the application's heartbeats where the exchange has them. Quiet markets may be silent for minutes, so that the longest
//! pause of the last minutes says how long the next one may be.

use std::time::Duration;

/// Pauses are remembered for one to two times as long.
const WINDOW: Duration = Duration::from_mins(10);
/// With fewer pauses than this the rhythm is not known.
const FEW: u32 = 16;
/// A silence of so many times the longest pause is not the market's.
const TIMES: u32 = 8;
/// No silence is accepted for longer than this.
pub(super) const LONGEST_SILENCE: Duration = Duration::from_mins(15);

/// The rhythm of the data of a feed, over all of its connections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rhythm {
    /// When data came last, or the connection was opened.
    heard_at: Duration,
    /// How many pauses were seen.
    pauses: u32,
    window_began: Duration,
    /// The longest pause of this window and of the one before.
    longest: [Duration; 2],
    /// How many connections in a row ended because of a silence.
    silences: u32,
}

impl Rhythm {
    /// A new connection is there: from now on data are waited for.
    pub fn begin(&mut self, now: Duration) {
        self.heard_at = now;
    }

    /// Other things are subscribed, whose rhythm is not known.
    pub fn forget(&mut self, now: Duration) {
        *self = Self { heard_at: now, silences: self.silences, ..Self::default() };
    }

    /// Data or a heartbeat came.
    pub fn heard(&mut self, now: Duration) {
        if now >= self.window_began + WINDOW {
            let before = if now >= self.window_began + 2 * WINDOW { Duration::ZERO } else { self.longest[0] };
            (self.window_began, self.longest) = (now, [Duration::ZERO, before]);
        }
        let pause = now.saturating_sub(self.heard_at);
        self.longest[0] = self.longest[0].max(pause);
        self.pauses = self.pauses.saturating_add(1);
        (self.heard_at, self.silences) = (now, 0);
    }

    /// The connection ends because of a silence.
    pub fn ended_silent(&mut self) {
        self.silences = self.silences.saturating_add(1);
    }

    /// When the silence has lasted too long: never sooner than `least` after the last data.
    pub fn deadline(&self, least: Duration) -> Duration {
        self.heard_at.saturating_add(self.limit(least))
    }

    /// How long nothing was heard.
    pub fn silent_for(&self, now: Duration) -> Duration {
        now.saturating_sub(self.heard_at)
    }

    fn limit(&self, least: Duration) -> Duration {
        if self.pauses < FEW {
            return LONGEST_SILENCE.max(least);
        }
        let longest = self.longest[0].max(self.longest[1]);
        // Where connection after connection says nothing, the next one is given more time.
        let patient = least.saturating_mul(1 << self.silences.min(8));
        longest.saturating_mul(TIMES).max(patient).min(LONGEST_SILENCE.max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_mins(1);

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn heard_every(pause: u64, times: u64) -> (Rhythm, Duration) {
        let mut rhythm = Rhythm::default();
        rhythm.begin(Duration::ZERO);
        (1..=times).for_each(|n| rhythm.heard(secs(n * pause)));
        (rhythm, secs(times * pause))
    }

    #[test]
    fn busy_markets_are_given_the_least_time_and_quiet_ones_more() {
        let (busy, now) = heard_every(1, 100);
        assert_eq!(busy.deadline(LEAST), now + LEAST);
        let (quiet, now) = heard_every(40, 20);
        assert_eq!(quiet.deadline(LEAST), now + secs(320));
        let (dead, now) = heard_every(300, 20);
        assert_eq!(dead.deadline(LEAST), now + LONGEST_SILENCE);
        let (new, now) = heard_every(1, 3);
        assert_eq!(new.deadline(LEAST), now + LONGEST_SILENCE, "three frames are no rhythm");
    }

    #[test]
    fn a_long_pause_is_forgotten_after_two_windows() {
        let (mut rhythm, mut now) = heard_every(1, 100);
        now += secs(55);
        rhythm.heard(now);
        assert_eq!(rhythm.deadline(LEAST), now + secs(440));
        for _ in 0..1_300 {
            now += secs(1);
            rhythm.heard(now);
        }
        assert_eq!(rhythm.deadline(LEAST), now + LEAST);
    }

    #[test]
    fn silence_after_silence_is_given_more_time() {
        let (mut rhythm, now) = heard_every(1, 100);
        for (silences, minutes) in [(1, 2), (2, 4), (3, 8), (4, 15), (5, 15)] {
            rhythm.ended_silent();
            assert_eq!(rhythm.deadline(LEAST), now + Duration::from_mins(minutes), "{silences}");
        }
        rhythm.heard(now);
        assert_eq!(rhythm.deadline(LEAST), now + LEAST);
    }

    #[test]
    fn other_subscriptions_have_another_rhythm() {
        let (mut rhythm, now) = heard_every(1, 100);
        rhythm.forget(now);
        assert_eq!(rhythm.deadline(LEAST), now + LONGEST_SILENCE);
    }
}
