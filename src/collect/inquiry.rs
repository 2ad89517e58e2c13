//! Which questions make a gap known: a state machine without I/O.
//!
//! A question includes the known candles on both sides of the gap, so that silence in the gap lies between two rows of
//! one answer: that proves it, unless the exchange gives a candle for each interval. Where it teaches nothing, whole
//! pages are asked for, to reach candles further away; then the gap alone. What is still silent is
//! [suspect](super::suspects).

use super::claims::Answer;
use super::suspects::{CONFIRMED_AFTER, Suspects};
use crate::model::{Candle, Coverage, CoveredRange, Interval, Knowledge, Series, TimeRange, Timestamp};

/// The most questions of one inquiry; what is left then is left to the next.
const MOST_QUESTIONS: u32 = 64;

/// A row that cannot be right is asked for again until its time is over for so long.
const CORRECTED_WITHIN: std::time::Duration = std::time::Duration::from_hours(1);

/// Silence between so many candles in a row on both sides is not believed without proof.
const BUSY: u32 = 30;

/// What an exchange's pages are like.
#[derive(Clone, Copy, Debug)]
pub struct PageRules {
    /// The most rows of a page.
    pub rows: u32,
    /// Whether a page may be asked for a longer time than it has rows; it then gives the first of them.
    pub wide: bool,
    /// Whether the exchange gives a candle for a time without trades, too: where one is missing between two others, the
    /// exchange left it out or lost it.
    pub gapless: bool,
    /// Before this the exchange gives nothing.
    pub reach: Timestamp,
}

/// Makes one gap of a series known.
pub struct Inquiry<'a> {
    series: &'a Series,
    suspects: &'a Suspects,
    rules: PageRules,
    gap: TimeRange,
    /// Whether more of the same gap follows behind its end: what is silent there is left to the next inquiry.
    goes_on: bool,
    /// What is known in the gap and within a page around it.
    known: Coverage,
    /// What this inquiry cannot decide.
    undecided: Coverage,
    due: Option<Timestamp>,
    /// The first candle after the gap that an answer told of, where it lies further away than `known` reaches.
    far: Option<Timestamp>,
    step: Step,
    /// An answer had none of the candles that are known to be there: no silence of this inquiry is believed.
    contradicted: bool,
    asked: u32,
}

/// How the current part of the gap is asked for; what teaches nothing is followed by the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// With the candles next to it.
    Narrow,
    /// As far as a page reaches after it, where no candle after it is known.
    Forward,
    /// As far as a page reaches before it, where no candle before it is known.
    Back,
    /// All time before it, where the exchange gives the first candles of any time.
    Ever,
    /// Alone: an empty answer says that there is nothing.
    Alone,
}

impl Step {
    const ALL: [Self; 5] = [Self::Narrow, Self::Forward, Self::Back, Self::Ever, Self::Alone];

    fn next(self) -> Option<Self> {
        Self::ALL.into_iter().skip_while(|step| *step != self).nth(1)
    }
}

/// A question for candles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Open times.
    pub range: TimeRange,
    /// The part of the gap that it is about.
    part: TimeRange,
    step: Step,
    /// The first candle after the part that is known.
    after: Option<Timestamp>,
}

/// What an answer adds to the store.
#[derive(Debug, Default)]
pub struct Learnt {
    pub candles: Vec<Candle>,
    pub claims: Vec<CoveredRange>,
}

impl<'a> Inquiry<'a> {
    /// `known` is what the ledger says of the gap and of [`around`](Self::around) it.
    pub fn new(
        (series, suspects, rules): (&'a Series, &'a Suspects, PageRules),
        gap: TimeRange,
        goes_on: bool,
        known: Coverage,
    ) -> Self {
        let (undecided, due, far, step) = (Coverage::default(), None, None, Step::Narrow);
        Self { series, suspects, rules, gap, goes_on, known, undecided, due, far, step, contradicted: false, asked: 0 }
    }

    /// The time whose ledger an inquiry needs.
    pub fn around(interval: Interval, rules: PageRules, gap: TimeRange) -> TimeRange {
        let start = interval.back(gap.start(), rules.rows).max(interval.ceil(Timestamp::EPOCH));
        TimeRange::new(start, interval.forward(gap.end(), rules.rows))
    }

