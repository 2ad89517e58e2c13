//! Progress of long work, for people: bars on a terminal; plain lines now and then where standard error is a file or a pipe.

use std::io::Write as _;
use std::time::Duration;

use indicatif::{HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressFinish, ProgressStyle};
use parking_lot::Mutex;

use crate::clock::Clock;

/// How often a plain line is written.
const EVERY: Duration = Duration::from_secs(10);

/// The lines of one piece of work, which may move at the same time.
#[derive(Debug)]
pub struct Group {
    /// Nothing where standard error is no terminal.
    bars: Option<MultiProgress>,
    clock: Clock,
}

impl Group {
    /// On standard error.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        let bars = MultiProgress::new();
        Self { bars: (!bars.is_hidden()).then_some(bars), clock: clock.clone() }
    }

    /// A line of `total` things that are counted, such as candles.
    #[must_use]
    pub fn add(&self, name: &str, total: u64) -> Line {
        self.line(name, total, Unit::Count)
    }

    /// A line whose total says nothing to people, such as milliseconds of a range: it shows a percentage in place of counts.
    #[must_use]
    pub fn add_share(&self, name: &str, total: u64) -> Line {
        self.line(name, total, Unit::Share)
    }

    /// Writes a sentence above the bars.
    pub fn say(&self, text: &str) {
        match &self.bars {
            // Nobody minds what a terminal that is gone does not show.
            Some(bars) => drop(bars.println(text)),
            None => tell(text),
        }
    }

    fn line(&self, name: &str, total: u64, unit: Unit) -> Line {
        let Some(bars) = &self.bars else {
            let plain = Plain { name: name.to_owned(), total, unit, began: self.clock.elapsed(), told: None };
            return Line(Shown::Plain { clock: self.clock.clone(), plain: Mutex::new(plain) });
        };
        let template = match unit {
            Unit::Count => "{prefix:24} {bar:24} {human_pos}/{human_len} · {per_sec:0} · {eta} left · {msg}",
            Unit::Share => "{prefix:24} {bar:24} {percent:>3} % · {eta} left · {msg}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // Work that fails leaves its bar where it stood.
        let bar = ProgressBar::new(total).with_style(style).with_finish(ProgressFinish::Abandon);
        let bar = bars.add(bar);
        bar.set_prefix(name.to_owned());
        bar.tick();
        Line(Shown::Bar(bar))
    }
}

/// One thing's progress; any thread may move it.
#[derive(Debug)]
pub struct Line(Shown);

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Plain { clock: Clock, plain: Mutex<Plain> },
}

impl Line {
    /// So much is done by now; `note` is shown at the end of the line. Cheap enough for each page, not for each candle.
    pub fn set(&self, done: u64, note: &str) {
        match &self.0 {
            Shown::Bar(bar) => {
                bar.set_message(note.to_owned());
                bar.set_position(done);
            }
            Shown::Plain { clock, plain } => {
                let due = plain.lock().moved(clock.elapsed(), done, note);
                if let Some(line) = due {
                    tell(&line);
                }
            }
        }
    }

    /// The last word. The line stays where it was moved to, also short of its total.
    pub fn finish(self, note: &str) {
        match self.0 {
            Shown::Bar(bar) => bar.abandon_with_message(note.to_owned()),
            Shown::Plain { clock, plain } => tell(&plain.into_inner().ended(clock.elapsed(), note)),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Count,
    Share,
}

/// When a plain line is due, and how it reads.
#[derive(Debug)]
struct Plain {
    name: String,
    total: u64,
    unit: Unit,
    began: Duration,
    /// When the last line was written.
    told: Option<Duration>,
}

impl Plain {
    fn moved(&mut self, now: Duration, done: u64, note: &str) -> Option<String> {
        if now.saturating_sub(self.told.unwrap_or(self.began)) < EVERY {
            return None;
        }
        self.told = Some(now);
        let took = now.saturating_sub(self.began);
        let mut parts = match self.unit {
            Unit::Count => {
                let rate = u128::from(done) * 1_000 / took.as_millis().max(1);
                let rate = count(u64::try_from(rate).unwrap_or(u64::MAX));
                vec![format!("{}/{}", count(done), count(self.total)), format!("{rate}/s")]
            }
            Unit::Share => vec![format!("{} %", u128::from(done) * 100 / u128::from(self.total.max(1)))],
        };
        let left = u128::from(self.total.saturating_sub(done)) * took.as_millis();
        if let Some(left) = left.checked_div(u128::from(done)) {
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX));
            parts.push(format!("{:#} left", HumanDuration(left)));
        }
        if !note.is_empty() {
            parts.push(note.to_owned());
        }
        Some(format!("{}: {}", self.name, parts.join(" · ")))
    }

    fn ended(&self, now: Duration, note: &str) -> String {
        let note = if note.is_empty() { "done" } else { note };
        format!("{}: {note} · {:#}", self.name, HumanDuration(now.saturating_sub(self.began)))
    }
}

/// `1234567` as `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// Unlike `eprintln!`, does not panic where nobody reads any more.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn plain(total: u64, unit: Unit) -> Plain {
        Plain { name: "BTC/USDT 1m".to_owned(), total, unit, began: secs(5), told: None }
    }

    #[test]
    fn a_plain_line_is_due_each_ten_seconds() {
        let mut plain = plain(500_000, Unit::Count);
        assert_eq!(plain.moved(secs(14), 90_000, ""), None);
        let line = plain.moved(secs(15), 123_456, "binance 34 % of its limit").unwrap();
        assert_eq!(line, "BTC/USDT 1m: 123,456/500,000 · 12,345/s · 31s left · binance 34 % of its limit");
        assert_eq!(plain.moved(secs(24), 200_000, ""), None);
        assert!(plain.moved(secs(25), 250_000, "").unwrap().starts_with("BTC/USDT 1m: 250,000/500,000 · 12,500/s"));
    }

    #[test]
    fn a_share_is_shown_in_percent() {
        let mut plain = plain(31_536_000_000, Unit::Share);
        let line = plain.moved(secs(65), 7_884_000_000, "129,600 candles").unwrap();
        assert_eq!(line, "BTC/USDT 1m: 25 % · 3m left · 129,600 candles");
    }

    #[test]
    fn nothing_done_and_nothing_to_do_are_no_trouble() {
        assert_eq!(plain(0, Unit::Share).moved(secs(20), 0, "").unwrap(), "BTC/USDT 1m: 0 %");
        assert_eq!(plain(u64::MAX, Unit::Count).moved(secs(20), u64::MAX, "").unwrap().matches('·').count(), 2);
        assert_eq!(plain(9, Unit::Count).ended(secs(125), ""), "BTC/USDT 1m: done · 2m");
    }
}
