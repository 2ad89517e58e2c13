//! Processes candles after they were stored: derives longer candles and publishes revisions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::derive::{DeriveMode, affected_range, derive_candles};
use super::reconcile::RecheckQueue;
use super::writer::{Writer, WrittenBatch};
use crate::model::{Candle, CandleUpdate, CoverageState, Interval, MarketEvent, Series, TimeRange};
use crate::store::{CandleStore, StoreError};
use crate::telemetry::collect::CandleRevised;
use crate::upstream::ExchangeClock;

/// Derived candles that closed longer ago than this are not published.
const PUBLISH_WITHIN: Duration = Duration::from_mins(2);

/// Longer claims are only empty or unavailable ranges: no candle can be derived from them.
const MAX_DERIVED_RANGE: Duration = Duration::from_hours(7 * 24);

/// Derives candles from each written batch, until the writer ends. Sends candles to publish to `publish`.
pub async fn run(
    mut written: mpsc::Receiver<WrittenBatch>,
    store: Arc<dyn CandleStore>,
    writer: Writer,
    clock: ExchangeClock,
    publish: mpsc::Sender<MarketEvent>,
    recheck_queue: Arc<RecheckQueue>,
) {
    while let Some(batch) = written.recv().await {
        let rollup =
            Rollup { store: &*store, writer: &writer, clock: &clock, publish: &publish, recheck_queue: &recheck_queue };
        // The writer logs store errors. Candles that were not derived here are derived when a client requests them.
        let _ = rollup.run(batch).await;
    }
}

struct Rollup<'a> {
    store: &'a dyn CandleStore,
    writer: &'a Writer,
    clock: &'a ExchangeClock,
    publish: &'a mpsc::Sender<MarketEvent>,
    recheck_queue: &'a RecheckQueue,
}

impl Rollup<'_> {
    async fn run(&self, batch: WrittenBatch) -> Result<(), StoreError> {
        for (series, candle) in batch.revised {
            CandleRevised { series: &series, exchange: series.exchange, interval: series.interval, candle: &candle }
                .emit();
            if series.interval == Interval::M1 {
                let minute = Interval::M1.span(candle.timestamp);
                self.derive_from(&series, minute, CoverageState::Fetched).await?;
                self.queue_rechecks(&series, minute).await?;
            }
            self.send_candle(series, candle).await;
        }
        for (series, claims) in batch.claims {
            if series.interval == Interval::M1 {
                for claim in claims.iter().filter(|claim| claim.range.duration() <= MAX_DERIVED_RANGE) {
                    self.derive_from(&series, claim.range, claim.state).await?;
                }
            }
        }
        Ok(())
    }

    /// Derives longer candles from minutes whose coverage has changed to `state`.
    async fn derive_from(&self, minutes: &Series, changed: TimeRange, state: CoverageState) -> Result<(), StoreError> {
        // The upper bound of the clock: if these minutes are closed, so is a longer candle that ends with them.
        let now = self.clock.latest();
        let is_live = state == CoverageState::Observed && changed == Interval::M1.span(changed.start());
        // A fetched minute may replace an empty one, so existing candles are derived again.
        let mode = if state == CoverageState::Fetched { DeriveMode::Rederive } else { DeriveMode::Missing };
        for interval in Interval::ALL.into_iter().filter(|interval| *interval != Interval::M1) {
            // A single observed minute can complete a longer candle only as its last minute.
            if is_live && !interval.is_open_time(changed.end()) {
                continue;
            }
            let range = affected_range(interval, changed, now);
            if range.is_empty() {
                continue;
            }
            let series = Series { interval, ..minutes.clone() };
            let known = self.store.coverage(&series, range).await?;
            let is_new = |candle: &Candle| !known.unknown_ranges(interval.span(candle.timestamp)).is_empty();
            for write in derive_candles(self.store, &series, Interval::M1, range, mode).await? {
                // Existing candles that change are published as revisions, after they are stored.
                for candle in &write.candles {
                    if is_new(candle) && interval.next(candle.timestamp) + PUBLISH_WITHIN > now {
                        self.send_candle(series.clone(), *candle).await;
                    }
                }
                // If the queue is full, the range stays unknown and is derived when a client requests it.
                let _ = self.writer.submit(write);
            }
        }
        Ok(())
    }

    /// Queues fetched longer candles that contain a revised minute: the exchange may have revised them, too.
    async fn queue_rechecks(&self, minutes: &Series, minute: TimeRange) -> Result<(), StoreError> {
        for interval in Interval::ALL.into_iter().filter(|interval| *interval != Interval::M1) {
            let range = affected_range(interval, minute, self.clock.latest());
            let series = Series { interval, ..minutes.clone() };
            let known = self.store.coverage(&series, range).await?;
            if known.ranges().iter().any(|known| known.state == CoverageState::Fetched) {
                self.recheck_queue.add(&series, range);
            }
        }
        Ok(())
    }

    async fn send_candle(&self, series: Series, candle: Candle) {
        // An error means that the collector is shutting down.
        let _ = self.publish.send(MarketEvent::Candle(CandleUpdate { series, candle })).await;
    }
}
