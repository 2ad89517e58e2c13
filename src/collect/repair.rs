//! Repairs gaps: a queue of the ranges of 1m candles to fetch, and the workers that fetch them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::fill::{FillError, Filler};
use crate::clock::Clock;
use crate::model::{
    CandleUpdate, Coverage, CoverageState, CoveredRange, Instrument, Interval, MarketEvent, Series, TimeRange,
    Timestamp,
};
use crate::store::{CandleStore, Take};
use crate::telemetry::collect::FetchFailed;
use crate::upstream::Backoff;

/// Number of workers. The exchange's budget limits the request rate.
pub const WORKERS: usize = 4;

/// Maximum pause between two attempts.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(30);

/// Ranges to repair, by series. Overlapping and adjacent ranges are merged.
#[derive(Default)]
pub struct RepairQueue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// The keys of `requests`, in order of arrival.
    order: VecDeque<Series>,
    requests: HashMap<Series, RepairRequest>,
    /// Requests that become active later.
    delayed: HashMap<(Series, DelayReason), DelayedRequest>,
    /// Number of ranges that workers are repairing.
    in_progress: usize,
}

/// Why a request is delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum DelayReason {
    /// Quiet minutes: several are fetched with one request.
    Quiet,
    /// A known minute was revised, and the exchange's REST API does not have the revision yet. Start of the minute.
    Revised(Timestamp),
}

struct DelayedRequest {
    instrument: Arc<Instrument>,
    ranges: Coverage,
    due: Timestamp,
}

struct RepairRequest {
    instrument: Arc<Instrument>,
    ranges: Coverage,
    /// Known ranges that the exchange has revised.
    refetch: Coverage,
    /// The part of `ranges` whose candles are published after the repair.
    publish: Coverage,
    backoff: Backoff,
    /// After a failure: time of the next attempt.
    retry_at: Timestamp,
}

impl RepairQueue {
    /// Requests the repair of `range` of a 1m series.
    pub fn request(&self, series: Series, instrument: &Arc<Instrument>, range: TimeRange) {
        self.add(series, instrument, |request| request.ranges.add(pending_range(range)));
    }

    /// Requests the repair of `range` of a 1m series, and publishes its candles after the repair.
    pub fn request_and_publish(&self, series: Series, instrument: &Arc<Instrument>, range: TimeRange) {
        self.add(series, instrument, |request| {
            request.ranges.add(pending_range(range));
            request.publish.add(pending_range(range));
        });
    }

    /// As [`request_and_publish`](Self::request_and_publish), but at `due` or with the next request for the series. All
    /// ranges delayed this way become one request.
    pub fn request_and_publish_later(
        &self,
        series: Series,
        instrument: &Arc<Instrument>,
        range: TimeRange,
        due: Timestamp,
    ) {
        self.add_delayed(series, DelayReason::Quiet, instrument, range, due);
    }

    /// Requests to fetch `range` of a 1m series at `due`, even if it is known: the exchange has revised it.
    pub fn request_refetch(&self, series: Series, instrument: &Arc<Instrument>, range: TimeRange, due: Timestamp) {
        self.add_delayed(series, DelayReason::Revised(range.start()), instrument, range, due);
    }

    fn add_delayed(
        &self,
        series: Series,
        reason: DelayReason,
        instrument: &Arc<Instrument>,
        range: TimeRange,
        due: Timestamp,
    ) {
        let mut state = self.state.lock();
        let new = || DelayedRequest { instrument: Arc::clone(instrument), ranges: Coverage::default(), due };
        let delayed = state.delayed.entry((series, reason)).or_insert_with(new);
        delayed.ranges.add(pending_range(range));
        delayed.due = delayed.due.min(due);
        drop(state);
        self.changed.notify_one();
    }

    /// Removes all requests for a series.
    pub fn cancel(&self, series: &Series) {
        let mut state = self.state.lock();
        state.requests.remove(series);
        state.delayed.retain(|(other, _), _| other != series);
        state.order.retain(|other| other != series);
    }

