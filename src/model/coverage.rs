//! Coverage of a candle series: which time ranges are known, and with which state.
//!
//! Where claims overlap, the stronger [`CoverageState`] wins. This makes merging associative, commutative and
//! idempotent: the order of writers does not matter, and a repeated claim has no effect.

use std::fmt;
use std::str::FromStr;

use super::{TimeRange, Timestamp};

/// State of a time range, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CoverageState {
    /// The exchange does not provide it, or no longer does.
    Unavailable,
    /// The exchange returns only invalid rows.
    Invalid,
    /// The exchange returns only rows that are not on the grid of the interval.
    OffGrid,
    /// Proven to be without trades: the exchange returned rows before and after it, or reported it as empty twice.
    Empty,
    /// Computed from shorter candles.
    Derived,
    /// Received from the exchange's stream.
    Observed,
    /// Fetched from the exchange's REST API.
    Fetched,
}

impl CoverageState {
    pub const ALL: [Self; 7] =
        [Self::Unavailable, Self::Invalid, Self::OffGrid, Self::Empty, Self::Derived, Self::Observed, Self::Fetched];

    /// Whether there is no usable candle and the reason is not a lack of trades.
    #[must_use]
    pub const fn is_unobtainable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Invalid | Self::OffGrid)
    }

    /// Whether a candle exists.
    #[must_use]
    pub const fn has_candle(self) -> bool {
        matches!(self, Self::Derived | Self::Observed | Self::Fetched)
    }

    /// Name in JSON and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Invalid => "invalid",
            Self::OffGrid => "off_grid",
            Self::Empty => "empty",
            Self::Derived => "derived",
            Self::Observed => "observed",
            Self::Fetched => "fetched",
        }
    }
}

impl fmt::Display for CoverageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a coverage state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a coverage state")]
pub struct UnknownCoverageState;

impl FromStr for CoverageState {
    type Err = UnknownCoverageState;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(UnknownCoverageState)
    }
}

/// A time range and its coverage state; a coverage claim when it is added to a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoveredRange {
    pub range: TimeRange,
    pub state: CoverageState,
}

/// Known ranges of a series: disjoint, ascending, adjacent ranges of equal state merged. Any other time is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(Vec<CoveredRange>);

impl Coverage {
    #[must_use]
    pub fn ranges(&self) -> &[CoveredRange] {
        &self.0
    }

    /// Adds a claim. Where it overlaps known ranges, the stronger state wins.
    pub fn add(&mut self, claim: CoveredRange) {
        if claim.range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|known| known.range.end() < claim.range.start());
        let last = self.0.partition_point(|known| known.range.start() <= claim.range.end());
        let touched: Vec<CoveredRange> = self.0[first..last].to_vec();
        let mut bounds: Vec<Timestamp> =
            touched.iter().chain([&claim]).flat_map(|known| [known.range.start(), known.range.end()]).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let mut merged: Vec<CoveredRange> = Vec::with_capacity(bounds.len());
        for piece in bounds.windows(2).map(|ends| TimeRange::new(ends[0], ends[1])) {
            let states = touched.iter().chain([&claim]).filter(|known| known.range.overlaps(piece));
            let Some(state) = states.map(|known| known.state).max() else { continue };
            match merged.last_mut() {
                Some(before) if before.state == state && before.range.end() == piece.start() => {
                    before.range = TimeRange::new(before.range.start(), piece.end());
                }
                _ => merged.push(CoveredRange { range: piece, state }),
            }
        }
        self.0.splice(first..last, merged);
    }

    /// The coverage within `range`; ranges that cross its bounds are clipped.
    #[must_use]
    pub fn within(&self, range: TimeRange) -> Self {
        let clip = |known: &CoveredRange| CoveredRange { range: known.range.intersection(range), ..*known };
        Self(self.0.iter().map(clip).filter(|known| !known.range.is_empty()).collect())
    }

    /// The parts of `range` that are unknown, ascending.
    #[must_use]
    pub fn unknown_ranges(&self, range: TimeRange) -> Vec<TimeRange> {
        let mut unknown = Vec::new();
        let mut from = range.start();
        for known in self.within(range).0 {
            unknown.push(TimeRange::new(from, known.range.start()));
            from = known.range.end();
        }
        unknown.push(TimeRange::new(from, range.end()));
        unknown.retain(|range| !range.is_empty());
        unknown
    }

    /// Whether all of `range` is known and obtainable. This is the meaning of `complete` in responses.
    #[must_use]
    pub fn is_complete(&self, range: TimeRange) -> bool {
        self.unknown_ranges(range).is_empty() && self.within(range).0.iter().all(|known| !known.state.is_unobtainable())
    }
}

impl FromIterator<CoveredRange> for Coverage {
    fn from_iter<I: IntoIterator<Item = CoveredRange>>(claims: I) -> Self {
        let mut coverage = Self::default();
        claims.into_iter().for_each(|claim| coverage.add(claim));
        coverage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const END: i64 = 40;

    fn range(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end))
    }

    /// Reference model: one state per millisecond.
    fn naive(claims: &[CoveredRange]) -> Vec<Option<CoverageState>> {
        let state = |at| claims.iter().filter(|claim| claim.range.contains(at)).map(|claim| claim.state).max();
        (0..END).map(|ms| state(Timestamp::from_millis(ms))).collect()
    }

    fn claims() -> impl Strategy<Value = Vec<CoveredRange>> {
        let claim = (0..END, 0..END, proptest::sample::select(CoverageState::ALL.to_vec()));
        proptest::collection::vec(
            claim.prop_map(|(a, b, state)| CoveredRange { range: range(a.min(b), a.max(b)), state }),
            0..12,
        )
    }

    proptest! {
        #[test]
        fn merging_agrees_with_the_naive_model(claims in claims()) {
            let coverage: Coverage = claims.iter().copied().collect();
            prop_assert_eq!(naive(coverage.ranges()), naive(&claims));
            for pair in coverage.ranges().windows(2) {
                prop_assert!(pair[0].range.end() <= pair[1].range.start(), "disjoint and ascending");
                prop_assert!(pair[0].range.end() < pair[1].range.start() || pair[0].state != pair[1].state, "merged");
            }
        }

        #[test]
        fn merging_is_commutative_and_idempotent(claims in claims(), more in claims()) {
            let forward: Coverage = claims.iter().chain(&more).copied().collect();
            let reversed: Coverage = more.iter().chain(&claims).chain(&more).rev().copied().collect();
            prop_assert_eq!(forward, reversed);
        }

        #[test]
        fn unknown_ranges_are_without_any_claim(claims in claims(), a in 0..END, b in 0..END) {
            let queried = range(a.min(b), a.max(b));
            let coverage: Coverage = claims.iter().copied().collect();
            let unknown = coverage.unknown_ranges(queried);
            for (ms, state) in naive(&claims).into_iter().enumerate() {
                let at = Timestamp::from_millis(i64::try_from(ms).unwrap());
                let expected = queried.contains(at) && state.is_none();
                prop_assert_eq!(unknown.iter().any(|range| range.contains(at)), expected);
            }
            let complete = (queried.start().millis()..queried.end().millis()).all(|ms| {
                naive(&claims)[usize::try_from(ms).unwrap()].is_some_and(|state| !state.is_unobtainable())
            });
            prop_assert_eq!(coverage.is_complete(queried), complete);
        }
    }
}
