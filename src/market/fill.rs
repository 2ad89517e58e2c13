//! Flat candles for times of which the ledger says that nobody traded. Pure.

use std::collections::BTreeSet;

use rust_decimal::Decimal;

use super::Direction;
use crate::model::{Candle, Coverage, Interval, Knowledge, TimeRange, Timestamp};

/// Which candles are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub interval: Interval,
    /// Open times, on the grid.
    pub range: TimeRange,
    /// Where the time ends whose candles are closed.
    pub closed: Timestamp,
    /// From which end of the range.
    pub direction: Direction,
    /// At most so many.
    pub most: usize,
}

/// Candles with those that were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    /// Ascending.
    pub candles: Vec<Candle>,
    /// The open times of those that nobody traded.
    pub flat: BTreeSet<Timestamp>,
}

/// The wanted candles out of `candles`, ascending, and a flat one for each empty time that follows one of them with
/// nothing but empty times between. What `coverage` does not know, or knows to be unavailable, has no price to go on
/// with, nor has what lies before the first candle.
///
/// `candles` and `coverage` may begin before the wanted range, so that its first times have a price. The work grows with
/// what is there and wanted, not with how much time is empty.
pub(super) fn fill(wanted: &Wanted, candles: &[Candle], coverage: &Coverage) -> Filled {
    let Wanted { interval, range, direction, most, .. } = *wanted;
    let mut filled = Filled::default();
    let mut put = |candle: Candle, flat: bool| {
        if filled.candles.len() < most {
            filled.candles.push(candle);
            if flat {
                filled.flat.insert(candle.timestamp);
            }
        }
        filled.candles.len() < most
    };
    let quiet = |index: usize| {
        let next = candles.get(index + 1).map_or(range.end(), |next| next.timestamp);
        quiet_after(wanted, &candles[index], next, coverage)
    };
    match direction {
        Direction::Forward => {
            for (index, candle) in candles.iter().enumerate() {
                let asked = range.contains(candle.timestamp).then_some((*candle, false));
                let flat = interval.opens(quiet(index)).map(|open| (flat_at(open, candle.close), true));
                if !asked.into_iter().chain(flat).all(|(candle, flat)| put(candle, flat)) {
                    break;
                }
            }
        }
        Direction::Backward => {
            for (index, candle) in candles.iter().enumerate().rev() {
                let asked = range.contains(candle.timestamp).then_some((*candle, false));
                let flat = opens_back(interval, quiet(index)).map(|open| (flat_at(open, candle.close), true));
                if !flat.chain(asked).all(|(candle, flat)| put(candle, flat)) {
                    break;
                }
            }
            filled.candles.reverse();
        }
    }
    filled
}

/// The wanted empty time that follows `candle` at once, up to the `next` one.
fn quiet_after(wanted: &Wanted, candle: &Candle, next: Timestamp, coverage: &Coverage) -> TimeRange {
    let Wanted { interval, range, closed, .. } = *wanted;
    let end = interval.next(candle.timestamp);
    let known = coverage.ranges();
    let after = known.get(known.partition_point(|known| known.range.end() <= end));
    let empty = after.filter(|known| known.range.contains(end) && known.state == Knowledge::Empty);
    let until = empty.map_or(end, |known| known.range.end().min(next).min(range.end()).min(closed));
    interval.shrink(TimeRange::new(end.max(range.start()), until))
}

/// The open times in `range`, which lies on the grid and does not begin at the epoch, descending.
fn opens_back(interval: Interval, range: TimeRange) -> impl Iterator<Item = Timestamp> {
    let last = Some(interval.back(range.end(), 1));
    std::iter::successors(last, move |at| Some(interval.back(*at, 1))).take_while(move |at| range.contains(*at))
}