    fn add(&self, series: Series, instrument: &Arc<Instrument>, add: impl FnOnce(&mut RepairRequest)) {
        let request = RepairRequest {
            instrument: Arc::clone(instrument),
            ranges: Coverage::default(),
            refetch: Coverage::default(),
            publish: Coverage::default(),
            backoff: Backoff::new(Duration::from_secs(1), MAX_RETRY_PAUSE),
            retry_at: Timestamp::EPOCH,
        };
        self.merge(series, request, add);
    }

    fn merge(&self, series: Series, new: RepairRequest, add: impl FnOnce(&mut RepairRequest)) {
        let mut state = self.state.lock();
        let State { order, requests, delayed, .. } = &mut *state;
        let quiet = delayed.remove(&(series.clone(), DelayReason::Quiet));
        let request = requests.entry(series.clone()).or_insert_with(|| {
            order.push_back(series);
            new
        });
        if let Some(quiet) = quiet {
            request.add_merged(&quiet.ranges);
        }
        add(request);
        drop(state);
        self.changed.notify_one();
    }

    /// Number of ranges that are requested or in progress.
    pub fn pending_ranges(&self) -> usize {
        let state = self.state.lock();
        let delayed = state.delayed.values().map(|delayed| delayed.ranges.ranges().len()).sum::<usize>();
        state.in_progress + delayed + state.requests.values().map(RepairRequest::len).sum::<usize>()
    }

    /// Waits for the next due request, in order of arrival.
    async fn next(&self, clock: &Clock) -> (Series, RepairRequest) {
        loop {
            let changed = self.changed.notified();
            self.activate_due(clock.now());
            let next_due;
            {
                let (mut state, now) = (self.state.lock(), clock.now());
                let State { order, requests, delayed, in_progress } = &mut *state;
                let due = |series: &Series| requests.get(series).map_or(Timestamp::EPOCH, |request| request.retry_at);
                let index = order.iter().position(|series| due(series) <= now);
                if let Some(series) = index.and_then(|index| order.remove(index)) {
                    let Some(request) = requests.remove(&series) else { continue };
                    *in_progress += request.len();
                    if !order.is_empty() {
                        self.changed.notify_one();
                    }
                    return (series, request);
                }
                next_due = order.iter().map(due).chain(delayed.values().map(|delayed| delayed.due)).min();
            }
            let timer = async {
                match next_due {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = timer => {}
            }
        }
    }

    /// Activates the delayed requests that are due.
    fn activate_due(&self, now: Timestamp) {
        let mut due = Vec::new();
        self.state.lock().delayed.retain(|series, delayed| {
            let is_due = delayed.due <= now;
            if is_due {
                due.push((series.clone(), Arc::clone(&delayed.instrument), delayed.ranges.clone()));
            }
            !is_due
        });
        for ((series, reason), instrument, ranges) in due {
            self.add(series, &instrument, |request| match reason {
                DelayReason::Quiet => request.add_merged(&ranges),
                DelayReason::Revised(_) => ranges.ranges().iter().for_each(|range| request.refetch.add(*range)),
            });
        }
    }

    /// Returns the failed part of a request to the queue.
    fn requeue(&self, series: Series, failed: RepairRequest) {
        let RepairRequest { ranges, refetch, publish, retry_at, .. } = &failed;
        let (ranges, refetch, publish, retry_at) = (ranges.clone(), refetch.clone(), publish.clone(), *retry_at);
        let empty = RepairRequest {
            ranges: Coverage::default(),
            refetch: Coverage::default(),
            publish: Coverage::default(),
            ..failed
        };
        self.merge(series, empty, |request| {
            ranges.ranges().iter().for_each(|range| request.ranges.add(*range));
            refetch.ranges().iter().for_each(|range| request.refetch.add(*range));
            publish.ranges().iter().for_each(|range| request.publish.add(*range));
            request.retry_at = retry_at;
        });
    }
}

impl RepairRequest {
    /// Adds `ranges` as one range, so that one request fetches all of it: what lies between them is known or requested
    /// anyway. Publishes only the candles of `ranges`.
    fn add_merged(&mut self, ranges: &Coverage) {
        let ranges = ranges.ranges();
        if let (Some(first), Some(last)) = (ranges.first(), ranges.last()) {
            self.ranges.add(pending_range(TimeRange::new(first.range.start(), last.range.end())));
        }
        for range in ranges {
            self.publish.add(*range);
        }
    }

