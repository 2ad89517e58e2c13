//! Flat candles for times with the coverage state `empty`. Pure functions.

use std::collections::BTreeSet;

use rust_decimal::Decimal;

use super::Direction;
use crate::model::{Candle, Coverage, CoverageState, Interval, TimeRange, Timestamp};

/// The candles to return.
#[derive(Clone, Copy, Debug)]
pub(super) struct FillRequest {
    pub interval: Interval,
    /// Open times, on the grid.
    pub range: TimeRange,
    /// End of the time whose candles are closed.
    pub closed_until: Timestamp,
    /// The end of the range at which to start.
    pub direction: Direction,
    /// Maximum number of candles.
    pub limit: usize,
}

/// Traded candles and flat candles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    /// Ascending.
    pub candles: Vec<Candle>,
    /// Open times of the flat candles.
    pub flat: BTreeSet<Timestamp>,
}

/// Returns the requested part of the ascending `candles`, and a flat candle for each empty interval that follows a
/// candle with only empty intervals between. No flat candle follows unknown or unavailable time, and none precedes the
/// first candle: there is no price to continue.
///
/// `candles` and `coverage` may start before the requested range, to provide a price for its start. The cost depends on
/// the number of candles and on the limit, not on the length of the empty time.
pub(super) fn fill(request: &FillRequest, candles: &[Candle], coverage: &Coverage) -> Filled {
    let FillRequest { interval, range, direction, limit, .. } = *request;
    let mut filled = Filled::default();
    let mut put = |candle: Candle, flat: bool| {
        if filled.candles.len() < limit {
            filled.candles.push(candle);
            if flat {
                filled.flat.insert(candle.timestamp);
            }
        }
        filled.candles.len() < limit
    };
    let empty_after = |index: usize| {
        let next = candles.get(index + 1).map_or(range.end(), |next| next.timestamp);
        empty_time_after(request, &candles[index], next, coverage)
    };
    match direction {
        Direction::Forward => {
            for (index, candle) in candles.iter().enumerate() {
                let candle_in_range = range.contains(candle.timestamp).then_some((*candle, false));
                let flat = interval.open_times(empty_after(index)).map(|open| (flat_candle(open, candle.close), true));
                if !candle_in_range.into_iter().chain(flat).all(|(candle, flat)| put(candle, flat)) {
                    break;
                }
            }
        }
        Direction::Backward => {
            for (index, candle) in candles.iter().enumerate().rev() {
                let candle_in_range = range.contains(candle.timestamp).then_some((*candle, false));
                let flat = open_times_descending(interval, empty_after(index))
                    .map(|open| (flat_candle(open, candle.close), true));
                if !flat.chain(candle_in_range).all(|(candle, flat)| put(candle, flat)) {
                    break;
                }
            }
            filled.candles.reverse();
        }
    }
    filled
}

/// The empty time within the request that directly follows `candle`, up to the `next` candle.
fn empty_time_after(request: &FillRequest, candle: &Candle, next: Timestamp, coverage: &Coverage) -> TimeRange {
    let FillRequest { interval, range, closed_until, .. } = *request;
    let end = interval.next(candle.timestamp);
    let known = coverage.ranges();
    let after = known.get(known.partition_point(|known| known.range.end() <= end));
    let empty = after.filter(|known| known.range.contains(end) && known.state == CoverageState::Empty);
    let until = empty.map_or(end, |known| known.range.end().min(next).min(range.end()).min(closed_until));
    interval.whole_candles(TimeRange::new(end.max(range.start()), until))
}

/// The open times in `range`, descending. The range lies on the grid and does not start at the epoch.
fn open_times_descending(interval: Interval, range: TimeRange) -> impl Iterator<Item = Timestamp> {
    let last = Some(interval.back(range.end(), 1));
    std::iter::successors(last, move |at| Some(interval.back(*at, 1))).take_while(move |at| range.contains(*at))
}