/// What a time looks like in which nobody traded.
fn flat_at(open: Timestamp, price: Decimal) -> Candle {
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
    const FIVE: i64 = 300_000;

    fn at(step: i64) -> Timestamp {
        Timestamp::from_millis(step * FIVE)
    }

    fn steps(start: i64, end: i64) -> TimeRange {
        TimeRange::new(at(start), at(end))
    }

    fn candle(step: i64) -> Candle {
        Candle { volume: Decimal::ONE, trades: None, revision: 3, ..flat_at(at(step), Decimal::from(100 + step)) }
    }

    /// A state of the ledger and whether there is a candle, for each step of five minutes.
    type Model = Vec<(Option<Knowledge>, bool)>;

    fn model() -> impl Strategy<Value = Model> {
        let runs = proptest::collection::vec((0..8_u8, 1..6_usize), 40);
        runs.prop_map(|runs| {
            let step = |kind: u8| match kind {
                0 => (None, false),
                1 => (Some(Knowledge::Unavailable), false),
                2..=4 => (Some(Knowledge::Empty), false),
                5 => (Some(Knowledge::Derived), true),
                6 => (Some(Knowledge::Fetched), true),
                // What is live may be there before the ledger says so.
                _ => (None, true),
            };
            runs.into_iter().flat_map(|(kind, length)| vec![step(kind); length]).take(40).collect()
        })
    }

    fn coverage(model: &Model) -> Coverage {
        let known = |(step, (state, _)): (i64, &(Option<Knowledge>, bool))| {
            state.map(|state| CoveredRange { range: steps(step, step + 1), state })
        };
        (0..).zip(model).filter_map(known).collect()
    }

    fn candles(model: &Model) -> Vec<Candle> {
        (0..).zip(model).filter(|(_, (_, there))| *there).map(|(step, _)| candle(step)).collect()
    }

    /// All candles of all the time, one step after the other.
    fn naive(model: &Model, closed: i64) -> Vec<(Candle, bool)> {
        let (mut told, mut price) = (Vec::new(), None);
        for (step, (state, there)) in (0..).zip(model) {
            if *there {
                told.push((candle(step), false));
                price = Some(candle(step).close);
            } else if *state != Some(Knowledge::Empty) || step >= closed {
                price = None;
            } else if let Some(price) = price {
                told.push((flat_at(at(step), price), true));
            }
        }
        told
    }

    fn told(filled: &Filled) -> Vec<(Candle, bool)> {
        filled.candles.iter().map(|candle| (*candle, filled.flat.contains(&candle.timestamp))).collect()
    }

    proptest! {
        #[test]
        fn each_part_is_what_the_naive_model_has_there(
            model in model(), a in 0..=END, b in 0..=END, closed in 0..=END, most in 0..50_usize,
        ) {
            let range = steps(a.min(b), a.max(b));
            let mut expected = naive(&model, closed);
            expected.retain(|(candle, _)| range.contains(candle.timestamp));
            for direction in [Direction::Forward, Direction::Backward] {
                let wanted = Wanted { interval: Interval::M5, range, closed: at(closed), direction, most };
                let filled = fill(&wanted, &candles(&model), &coverage(&model));
                prop_assert_eq!(filled.flat.len(), told(&filled).iter().filter(|(_, flat)| *flat).count());
                let some = expected.len().min(most);
                let part = match direction {
                    Direction::Forward => &expected[..some],
                    Direction::Backward => &expected[expected.len() - some..],
                };
                prop_assert_eq!(told(&filled), part);
            }
        }
    }

    #[test]
    fn a_flat_candle_has_the_close_before_it_and_no_trades() {
        let known = CoveredRange { range: steps(1, 3), state: Knowledge::Empty };
        let rose = Candle { close: Decimal::from(120), high: Decimal::from(130), ..candle(0) };
        let wanted = Wanted {
            interval: Interval::M5,
            range: steps(0, 9),
            closed: at(9),
            direction: Direction::Forward,
            most: 9,
        };
        let filled = fill(&wanted, &[rose], &[known].into_iter().collect());
        let flat = |step| flat_at(at(step), Decimal::from(120));
        assert_eq!(filled.candles, [rose, flat(1), flat(2)]);
        assert_eq!(filled.flat, BTreeSet::from([at(1), at(2)]));
        let one = filled.candles[1];
        assert_eq!((one.open, one.high, one.low, one.close), (rose.close, rose.close, rose.close, rose.close));
        assert_eq!((one.volume, one.quote_volume, one.trades), (Decimal::ZERO, Some(Decimal::ZERO), Some(0)));
        assert_eq!((one.closed, one.revision), (true, 0));
    }

    #[test]
    fn a_century_of_silence_costs_no_more_than_a_page() {
        let ever = TimeRange::new(Timestamp::EPOCH, Timestamp::MAX);
        let coverage: Coverage = [CoveredRange { range: ever, state: Knowledge::Empty }].into_iter().collect();
        for direction in [Direction::Forward, Direction::Backward] {
            for interval in [Interval::M1, Interval::W1, Interval::Mo1] {
                let open = interval.ceil(at(1));
                let wanted = Wanted { interval, range: ever, closed: Timestamp::MAX, direction, most: 5_000 };
                // Before the first candle nothing is made up, and nothing is gone through.
                assert_eq!(fill(&wanted, &[], &coverage), Filled::default());
                let first = Candle { timestamp: open, ..candle(0) };
                let filled = fill(&wanted, &[first], &coverage);
                assert_eq!(filled.candles.len(), 5_000);
                assert!(filled.candles.windows(2).all(|two| interval.next(two[0].timestamp) == two[1].timestamp));
            }
        }
    }
}
