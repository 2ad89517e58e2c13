//! Progress of long commands: bars on a terminal; one line every ten seconds if standard error is a file or a pipe.

use std::io::Write as _;
use std::time::Duration;

use indicatif::{HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressFinish, ProgressStyle};
use parking_lot::Mutex;

use crate::clock::Clock;

/// Interval of lines without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The progress lines of one command.
#[derive(Debug)]
pub struct ProgressGroup {
    /// `None` if standard error is not a terminal.
    bars: Option<MultiProgress>,
    clock: Clock,
}

impl ProgressGroup {
    /// Writes to standard error.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        let bars = MultiProgress::new();
        Self { bars: (!bars.is_hidden()).then_some(bars), clock: clock.clone() }
    }

    /// Adds a line with a count of `total` items, such as candles.
    #[must_use]
    pub fn add(&self, name: &str, total: u64) -> ProgressLine {
        self.line(name, total, Unit::Count)
    }

    /// Adds a line with a percentage, for totals without meaning to users, such as milliseconds of a range.
    #[must_use]
    pub fn add_share(&self, name: &str, total: u64) -> ProgressLine {
        self.line(name, total, Unit::Share)
    }

    /// Writes a message above the bars.
    pub fn message(&self, text: &str) {
        match &self.bars {
            // A closed terminal is not an error.
            Some(bars) => drop(bars.println(text)),
            None => write_line(text),
        }
    }

    fn line(&self, name: &str, total: u64, unit: Unit) -> ProgressLine {
        let Some(bars) = &self.bars else {
            let plain = PlainProgress {
                name: name.to_owned(),
                total,
                unit,
                started_at: self.clock.elapsed(),
                last_line_at: None,
            };
            return ProgressLine(LineOutput::Plain { clock: self.clock.clone(), progress: Mutex::new(plain) });
        };
        let template = match unit {
            Unit::Count => "{prefix:24} {bar:24} {human_pos}/{human_len} · {per_sec:0} · {eta} left · {msg}",
            Unit::Share => "{prefix:24} {bar:24} {percent:>3} % · {eta} left · {msg}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // A failed item leaves its bar at its last position.
        let bar = ProgressBar::new(total).with_style(style).with_finish(ProgressFinish::Abandon);
        let bar = bars.add(bar);
        bar.set_prefix(name.to_owned());
        bar.tick();
        ProgressLine(LineOutput::Bar(bar))
    }
}

/// Progress of one item. Can be updated from any thread.
#[derive(Debug)]
pub struct ProgressLine(LineOutput);

#[derive(Debug)]
enum LineOutput {
    Bar(ProgressBar),
    Plain { clock: Clock, progress: Mutex<PlainProgress> },
}

impl ProgressLine {
    /// Sets the amount done and a note at the end of the line. Cheap enough to call per page, not per candle.
    pub fn set(&self, done: u64, note: &str) {
        match &self.0 {
            LineOutput::Bar(bar) => {
                bar.set_message(note.to_owned());
                bar.set_position(done);
            }
            LineOutput::Plain { clock, progress } => {
                let due = progress.lock().update(clock.elapsed(), done, note);
                if let Some(line) = due {
                    write_line(&line);
                }
            }
        }
    }

    /// Ends the line with a note. The amount done stays, even if it is less than the total.
    pub fn finish(self, note: &str) {
        match self.0 {
            LineOutput::Bar(bar) => bar.abandon_with_message(note.to_owned()),
            LineOutput::Plain { clock, progress } => write_line(&progress.into_inner().summary(clock.elapsed(), note)),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Count,
    Share,
}

/// Decides when a line is due, and formats it.
#[derive(Debug)]
struct PlainProgress {
    name: String,
    total: u64,
    unit: Unit,
    started_at: Duration,
    /// When the last line was written, if any.
    last_line_at: Option<Duration>,
}

impl PlainProgress {
    fn update(&mut self, now: Duration, done: u64, note: &str) -> Option<String> {
        if now.saturating_sub(self.last_line_at.unwrap_or(self.started_at)) < LINE_INTERVAL {
            return None;
        }
        self.last_line_at = Some(now);
        let elapsed = now.saturating_sub(self.started_at);
        let mut parts = match self.unit {
            Unit::Count => {
                let rate = u128::from(done) * 1_000 / elapsed.as_millis().max(1);
                let rate = count(u64::try_from(rate).unwrap_or(u64::MAX));
                vec![format!("{}/{}", count(done), count(self.total)), format!("{rate}/s")]
            }
            Unit::Share => vec![format!("{} %", u128::from(done) * 100 / u128::from(self.total.max(1)))],
        };
        let left = u128::from(self.total.saturating_sub(done)) * elapsed.as_millis();
        if let Some(left) = left.checked_div(u128::from(done)) {
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX));
            parts.push(format!("{:#} left", HumanDuration(left)));
        }
        if !note.is_empty() {
            parts.push(note.to_owned());
        }
        Some(format!("{}: {}", self.name, parts.join(" · ")))
    }

    fn summary(&self, now: Duration, note: &str) -> String {
        let note = if note.is_empty() { "done" } else { note };
        format!("{}: {note} · {:#}", self.name, HumanDuration(now.saturating_sub(self.started_at)))
    }
}

/// Formats `1234567` as `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// Unlike `eprintln!`, does not panic if standard error is closed.
fn write_line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn plain(total: u64, unit: Unit) -> PlainProgress {
        PlainProgress { name: "BTC/USDT 1m".to_owned(), total, unit, started_at: secs(5), last_line_at: None }
    }

    #[test]
    fn line_is_due_every_ten_seconds() {
        let mut plain = plain(500_000, Unit::Count);
        assert_eq!(plain.update(secs(14), 90_000, ""), None);
        let line = plain.update(secs(15), 123_456, "binance 34 % of its limit").unwrap();
        assert_eq!(line, "BTC/USDT 1m: 123,456/500,000 · 12,345/s · 31s left · binance 34 % of its limit");
        assert_eq!(plain.update(secs(24), 200_000, ""), None);
        assert!(plain.update(secs(25), 250_000, "").unwrap().starts_with("BTC/USDT 1m: 250,000/500,000 · 12,500/s"));
    }

    #[test]
    fn share_is_shown_as_percentage() {
        let mut plain = plain(31_536_000_000, Unit::Share);
        let line = plain.update(secs(65), 7_884_000_000, "129,600 candles").unwrap();
        assert_eq!(line, "BTC/USDT 1m: 25 % · 3m left · 129,600 candles");
    }

    #[test]
    fn zero_done_and_zero_total_are_valid() {
        assert_eq!(plain(0, Unit::Share).update(secs(20), 0, "").unwrap(), "BTC/USDT 1m: 0 %");
        assert_eq!(plain(u64::MAX, Unit::Count).update(secs(20), u64::MAX, "").unwrap().matches('·').count(), 2);
        assert_eq!(plain(9, Unit::Count).summary(secs(125), ""), "BTC/USDT 1m: done · 2m");
    }
}
