//! Longer candles from shorter ones, where all of the shorter ones are known.

use crate::model::{Coverage, CoveredRange, Interval, Knowledge, Series, TimeRange, Timestamp, aggregate};
use crate::store::{CandleStore, SeriesWrite, StoreError, Take};

/// How many shorter candles are read at a time.
const ROWS: u32 = 20_000;

/// What a derivation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Times that the ledger does not know yet, where all inputs are there.
    New,
    /// Times that were derived before, too: an input has changed.
    Again,
    /// As `New`, and what lacks an input for good is unavailable: there is no other way to it.
    LastResort,
}

/// Makes what can be made of `series` in `range` out of its `base` interval. Gives nothing where there is nothing to say.
///
/// # Errors
/// [`StoreError`].
pub async fn derive(
    store: &dyn CandleStore,
    series: &Series,
    base: Interval,
    range: TimeRange,
    purpose: Purpose,
) -> Result<Vec<SeriesWrite>, StoreError> {
    let parts = Series { interval: base, ..series.clone() };
    let known = store.coverage(series, range).await?;
    let inputs = store.coverage(&parts, range).await?;
    let mut buckets = derivable(series.interval, range, &known, &inputs, purpose).into_iter().peekable();
    let mut writes = Vec::new();
    while let Some(first) = buckets.peek().copied() {
        // As many neighbours as one read of the inputs holds, but always one.
        let reach = first.start().millis() + base.max_millis() * i64::from(ROWS);
        let mut chunk = Vec::new();
        while let Some(bucket) = buckets.next_if(|bucket| chunk.is_empty() || bucket.end().millis() <= reach) {
            chunk.push(bucket);
        }
        let all = TimeRange::new(first.start(), chunk.last().map_or(first.end(), |last| last.end()));
        let rows = store.candles(&parts, all, Take::First(u32::MAX)).await?;
        let mut write = SeriesWrite { series: series.clone(), candles: Vec::new(), claims: Vec::new() };
        let mut claims = Coverage::default();
        for bucket in chunk {
            let from = rows.partition_point(|row| row.timestamp < bucket.start());
            let to = rows.partition_point(|row| row.timestamp < bucket.end());
            let state = match aggregate(bucket.start(), &rows[from..to]) {
                _ if !inputs.completes(bucket) => Knowledge::Unavailable,
                Some(candle) => {
                    write.candles.push(candle);
                    Knowledge::Derived
                }
                None if from == to => Knowledge::Empty,
                // The volumes of its parts overflow: the exchange's own candle is asked for before this is given up.
                None if purpose == Purpose::LastResort => Knowledge::Unavailable,
                None => continue,
            };
            claims.add(CoveredRange { range: bucket, state });
        }
        write.claims = claims.ranges().to_vec();
        writes.push(write);
    }
    Ok(writes)
}

/// The candles of `range` whose inputs are all known, and which are themselves not.
fn derivable(
    interval: Interval,
    range: TimeRange,
    known: &Coverage,
    inputs: &Coverage,
    purpose: Purpose,
) -> Vec<TimeRange> {
    let wanted = |bucket: &TimeRange| {
        let whole = inputs.completes(*bucket);
        let known_here = known.within(*bucket);
        let states = |is: fn(Knowledge) -> bool| known_here.ranges().iter().all(|known| is(known.state));
        let unknown = !known.unknown(*bucket).is_empty();
        match purpose {
            // What is lost may be made of shorter candles that are not.
            Purpose::New => whole && (unknown || !states(|state| !state.is_lost())),
            Purpose::Again => whole && (unknown || states(|state| state <= Knowledge::Derived)),
            Purpose::LastResort => unknown && inputs.unknown(*bucket).is_empty(),
        }
    };
    // Only where inputs are known at all is there anything to look at.
    let Some((first, last)) = inputs.ranges().first().zip(inputs.ranges().last()) else { return Vec::new() };
    let range = interval.shrink(range.intersection(TimeRange::new(first.range.start(), last.range.end())));
    interval.opens(range).map(|open| interval.span(open)).filter(wanted).collect()
}

/// The longer candles that a change of `minutes` concerns and that are closed at `now`.
#[must_use]
pub fn concerned(interval: Interval, minutes: TimeRange, now: Timestamp) -> TimeRange {
    let last = Timestamp::from_millis(minutes.end().millis() - 1);
    TimeRange::new(interval.floor(minutes.start()), interval.next(last).min(interval.floor(now)))
}
