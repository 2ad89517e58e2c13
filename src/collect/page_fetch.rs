//! Decides which pages to request to close a gap, and which coverage claims they prove. A state machine without I/O.
//!
//! A request includes the known candles on both sides of the gap. If both are in the page and the gap has no row, the
//! gap is empty, unless the exchange has a candle for each interval. If a page proves nothing, the next requests cover
//! whole pages, to find candles further away, and then the gap alone. A gap that is still without rows is recorded in
//! [`SuspectRanges`].

use super::claims::PageClaims;
use super::suspect_ranges::{CONFIRM_AFTER, SuspectRanges};
use crate::model::{Candle, Coverage, CoverageState, CoveredRange, Interval, Series, TimeRange, Timestamp};

/// Maximum number of requests per `PageFetch`. The rest of the gap is left to the next one.
const MAX_REQUESTS: u32 = 64;

/// A defective row is requested again until its candle is older than this.
const CORRECTION_WINDOW: std::time::Duration = std::time::Duration::from_hours(1);

/// A response without rows does not prove a gap empty if it has this many consecutive candles on both sides.
const BUSY_CANDLES: u32 = 30;

/// Properties of an exchange's candle pages.
#[derive(Clone, Copy, Debug)]
pub struct PageRules {
    /// Maximum number of rows per page.
    pub max_rows: u32,
    /// Whether the requested range may have more candles than a page; the page then has the first ones.
    pub accepts_long_ranges: bool,
    /// Whether the exchange has a candle for each interval, even without trades: a missing one was left out or lost.
    pub gapless: bool,
    /// The exchange has no candles before this time.
    pub available_from: Timestamp,
}

/// Closes one gap of a series.
pub struct PageFetch<'a> {
    series: &'a Series,
    suspect_ranges: &'a SuspectRanges,
    rules: PageRules,
    gap: TimeRange,
    /// Whether the gap continues after `gap.end()`: a range without rows there is left to the next `PageFetch`.
    gap_continues: bool,
    /// Known coverage of the gap and of one page on each side.
    known: Coverage,
    /// Ranges that this `PageFetch` cannot decide.
    deferred: Coverage,
    retry_at: Option<Timestamp>,
    /// The first candle after the target in a `Forward` page. May be beyond the range of `known`.
    far_candle: Option<Timestamp>,
    step: Step,
    /// A page had no rows although the ledger has candles there: no page of this `PageFetch` without rows is trusted.
    contradicted: bool,
    request_count: u32,
}

/// What to request for the current target. If a page proves nothing, the next step follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The target with the known candles on both sides.
    WithNeighbours,
    /// The target and a page after it, if no candle after it is known.
    Forward,
    /// The target and a page before it, if no candle before it is known.
    Backward,
    /// The target and all time before it, if the range may be wider than a page.
    AllBefore,
    /// The target alone: a page without rows means that it has no candles.
    GapOnly,
}

impl Step {
    const ALL: [Self; 5] = [Self::WithNeighbours, Self::Forward, Self::Backward, Self::AllBefore, Self::GapOnly];

    fn next(self) -> Option<Self> {
        Self::ALL.into_iter().skip_while(|step| *step != self).nth(1)
    }
}

/// A request for a page of candles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Range of open times.
    pub range: TimeRange,
    /// The part of the gap to decide.
    target: TimeRange,
    step: Step,
    /// The first known candle after the target.
    after: Option<Timestamp>,
}

/// Candles and claims of a page to write to the store.
#[derive(Debug, Default)]
pub struct PageOutcome {
    pub candles: Vec<Candle>,
    pub claims: Vec<CoveredRange>,
}

impl<'a> PageFetch<'a> {
    /// `known` is the coverage of the [`context_range`](Self::context_range) of the gap.
    pub fn new(
        (series, suspect_ranges, rules): (&'a Series, &'a SuspectRanges, PageRules),
        gap: TimeRange,
        gap_continues: bool,
        known: Coverage,
    ) -> Self {
        let (deferred, retry_at, far_candle, step) = (Coverage::default(), None, None, Step::WithNeighbours);
        Self {
            series,
            suspect_ranges,
            rules,
            gap,
            gap_continues,
            known,
            deferred,
            retry_at,
            far_candle,
            step,
            contradicted: false,
            request_count: 0,
        }
    }

    /// The range whose coverage is needed to close `gap`.
    pub fn context_range(interval: Interval, rules: PageRules, gap: TimeRange) -> TimeRange {
        let start = interval.back(gap.start(), rules.max_rows).max(interval.ceil(Timestamp::EPOCH));
        TimeRange::new(start, interval.forward(gap.end(), rules.max_rows))
    }