    fn len(&self) -> usize {
        self.ranges.ranges().len() + self.refetch.ranges().len()
    }
}

/// Repairs requested ranges, forever. Sends candles to publish to `publish`.
pub async fn run_worker(queue: Arc<RepairQueue>, filler: Arc<Filler>, publish: mpsc::Sender<MarketEvent>) {
    let clock: Clock = filler.clock.clone();
    loop {
        let (series, mut request) = queue.next(&clock).await;
        let range_count = request.len();
        let failure = repair_series(&filler, &series, &mut request, &publish).await;
        queue.state.lock().in_progress -= range_count;
        let Some(error) = failure else { continue };
        let (done, now) = (request.ranges.ranges().is_empty() && request.refetch.ranges().is_empty(), clock.now());
        let retry_after = error.retry_at().map_or(Duration::ZERO, |at| at.since(now));
        let pause = match error {
            _ if done => Duration::MAX,
            // Capped: a candle that closes before `retry_at` may prove the range.
            FillError::TooEarly { .. } => retry_after.clamp(Duration::from_secs(1), MAX_RETRY_PAUSE),
            _ => request.backoff.next(&clock).max(retry_after),
        };
        // Candles that closed too recently are not a failure.
        if !matches!(error, FillError::TooEarly { .. }) {
            FetchFailed { series: &series, exchange: series.exchange, error: &error, pause }.emit();
        }
        if done {
            continue;
        }
        request.retry_at = now + pause;
        queue.requeue(series, request);
    }
}

/// An element of the `Coverage` values here. They only merge ranges, so the state has no meaning.
fn pending_range(range: TimeRange) -> CoveredRange {
    CoveredRange { range, state: CoverageState::Unavailable }
}

/// Repairs the ranges of one series, and leaves in `request` those to retry. Returns the first failure.
async fn repair_series(
    filler: &Filler,
    series: &Series,
    request: &mut RepairRequest,
    publish: &mpsc::Sender<MarketEvent>,
) -> Option<FillError> {
    let mut failure: Option<FillError> = None;
    let (ranges, refetch) = (std::mem::take(&mut request.ranges), std::mem::take(&mut request.refetch));
    for pending in ranges.ranges() {
        // After an error that affects all ranges, the rest is left for the next attempt.
        if failure.as_ref().is_some_and(FillError::affects_all_ranges) {
            request.ranges.add(*pending);
            continue;
        }
        match filler.fill(series, &request.instrument, pending.range).await {
            Ok(()) => {
                for to_publish in request.publish.within(pending.range).ranges() {
                    publish_stored(&*filler.store, series, to_publish.range, publish).await;
                }
            }
            Err(error) => {
                if !error.is_permanent() {
                    request.ranges.add(*pending);
                }
                failure = Some(first_error(failure, error));
            }
        }
    }
    for pending in refetch.ranges() {
        if failure.as_ref().is_some_and(FillError::affects_all_ranges) {
            request.refetch.add(*pending);
        } else if let Err(error) = filler.refetch(series, &request.instrument, pending.range).await {
            if !error.is_permanent() {
                request.refetch.add(*pending);
            }
            failure = Some(first_error(failure, error));
        }
    }
    failure
}

/// The error to report: the first one that is not [`FillError::TooEarly`].
fn first_error(earlier: Option<FillError>, error: FillError) -> FillError {
    earlier.filter(|earlier| !matches!(earlier, FillError::TooEarly { .. })).unwrap_or(error)
}

/// Publishes the stored candles of a repaired range, the last hour of it at most.
async fn publish_stored(
    store: &dyn CandleStore,
    series: &Series,
    range: TimeRange,
    publish: &mpsc::Sender<MarketEvent>,
) {
    // After a long interruption, subscribers read older candles from the history: they received a gap event.
    let recent = TimeRange::new(range.start().max(Interval::M1.back(range.end(), 60)), range.end());
    let Ok(candles) = store.candles(series, recent, Take::Last(60)).await else { return };
    for candle in candles {
        let update = CandleUpdate { series: series.clone(), candle };
        if publish.send(MarketEvent::Candle(update)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ExchangeId, Timestamp};

    fn series(symbol: &str) -> (Series, Arc<Instrument>) {
        let symbol: crate::model::Symbol = symbol.parse().unwrap();
        let instrument = Instrument::new(ExchangeId::KRAKEN, symbol.clone(), symbol.dashed());
        (Series { exchange: ExchangeId::KRAKEN, symbol, interval: Interval::M1 }, Arc::new(instrument))
    }

    fn minutes(start: i64, end: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_secs(60 * start), Timestamp::from_secs(60 * end))
    }

    fn ranges(request: &RepairRequest) -> Vec<TimeRange> {
        request.ranges.ranges().iter().map(|known| known.range).collect()
    }

    #[tokio::test]
    async fn ranges_of_a_series_become_one_request() {
        let (queue, clock) = (RepairQueue::default(), Clock::manual(Timestamp::EPOCH));
        let (btc, instrument) = series("BTC/USD");
        let (eth, other) = series("ETH/USD");
        queue.request(btc.clone(), &instrument, minutes(0, 1));
        queue.request(eth.clone(), &other, minutes(0, 1));
        queue.request_and_publish(btc.clone(), &instrument, minutes(1, 2));
        let (next, request) = queue.next(&clock).await;
        assert_eq!((next, ranges(&request)), (btc.clone(), vec![minutes(0, 2)]));
        assert_eq!(
            request.publish.ranges().iter().map(|published| published.range).collect::<Vec<_>>(),
            [minutes(1, 2)]
        );
        // A failed request is merged with new ones and goes behind other series.
        queue.request(btc.clone(), &instrument, minutes(2, 3));
        queue.requeue(btc.clone(), request);
        assert_eq!(queue.next(&clock).await.0, eth);
        let (retried, request) = queue.next(&clock).await;
        assert_eq!((retried, ranges(&request)), (btc, vec![minutes(0, 3)]));
    }

    #[tokio::test]
    async fn delayed_ranges_become_one_request() {
        let (queue, clock) = (RepairQueue::default(), Clock::manual(Timestamp::EPOCH));
        let (btc, instrument) = series("BTC/USD");
        queue.request_and_publish_later(btc.clone(), &instrument, minutes(0, 1), Timestamp::from_secs(300));
        queue.request_and_publish_later(btc.clone(), &instrument, minutes(2, 4), Timestamp::from_secs(300));
        assert_eq!(queue.pending_ranges(), 2);
        let mut next = std::pin::pin!(queue.next(&clock));
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        clock.advance(Duration::from_mins(5)).await;
        let (_, request) = next.await;
        assert_eq!(ranges(&request), [minutes(0, 4)], "one request");
        assert_eq!(request.publish.ranges().len(), 2);
        // Or with the next request for the same series.
        queue.request_and_publish_later(btc.clone(), &instrument, minutes(5, 6), Timestamp::from_secs(900));
        queue.request_and_publish(btc.clone(), &instrument, minutes(7, 8));
        let (_, request) = queue.next(&clock).await;
        assert_eq!(ranges(&request), [minutes(5, 6), minutes(7, 8)]);
        queue.request_and_publish_later(btc.clone(), &instrument, minutes(8, 9), Timestamp::from_secs(900));
        queue.cancel(&btc);
        assert_eq!(queue.pending_ranges(), 3, "only those in progress");
    }

    #[tokio::test]
    async fn failed_request_waits_without_blocking_others() {
        let (queue, clock) = (RepairQueue::default(), Clock::manual(Timestamp::EPOCH));
        let (btc, instrument) = series("BTC/USD");
        let (eth, other) = series("ETH/USD");
        queue.request(btc.clone(), &instrument, minutes(0, 1));
        let (_, mut request) = queue.next(&clock).await;
        request.retry_at = Timestamp::from_secs(30);
        queue.requeue(btc.clone(), request);
        queue.request(eth.clone(), &other, minutes(0, 1));
        assert_eq!(queue.next(&clock).await.0, eth);
        let mut next = std::pin::pin!(queue.next(&clock));
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        clock.advance(Duration::from_secs(30)).await;
        assert_eq!(next.await.0, btc.clone());
        queue.request(btc.clone(), &instrument, minutes(0, 1));
        queue.cancel(&btc);
        assert!(futures_util::poll!(std::pin::pin!(queue.next(&clock))).is_pending());
    }
}
