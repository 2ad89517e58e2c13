//! Derives longer candles from shorter ones whose coverage is complete.

use crate::model::{Coverage, CoverageState, CoveredRange, Interval, Series, TimeRange, Timestamp, aggregate};
use crate::store::{CandleStore, SeriesWrite, StoreError, Take};

/// Maximum number of base candles per read.
const MAX_ROWS_PER_READ: u32 = 20_000;

/// Which candles to derive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeriveMode {
    /// Candles that are unknown or unobtainable, if the coverage of the base is complete.
    Missing,
    /// As `Missing`, and also candles that were derived before, because the base has changed.
    Rederive,
    /// Unknown candles, if the base has no unknown range. Where the base is unobtainable, the candle becomes
    /// unavailable, because there is no other source.
    LastResort,
}

/// Derives candles of `series` in `range` from candles of the `base` interval. Returns the writes, none if nothing can
/// be derived.
///
/// # Errors
/// [`StoreError`].
pub async fn derive_candles(
    store: &dyn CandleStore,
    series: &Series,
    base: Interval,
    range: TimeRange,
    mode: DeriveMode,
) -> Result<Vec<SeriesWrite>, StoreError> {
    let base_series = Series { interval: base, ..series.clone() };
    let coverage = store.coverage(series, range).await?;
    let base_coverage = store.coverage(&base_series, range).await?;
    let mut buckets = derivable_buckets(series.interval, range, &coverage, &base_coverage, mode).into_iter().peekable();
    let mut writes = Vec::new();
    while let Some(first) = buckets.peek().copied() {
        // As many adjacent buckets as one read holds, but at least one.
        let chunk_end = first.start().millis() + base.max_millis() * i64::from(MAX_ROWS_PER_READ);
        let mut chunk = Vec::new();
        while let Some(bucket) = buckets.next_if(|bucket| chunk.is_empty() || bucket.end().millis() <= chunk_end) {
            chunk.push(bucket);
        }
        let all = TimeRange::new(first.start(), chunk.last().map_or(first.end(), |last| last.end()));
        let rows = store.candles(&base_series, all, Take::First(u32::MAX)).await?;
        let mut write = SeriesWrite { series: series.clone(), candles: Vec::new(), claims: Vec::new() };
        let mut claims = Coverage::default();
        for bucket in chunk {
            let from = rows.partition_point(|row| row.timestamp < bucket.start());
            let to = rows.partition_point(|row| row.timestamp < bucket.end());
            let state = match aggregate(bucket.start(), &rows[from..to]) {
                _ if !base_coverage.is_complete(bucket) => CoverageState::Unavailable,
                Some(candle) => {
                    write.candles.push(candle);
                    CoverageState::Derived
                }
                None if from == to => CoverageState::Empty,
                // The sum of the volumes overflows. The exchange's own candle is fetched instead, if it has one.
                None if mode == DeriveMode::LastResort => CoverageState::Unavailable,
                None => continue,
            };
            claims.add(CoveredRange { range: bucket, state });
        }
        write.claims = claims.ranges().to_vec();
        writes.push(write);
    }
    Ok(writes)
}

/// The open-to-close ranges of the candles to derive.
fn derivable_buckets(
    interval: Interval,
    range: TimeRange,
    coverage: &Coverage,
    base_coverage: &Coverage,
    mode: DeriveMode,
) -> Vec<TimeRange> {
    let is_derivable = |bucket: &TimeRange| {
        let has_all_inputs = base_coverage.is_complete(*bucket);
        let bucket_coverage = coverage.within(*bucket);
        let all_states = |is: fn(CoverageState) -> bool| bucket_coverage.ranges().iter().all(|known| is(known.state));
        let unknown = !coverage.unknown_ranges(*bucket).is_empty();
        match mode {
            DeriveMode::Missing => has_all_inputs && (unknown || !all_states(|state| !state.is_unobtainable())),
            DeriveMode::Rederive => has_all_inputs && (unknown || all_states(|state| state <= CoverageState::Derived)),
            DeriveMode::LastResort => unknown && base_coverage.unknown_ranges(*bucket).is_empty(),
        }
    };
    // Buckets outside of the base coverage have no inputs.
    let Some((first, last)) = base_coverage.ranges().first().zip(base_coverage.ranges().last()) else {
        return Vec::new();
    };
    let range = interval.whole_candles(range.intersection(TimeRange::new(first.range.start(), last.range.end())));
    interval.open_times(range).map(|open| interval.span(open)).filter(is_derivable).collect()
}

/// The range of closed candles (at `now`) that contain a part of `minutes`.
#[must_use]
pub fn affected_range(interval: Interval, minutes: TimeRange, now: Timestamp) -> TimeRange {
    let last = Timestamp::from_millis(minutes.end().millis() - 1);
    TimeRange::new(interval.floor(minutes.start()), interval.next(last).min(interval.floor(now)))
}