    /// The next request at `now` (exchange time). `None` if everything that can be decided now is decided.
    pub fn next_request(&mut self, now: Timestamp) -> Option<PageRequest> {
        while self.request_count < MAX_REQUESTS {
            let target = self.next_target()?;
            if self.gap_continues && target.end() == self.gap.end() && target.start() > self.gap.start() {
                return None;
            }
            let (before, after) = self.neighbour_candles(target);
            if self.step == Step::WithNeighbours
                && let Some(retry_at) = self.suspect_ranges.retry_at(self.series, target, after, now)
            {
                self.defer(target, retry_at);
                continue;
            }
            let is_recent = target.start() + CONFIRM_AFTER > now;
            if self.step != Step::WithNeighbours && after.is_none() && is_recent && !self.gap_continues {
                // A later candle will prove whether the target is empty.
                self.suspect_ranges.record_no_data(self.series, target, after, now);
                let retry_at = self.suspect_ranges.retry_at(self.series, target, after, now);
                self.defer(target, retry_at.unwrap_or(now));
                self.step = Step::WithNeighbours;
                continue;
            }
            let Some(range) = self.request_range(self.step, target, (before, after), now) else {
                self.step = self.step.next().unwrap_or(Step::WithNeighbours);
                continue;
            };
            self.request_count += 1;
            return Some(PageRequest { range, target, step: self.step, after });
        }
        None
    }

    /// Evaluates the page for a request, received at `now`.
    pub fn apply_page(&mut self, request: PageRequest, page: PageClaims, now: Timestamp) -> PageOutcome {
        let PageRequest { target, step, .. } = request;
        let undecided_before = undecided_time(&self.known, &self.deferred, target);
        if step == Step::Forward {
            self.far_candle = page.candles.first().map(|first| first.timestamp).filter(|first| *first >= target.end());
        }
        let claims = self.proven_claims(request, &page, now);
        let claims = self.new_claims(&claims);
        let is_new = |candle: &Candle| !claims.within(self.series.interval.span(candle.timestamp)).ranges().is_empty();
        let candles = page.candles.into_iter().filter(is_new).collect();
        claims.ranges().iter().for_each(|claim| self.known.add(*claim));
        self.suspect_ranges.clear_known(self.series, &claims);
        let progress = undecided_time(&self.known, &self.deferred, target) < undecided_before;
        self.step = match step.next() {
            _ if progress => Step::WithNeighbours,
            Some(next) => next,
            None => {
                let without_rows = request.range.intersection(target);
                self.suspect_ranges.record_no_data(self.series, without_rows, request.after, now);
                self.defer(without_rows, now + CONFIRM_AFTER);
                Step::WithNeighbours
            }
        };
        self.known = self.known.within(Self::context_range(self.series.interval, self.rules, self.gap));
        PageOutcome { candles, claims: claims.ranges().to_vec() }
    }

    /// Claims that a page proves, alone or together with earlier pages.
    fn proven_claims(&mut self, request: PageRequest, page: &PageClaims, now: Timestamp) -> Coverage {
        let PageRequest { range, step, after, .. } = request;
        let mut claims = if self.rules.gapless { page.claims.clone() } else { page.all_claims() };
        if self.rules.gapless {
            for empty in page.empty_between_rows.within(self.gap).ranges() {
                self.add_if_confirmed(*empty, true, after, now, &mut claims);
            }
        }
        for defect in &page.defects {
            self.add_if_confirmed(
                CoveredRange { range: defect.range, state: defect.state },
                false,
                after,
                now,
                &mut claims,
            );
        }
        let old = TimeRange::new(range.start(), range.end().min(now - CONFIRM_AFTER));
        let known = self.known.within(old);
        self.contradicted |= page.has_no_rows && known.ranges().iter().any(|known| known.state.has_candle());
        if page.has_no_rows && matches!(step, Step::AllBefore | Step::GapOnly) && !self.contradicted {
            self.add_if_confirmed(CoveredRange { range, state: CoverageState::Empty }, false, after, now, &mut claims);
        } else if step == Step::GapOnly && page.has_undated_rows && page.candles.is_empty() && page.defects.is_empty() {
            // All rows are unreadable, including their times.
            self.add_if_confirmed(
                CoveredRange { range, state: CoverageState::Invalid },
                false,
                after,
                now,
                &mut claims,
            );
        }
        claims
    }

    /// Claims to write. Leaves out ranges with known candles, because candles from the stream may be better, and empty
    /// claims for ranges in which the stream delivered trades.
    fn new_claims(&self, claims: &Coverage) -> Coverage {
        let with_candles: Coverage =
            self.known.ranges().iter().copied().filter(|known| known.state.has_candle()).collect();
        let is_plausible = |claim: &&CoveredRange| {
            claim.state != CoverageState::Empty || !self.suspect_ranges.has_trades(self.series, claim.range)
        };
        let new = |claim: &CoveredRange| {
            let (claim, parts) = (*claim, with_candles.unknown_ranges(claim.range));
            parts.into_iter().map(move |range| CoveredRange { range, ..claim })
        };
        claims.ranges().iter().filter(is_plausible).flat_map(new).collect()
    }