/// A candle without trades at one price.
fn flat_candle(open: Timestamp, price: Decimal) -> Candle {
    Candle {
        timestamp: open,
        open: price,
        high: price,
        low: price,
        close: price,
        volume: Decimal::ZERO,
        quote_volume: Some(Decimal::ZERO),
        trades: Some(0),
        closed: true,
        revision: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CoveredRange;
    use proptest::prelude::*;

    const END: i64 = 40;
    const FIVE_MINUTES: i64 = 300_000;

    fn at(step: i64) -> Timestamp {
        Timestamp::from_millis(step * FIVE_MINUTES)
    }

    fn steps(start: i64, end: i64) -> TimeRange {
        TimeRange::new(at(start), at(end))
    }

    fn candle(step: i64) -> Candle {
        Candle { volume: Decimal::ONE, trades: None, revision: 3, ..flat_candle(at(step), Decimal::from(100 + step)) }
    }

    /// A state of the ledger and whether there is a candle, for each step of five minutes.
    type Model = Vec<(Option<CoverageState>, bool)>;

    fn model() -> impl Strategy<Value = Model> {
        let runs = proptest::collection::vec((0..8_u8, 1..6_usize), 40);
        runs.prop_map(|runs| {
            let step = |kind: u8| match kind {
                0 => (None, false),
                1 => (Some(CoverageState::Unavailable), false),
                2..=4 => (Some(CoverageState::Empty), false),
                5 => (Some(CoverageState::Derived), true),
                6 => (Some(CoverageState::Fetched), true),
                // A live candle may arrive before its coverage.
                _ => (None, true),
            };
            runs.into_iter().flat_map(|(kind, length)| vec![step(kind); length]).take(40).collect()
        })
    }

    fn coverage(model: &Model) -> Coverage {
        let known = |(step, (state, _)): (i64, &(Option<CoverageState>, bool))| {
            state.map(|state| CoveredRange { range: steps(step, step + 1), state })
        };
        (0..).zip(model).filter_map(known).collect()
    }

    fn candles(model: &Model) -> Vec<Candle> {
        (0..).zip(model).filter(|(_, (_, has_candle))| *has_candle).map(|(step, _)| candle(step)).collect()
    }

    /// All candles of all steps, computed one step after the other.
    fn naive(model: &Model, closed: i64) -> Vec<(Candle, bool)> {
        let (mut candles, mut price) = (Vec::new(), None);
        for (step, (state, has_candle)) in (0..).zip(model) {
            if *has_candle {
                candles.push((candle(step), false));
                price = Some(candle(step).close);
            } else if *state != Some(CoverageState::Empty) || step >= closed {
                price = None;
            } else if let Some(price) = price {
                candles.push((flat_candle(at(step), price), true));
            }
        }
        candles
    }

    /// Each candle, and whether it is flat.
    fn flagged(filled: &Filled) -> Vec<(Candle, bool)> {
        filled.candles.iter().map(|candle| (*candle, filled.flat.contains(&candle.timestamp))).collect()
    }

    proptest! {
        #[test]
        fn matches_naive_model(
            model in model(), a in 0..=END, b in 0..=END, closed in 0..=END, limit in 0..50_usize,
        ) {
            let range = steps(a.min(b), a.max(b));
            let mut expected = naive(&model, closed);
            expected.retain(|(candle, _)| range.contains(candle.timestamp));
            for direction in [Direction::Forward, Direction::Backward] {
                let request =
                    FillRequest { interval: Interval::M5, range, closed_until: at(closed), direction, limit };
                let filled = fill(&request, &candles(&model), &coverage(&model));
                prop_assert_eq!(filled.flat.len(), flagged(&filled).iter().filter(|(_, flat)| *flat).count());
                let count = expected.len().min(limit);
                let part = match direction {
                    Direction::Forward => &expected[..count],
                    Direction::Backward => &expected[expected.len() - count..],
                };
                prop_assert_eq!(flagged(&filled), part);
            }
        }
    }

    #[test]
    fn flat_candle_has_previous_close_and_no_trades() {
        let known = CoveredRange { range: steps(1, 3), state: CoverageState::Empty };
        let traded = Candle { close: Decimal::from(120), high: Decimal::from(130), ..candle(0) };
        let request = FillRequest {
            interval: Interval::M5,
            range: steps(0, 9),
            closed_until: at(9),
            direction: Direction::Forward,
            limit: 9,
        };
        let filled = fill(&request, &[traded], &[known].into_iter().collect());
        let flat = |step| flat_candle(at(step), Decimal::from(120));
        assert_eq!(filled.candles, [traded, flat(1), flat(2)]);
        assert_eq!(filled.flat, BTreeSet::from([at(1), at(2)]));
        let one = filled.candles[1];
        assert_eq!((one.open, one.high, one.low, one.close), (traded.close, traded.close, traded.close, traded.close));
        assert_eq!((one.volume, one.quote_volume, one.trades), (Decimal::ZERO, Some(Decimal::ZERO), Some(0)));
        assert_eq!((one.closed, one.revision), (true, 0));
    }

    #[test]
    fn cost_is_independent_of_empty_time() {
        let all_time = TimeRange::new(Timestamp::EPOCH, Timestamp::MAX);
        let coverage: Coverage = [CoveredRange { range: all_time, state: CoverageState::Empty }].into_iter().collect();
        for direction in [Direction::Forward, Direction::Backward] {
            for interval in [Interval::M1, Interval::W1, Interval::Mo1] {
                let open = interval.ceil(at(1));
                let request =
                    FillRequest { interval, range: all_time, closed_until: Timestamp::MAX, direction, limit: 5_000 };
                // No flat candle precedes the first candle, and no time is iterated.
                assert_eq!(fill(&request, &[], &coverage), Filled::default());
                let first = Candle { timestamp: open, ..candle(0) };
                let filled = fill(&request, &[first], &coverage);
                assert_eq!(filled.candles.len(), 5_000);
                assert!(filled.candles.windows(2).all(|two| interval.next(two[0].timestamp) == two[1].timestamp));
            }
        }
    }
}
