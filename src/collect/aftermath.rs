//! What follows from candles that are in the store: longer candles are derived, corrections are told.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::derive::{Purpose, concerned, derive};
use super::sweep::Doubts;
use super::writer::{Writer, Written};
use crate::model::{Candle, CandleUpdate, Interval, Knowledge, MarketEvent, Series, TimeRange};
use crate::store::{CandleStore, StoreError};
use crate::telemetry::collect::CandleRevised;
use crate::upstream::ExchangeClock;

/// Derived candles that closed longer ago are history; nobody waits for them on a stream.
const NEWS: Duration = Duration::from_mins(2);

/// What is told of a longer time is that nothing was traded, or that nobody knows: nothing can be made of that.
const LONG: Duration = Duration::from_hours(7 * 24);

/// Derives from each batch that was written, until the writer ends. Events go to `announce`.
pub async fn follow(
    mut written: mpsc::Receiver<Written>,
    store: Arc<dyn CandleStore>,
    writer: Writer,
    clock: ExchangeClock,
    announce: mpsc::Sender<MarketEvent>,
    doubts: Arc<Doubts>,
) {
    while let Some(batch) = written.recv().await {
        let task = Aftermath { store: &*store, writer: &writer, clock: &clock, announce: &announce, doubts: &doubts };
        // An error of the store is told by the writer; what was not derived is derived when someone asks for it.
        let _ = task.run(batch).await;
    }
}

struct Aftermath<'a> {
    store: &'a dyn CandleStore,
    writer: &'a Writer,
    clock: &'a ExchangeClock,
    announce: &'a mpsc::Sender<MarketEvent>,
    doubts: &'a Doubts,
}

impl Aftermath<'_> {
    async fn run(&self, batch: Written) -> Result<(), StoreError> {
        for (series, candle) in batch.revised {
            CandleRevised { series: &series, exchange: series.exchange, interval: series.interval, candle: &candle }
                .emit();
            if series.interval == Interval::M1 {
                let minute = Interval::M1.span(candle.timestamp);
                self.derive_from(&series, minute, Knowledge::Fetched).await?;
                self.doubt(&series, minute).await?;
            }
            self.tell(series, candle).await;
        }
        for (series, claims) in batch.claims {
            if series.interval == Interval::M1 {
                for claim in claims.iter().filter(|claim| claim.range.duration() <= LONG) {
                    self.derive_from(&series, claim.range, claim.state).await?;
                }
            }
        }
        Ok(())
    }

    /// Derives what follows from minutes that became known in a way.
    async fn derive_from(&self, minutes: &Series, changed: TimeRange, how: Knowledge) -> Result<(), StoreError> {
        // What the minutes complete is closed, whatever the doubt.
        let now = self.clock.latest();
        let live = how == Knowledge::Observed && changed == Interval::M1.span(changed.start());
        // What is fetched may contradict what was known before: a minute that was called empty may have a candle.
        let purpose = if how == Knowledge::Fetched { Purpose::Again } else { Purpose::New };
        for interval in Interval::ALL.into_iter().filter(|interval| *interval != Interval::M1) {
            // A minute of the live stream completes a longer candle only if it is its last.
            if live && !interval.is_open_time(changed.end()) {
                continue;
            }
            let range = concerned(interval, changed, now);
            if range.is_empty() {
                continue;
            }
            let series = Series { interval, ..minutes.clone() };
            let known = self.store.coverage(&series, range).await?;
            let is_new = |candle: &Candle| !known.unknown(interval.span(candle.timestamp)).is_empty();
            for write in derive(self.store, &series, Interval::M1, range, purpose).await? {
                // What changes is told with its revision, when the store has it.
                for candle in &write.candles {
                    if is_new(candle) && interval.next(candle.timestamp) + NEWS > now {
                        self.tell(series.clone(), *candle).await;
                    }
                }
                // What is not taken stays unknown and is derived when someone asks.
                let _ = self.writer.submit(write);
            }
        }
        Ok(())
    }

    /// What the exchange itself said of longer candles that hold a minute, it may have changed, too.
    async fn doubt(&self, minutes: &Series, minute: TimeRange) -> Result<(), StoreError> {
        for interval in Interval::ALL.into_iter().filter(|interval| *interval != Interval::M1) {
            let range = concerned(interval, minute, self.clock.latest());
            let series = Series { interval, ..minutes.clone() };
            let known = self.store.coverage(&series, range).await?;
            if known.ranges().iter().any(|known| known.state == Knowledge::Fetched) {
                self.doubts.add(&series, range);
            }
        }
        Ok(())
    }

    async fn tell(&self, series: Series, candle: Candle) {
        // Nobody listens any more once the collector ends.
        let _ = self.announce.send(MarketEvent::Candle(CandleUpdate { series, candle })).await;
    }
}