    /// When to request the deferred ranges again; `None` if there are none.
    pub fn retry_at(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// Everything before this time is known or deferred.
    pub fn decided_until(&self) -> Timestamp {
        self.next_target().map_or(self.gap.end(), TimeRange::start)
    }

    /// Whether [`MAX_REQUESTS`] requests were made.
    pub const fn is_exhausted(&self) -> bool {
        self.request_count >= MAX_REQUESTS
    }

    /// The first part of the gap that is neither known nor deferred.
    fn next_target(&self) -> Option<TimeRange> {
        let known: Coverage = self.known.ranges().iter().chain(self.deferred.ranges()).copied().collect();
        known.unknown_ranges(self.gap).first().copied()
    }

    /// Adds a claim to `claims` if an earlier page confirms it and nothing contradicts it; defers the rest. A busy
    /// market contradicts an empty range, unless the range is between two rows of the page (`between_rows`).
    fn add_if_confirmed(
        &mut self,
        claim: CoveredRange,
        between_rows: bool,
        after: Option<Timestamp>,
        now: Timestamp,
        claims: &mut Coverage,
    ) {
        let correctable_from = self.series.interval.floor(now - CORRECTION_WINDOW);
        for confirmed in self.suspect_ranges.record_claim(self.series, claim, after, now).ranges() {
            let range = if confirmed.state != CoverageState::Empty {
                TimeRange::new(confirmed.range.start(), confirmed.range.end().min(correctable_from))
            } else if !between_rows && self.is_busy(confirmed.range) {
                continue;
            } else {
                confirmed.range
            };
            if !range.is_empty() {
                claims.add(CoveredRange { range, ..*confirmed });
            }
        }
        for range in claims.unknown_ranges(claim.range.intersection(self.gap)) {
            self.defer(range, now + CONFIRM_AFTER);
        }
    }

    fn defer(&mut self, range: TimeRange, retry_at: Timestamp) {
        self.deferred.add(CoveredRange { range, state: CoverageState::Unavailable });
        self.retry_at = Some(self.retry_at.map_or(retry_at, |earlier| earlier.min(retry_at)));
    }

    /// Whether each of the [`BUSY_CANDLES`] intervals before and after a range has a candle.
    fn is_busy(&self, range: TimeRange) -> bool {
        let interval = self.series.interval;
        let all_candles = |side: TimeRange| {
            let known = self.known.within(side);
            !side.is_empty()
                && known.unknown_ranges(side).is_empty()
                && known.ranges().iter().all(|known| known.state.has_candle())
        };
        all_candles(TimeRange::new(interval.back(range.start(), BUSY_CANDLES), range.start()))
            && all_candles(TimeRange::new(range.end(), interval.forward(range.end(), BUSY_CANDLES)))
    }

    /// Open times of the last known candle before `target` and of the first one after it.
    fn neighbour_candles(&self, target: TimeRange) -> (Option<Timestamp>, Option<Timestamp>) {
        let candles = || self.known.ranges().iter().filter(|known| known.state.has_candle()).map(|known| known.range);
        let before = candles().take_while(|known| known.end() <= target.start()).last();
        let after = candles().find(|known| known.start() >= target.end());
        let after = after.map(TimeRange::start).or(self.far_candle.filter(|open| *open >= target.end()));
        (before.map(|before| self.series.interval.back(before.end(), 1)), after)
    }

    /// The range of open times to request in a step; `None` if the step does not apply.
    fn request_range(
        &self,
        step: Step,
        target: TimeRange,
        (before, after): (Option<Timestamp>, Option<Timestamp>),
        now: Timestamp,
    ) -> Option<TimeRange> {
        let (interval, PageRules { max_rows, accepts_long_ranges, available_from, .. }) =
            (self.series.interval, self.rules);
        // A candle that is further away would leave too few rows for the target.
        let before = before.filter(|before| *before >= interval.back(target.start(), max_rows / 2));
        let from = before.unwrap_or(target.start());
        // After the forming candle.
        let now_end = interval.next(interval.floor(now));
        let beyond = |last: Timestamp| interval.next(last).min(interval.next(now_end));
        let (start, end) = match step {
            Step::WithNeighbours => (from, beyond(after.unwrap_or(target.end())).min(interval.forward(from, max_rows))),
            Step::Forward if after.is_some() => return None,
            Step::Forward if accepts_long_ranges => (from, now_end),
            Step::Forward => (from, beyond(interval.forward(from, max_rows - 1))),
            Step::Backward => {
                let after = after.filter(|_| before.is_none())?;
                (interval.back(beyond(after), max_rows), beyond(after))
            }
            Step::AllBefore if accepts_long_ranges && before.is_none() => (Timestamp::EPOCH, after?),
            Step::AllBefore => return None,
            Step::GapOnly if accepts_long_ranges => (target.start(), after.unwrap_or(target.end())),
            Step::GapOnly => (target.start(), target.end().min(interval.forward(target.start(), max_rows))),
        };
        let start = interval.ceil(start.max(available_from).max(Timestamp::EPOCH));
        (start < end).then(|| TimeRange::new(start, end))
    }
}

/// The time in `target` that is neither known nor deferred.
fn undecided_time(known: &Coverage, deferred: &Coverage, target: TimeRange) -> std::time::Duration {
    let decided: Coverage = known.within(target).ranges().iter().chain(deferred.ranges()).copied().collect();
    decided.unknown_ranges(target).iter().map(|range| range.duration()).sum()
}

#[cfg(test)]
mod tests;
