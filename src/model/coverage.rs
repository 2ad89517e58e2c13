//! The ledger's algebra: which times of a series are known, and how.
//!
//! Claims merge by taking, at each moment, the stronger [`Knowledge`]. That makes merging associative,
//! commutative and idempotent: the order in which writers arrive does not matter, nor does saying a thing twice.

use std::fmt;
use std::str::FromStr;

use super::{TimeRange, Timestamp};

/// How a range of time came to be known, weakest claim first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Knowledge {
    /// The exchange cannot give it (any more).
    Unavailable,
    /// The exchange gives only rows that cannot be right.
    Invalid,
    /// The exchange gives only rows that are off the grid of the interval.
    OffGrid,
    /// Proven to be without a trade: the exchange gives rows before and after it, or said so twice.
    Empty,
    /// Computed from known shorter candles.
    Derived,
    /// Seen on the exchange's stream.
    Observed,
    /// Asked from the exchange's REST interface.
    Fetched,
}

impl Knowledge {
    pub const ALL: [Self; 7] =
        [Self::Unavailable, Self::Invalid, Self::OffGrid, Self::Empty, Self::Derived, Self::Observed, Self::Fetched];

    /// Whether there is no candle for another reason than that there was no trade.
    #[must_use]
    pub const fn is_lost(self) -> bool {
        matches!(self, Self::Unavailable | Self::Invalid | Self::OffGrid)
    }

    /// Whether there is a candle.
    #[must_use]
    pub const fn has_candle(self) -> bool {
        matches!(self, Self::Derived | Self::Observed | Self::Fetched)
    }

    /// The name in the store.
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

impl fmt::Display for Knowledge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no knowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a state of the ledger")]
pub struct UnknownKnowledge;

impl FromStr for Knowledge {
    type Err = UnknownKnowledge;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(UnknownKnowledge)
    }
}

/// A range of time and how it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoveredRange {
    pub range: TimeRange,
    pub state: Knowledge,
}

/// What is known of a series: disjoint ranges, ascending, neighbours of the same state joined.
/// A time in no range is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(Vec<CoveredRange>);

impl Coverage {
    #[must_use]
    pub fn ranges(&self) -> &[CoveredRange] {
        &self.0
    }

    /// Adds a claim; where something is known already, the stronger claim stands.
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

    /// What lies in `range`, cut to it.
    #[must_use]
    pub fn within(&self, range: TimeRange) -> Self {
        let cut = |known: &CoveredRange| CoveredRange { range: known.range.intersection(range), ..*known };
        Self(self.0.iter().map(cut).filter(|known| !known.range.is_empty()).collect())
    }

    /// The parts of `range` that are in no range of the ledger, ascending.
    #[must_use]
    pub fn unknown(&self, range: TimeRange) -> Vec<TimeRange> {
        let mut holes = Vec::new();
        let mut from = range.start();
        for known in self.within(range).0 {
            holes.push(TimeRange::new(from, known.range.start()));
            from = known.range.end();
        }
        holes.push(TimeRange::new(from, range.end()));
        holes.retain(|hole| !hole.is_empty());
        holes
    }

    /// Whether every moment of `range` is known and available, which is what `complete` means in an answer.
    #[must_use]
    pub fn completes(&self, range: TimeRange) -> bool {
        self.unknown(range).is_empty() && self.within(range).0.iter().all(|known| !known.state.is_lost())
    }
}

impl FromIterator<CoveredRange> for Coverage {
    fn from_iter<I: IntoIterator<Item = CoveredRange>>(claims: I) -> Self {
        let mut all = Self::default();
        claims.into_iter().for_each(|claim| all.add(claim));
        all
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

    /// The naive model: a state for each millisecond.
    fn naive(claims: &[CoveredRange]) -> Vec<Option<Knowledge>> {
        let state = |at| claims.iter().filter(|claim| claim.range.contains(at)).map(|claim| claim.state).max();
        (0..END).map(|ms| state(Timestamp::from_millis(ms))).collect()
    }

    fn claims() -> impl Strategy<Value = Vec<CoveredRange>> {
        let claim = (0..END, 0..END, proptest::sample::select(Knowledge::ALL.to_vec()));
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
                prop_assert!(pair[0].range.end() < pair[1].range.start() || pair[0].state != pair[1].state, "joined");
            }
        }

        #[test]
        fn order_and_repetition_do_not_matter(claims in claims(), more in claims()) {
            let forth: Coverage = claims.iter().chain(&more).copied().collect();
            let back: Coverage = more.iter().chain(&claims).chain(&more).rev().copied().collect();
            prop_assert_eq!(forth, back);
        }

        #[test]
        fn unknown_is_what_no_claim_holds(claims in claims(), a in 0..END, b in 0..END) {
            let asked = range(a.min(b), a.max(b));
            let coverage: Coverage = claims.iter().copied().collect();
            let unknown = coverage.unknown(asked);
            for (ms, state) in naive(&claims).into_iter().enumerate() {
                let at = Timestamp::from_millis(i64::try_from(ms).unwrap());
                let expected = asked.contains(at) && state.is_none();
                prop_assert_eq!(unknown.iter().any(|hole| hole.contains(at)), expected);
            }
            let whole = (asked.start().millis()..asked.end().millis()).all(|ms| {
                naive(&claims)[usize::try_from(ms).unwrap()].is_some_and(|state| !state.is_lost())
            });
            prop_assert_eq!(coverage.completes(asked), whole);
        }
    }
}