    /// The next question at `now`, by the exchange's clock. `None`: all is decided that can be now.
    pub fn next(&mut self, now: Timestamp) -> Option<Asked> {
        while self.asked < MOST_QUESTIONS {
            let part = self.part()?;
            if self.goes_on && part.end() == self.gap.end() && part.start() > self.gap.start() {
                return None;
            }
            let (before, after) = self.neighbours(part);
            if self.step == Step::Narrow
                && let Some(due) = self.suspects.deferred(self.series, part, after, now)
            {
                self.leave(part, due);
                continue;
            }
            let young = part.start() + CONFIRMED_AFTER > now;
            if self.step != Step::Narrow && after.is_none() && young && !self.goes_on {
                // A later candle will prove it.
                self.suspects.defer(self.series, part, after, now);
                let due = self.suspects.deferred(self.series, part, after, now);
                self.leave(part, due.unwrap_or(now));
                self.step = Step::Narrow;
                continue;
            }
            let Some(range) = self.range(self.step, part, (before, after), now) else {
                self.step = self.step.next().unwrap_or(Step::Narrow);
                continue;
            };
            self.asked += 1;
            return Some(Asked { range, part, step: self.step, after });
        }
        None
    }

    /// What the answer to a question says, received at `now`.
    pub fn learn(&mut self, asked: Asked, answer: Answer, now: Timestamp) -> Learnt {
        let Asked { part, step, .. } = asked;
        let left = unknown_time(&self.known, &self.undecided, part);
        if step == Step::Forward {
            self.far = answer.candles.first().map(|first| first.timestamp).filter(|first| *first >= part.end());
        }
        let claims = self.proven(asked, &answer, now);
        let claims = self.new_claims(&claims);
        let is_new = |candle: &Candle| !claims.within(self.series.interval.span(candle.timestamp)).ranges().is_empty();
        let candles = answer.candles.into_iter().filter(is_new).collect();
        claims.ranges().iter().for_each(|claim| self.known.add(*claim));
        self.suspects.settle(self.series, &claims);
        let progress = unknown_time(&self.known, &self.undecided, part) < left;
        self.step = match step.next() {
            _ if progress => Step::Narrow,
            Some(next) => next,
            None => {
                let silent = asked.range.intersection(part);
                self.suspects.defer(self.series, silent, asked.after, now);
                self.leave(silent, now + CONFIRMED_AFTER);
                Step::Narrow
            }
        };
        self.known = self.known.within(Self::around(self.series.interval, self.rules, self.gap));
        Learnt { candles, claims: claims.ranges().to_vec() }
    }

    /// What an answer proves, by itself and with those before it.
    fn proven(&mut self, Asked { range, step, after, .. }: Asked, answer: &Answer, now: Timestamp) -> Coverage {
        let mut claims = if self.rules.gapless { answer.claims.clone() } else { answer.known() };
        if self.rules.gapless {
            for silent in answer.silence.within(self.gap).ranges() {
                self.doubt(*silent, true, after, now, &mut claims);
            }
        }
        for defect in &answer.defects {
            self.doubt(CoveredRange { range: defect.range, state: defect.state }, false, after, now, &mut claims);
        }
        let settled = now - CONFIRMED_AFTER;
        let known = self.known.within(TimeRange::new(range.start(), range.end().min(settled)));
        self.contradicted |= answer.blank && known.ranges().iter().any(|known| known.state.has_candle());
        if answer.blank && matches!(step, Step::Ever | Step::Alone) && !self.contradicted {
            self.doubt(CoveredRange { range, state: Knowledge::Empty }, false, after, now, &mut claims);
        } else if step == Step::Alone && answer.undated && answer.candles.is_empty() && answer.defects.is_empty() {
            // Rows that say nothing, not even of which time they are.
            self.doubt(CoveredRange { range, state: Knowledge::Invalid }, false, after, now, &mut claims);
        }
        claims
    }

    /// What the ledger is to say anew. What is known of other candles stays: the stream's may be better. What the stream saw
    /// traded is not empty, whatever the exchange says.
    fn new_claims(&self, claims: &Coverage) -> Coverage {
        let had: Coverage = self.known.ranges().iter().copied().filter(|known| known.state.has_candle()).collect();
        let is_true = |claim: &&CoveredRange| {
            claim.state != Knowledge::Empty || !self.suspects.saw_trades(self.series, claim.range)
        };
        let new = |claim: &CoveredRange| {
            let (claim, parts) = (*claim, had.unknown(claim.range));
            parts.into_iter().map(move |range| CoveredRange { range, ..claim })
        };
        claims.ranges().iter().filter(is_true).flat_map(new).collect()
    }

    /// When the rest is worth asking for again; `None` where nothing is left.
    pub fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Up to where everything is known or left undecided.
    pub fn reached(&self) -> Timestamp {
        self.part().map_or(self.gap.end(), TimeRange::start)
    }

    /// Whether all questions that one inquiry may ask are used up.
    pub const fn is_exhausted(&self) -> bool {
        self.asked >= MOST_QUESTIONS
    }

    /// The first part of the gap that is still to be decided.
    fn part(&self) -> Option<TimeRange> {
        let known: Coverage = self.known.ranges().iter().chain(self.undecided.ranges()).copied().collect();
        known.unknown(self.gap).first().copied()
    }

    /// An answer says that a time is in a state; it is so when another answer agrees and nothing contradicts it. Where the
    /// candles on both sides are `enclosing` rows of the answer itself, that the market was busy is no contradiction.
    fn doubt(
        &mut self,
        claim: CoveredRange,
        enclosing: bool,
        after: Option<Timestamp>,
        now: Timestamp,
        claims: &mut Coverage,
    ) {
        let until = self.series.interval.floor(now - CORRECTED_WITHIN);
        for agreed in self.suspects.answered(self.series, claim, after, now).ranges() {
            let range = if agreed.state != Knowledge::Empty {
                TimeRange::new(agreed.range.start(), agreed.range.end().min(until))
            } else if !enclosing && self.is_busy(agreed.range) {
                continue;
            } else {
                agreed.range
            };
            if !range.is_empty() {
                claims.add(CoveredRange { range, ..*agreed });
            }
        }
        for range in claims.unknown(claim.range.intersection(self.gap)) {
            self.leave(range, now + CONFIRMED_AFTER);
        }
    }

    fn leave(&mut self, range: TimeRange, due: Timestamp) {
        self.undecided.add(CoveredRange { range, state: Knowledge::Unavailable });
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Whether the market traded in each interval just before and just after a time.
    fn is_busy(&self, range: TimeRange) -> bool {
        let interval = self.series.interval;
        let whole = |side: TimeRange| {
            let known = self.known.within(side);
            !side.is_empty()
                && known.unknown(side).is_empty()
                && known.ranges().iter().all(|known| known.state.has_candle())
        };
        whole(TimeRange::new(interval.back(range.start(), BUSY), range.start()))
            && whole(TimeRange::new(range.end(), interval.forward(range.end(), BUSY)))
    }

    /// The open times of the last known candle before a part and of the first after it.
    fn neighbours(&self, part: TimeRange) -> (Option<Timestamp>, Option<Timestamp>) {
        let candles = || self.known.ranges().iter().filter(|known| known.state.has_candle()).map(|known| known.range);
        let before = candles().take_while(|known| known.end() <= part.start()).last();
        let after = candles().find(|known| known.start() >= part.end());
        let after = after.map(TimeRange::start).or(self.far.filter(|far| *far >= part.end()));
        (before.map(|before| self.series.interval.back(before.end(), 1)), after)
    }

    /// The open times that a step asks for; `None` where it does not apply.
    fn range(
        &self,
        step: Step,
        part: TimeRange,
        (before, next): (Option<Timestamp>, Option<Timestamp>),
        now: Timestamp,
    ) -> Option<TimeRange> {
        let (interval, PageRules { rows, wide, reach, .. }) = (self.series.interval, self.rules);
        // A candle that is too far away would leave no room for the part.
        let before = before.filter(|before| *before >= interval.back(part.start(), rows / 2));
        let from = before.unwrap_or(part.start());
        // Up to the candle that is forming.
        let open = interval.next(interval.floor(now));
        let beyond = |last: Timestamp| interval.next(last).min(interval.next(open));
        let (start, end) = match step {
            Step::Narrow => (from, beyond(next.unwrap_or(part.end())).min(interval.forward(from, rows))),
            Step::Forward if next.is_some() => return None,
            Step::Forward if wide => (from, open),
            Step::Forward => (from, beyond(interval.forward(from, rows - 1))),
            Step::Back => {
                let next = next.filter(|_| before.is_none())?;
                (interval.back(beyond(next), rows), beyond(next))
            }
            Step::Ever if wide && before.is_none() => (Timestamp::EPOCH, next?),
            Step::Ever => return None,
            Step::Alone if wide => (part.start(), next.unwrap_or(part.end())),
            Step::Alone => (part.start(), part.end().min(interval.forward(part.start(), rows))),
        };
        let start = interval.ceil(start.max(reach).max(Timestamp::EPOCH));
        (start < end).then(|| TimeRange::new(start, end))
    }
}

/// How much of `part` is neither known nor left undecided.
fn unknown_time(known: &Coverage, undecided: &Coverage, part: TimeRange) -> std::time::Duration {
    let decided: Coverage = known.within(part).ranges().iter().chain(undecided.ranges()).copied().collect();
    decided.unknown(part).iter().map(|range| range.duration()).sum()
}

#[cfg(test)]
mod tests;
