//! The way of closed candles into the store: a bounded queue, batches, and retries until the store answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::model::{Candle, CoveredRange, ExchangeId, Series};
use crate::store::{CandleStore, SeriesWrite};
use crate::telemetry::collect::{CandlesWritten, WriteFailed, WriterFull, WriterQueue};
use crate::upstream::Backoff;

/// The most candles of one transaction.
const BATCH: usize = 5_000;

/// The longest pause between two tries of a write: a database that fails over is written to again soon after.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// After the process was asked to end, the store has so long to take what waits.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// The near end of the queue.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Job>,
    waiting: Arc<AtomicUsize>,
    shown: WriterQueue,
    most: usize,
    exchange: ExchangeId,
}

struct Job {
    write: SeriesWrite,
    done: Option<oneshot::Sender<()>>,
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// The claims of the batch.
    pub claims: Vec<(Series, Vec<CoveredRange>)>,
    /// Candles that were there with other values, as they are now.
    pub revised: Vec<(Series, Candle)>,
}

/// The write was not taken: the queue is full, or its far end is gone. What it would have said stays unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the candle store does not keep up")]
pub struct NotTaken;

impl Writer {
    /// A queue for at most `most` candles, and the task that empties it into `store`. The task tells of each batch in
    /// `written`, and ends when all near ends are gone and everything is written.
    pub fn new(
        exchange: ExchangeId,
        store: Arc<dyn CandleStore>,
        most: usize,
        clock: Clock,
        written: mpsc::Sender<Written>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, jobs) = mpsc::channel(most);
        let waiting = Arc::new(AtomicUsize::new(0));
        let shown = WriterQueue::new(exchange);
        let drain =
            Drain { exchange, store, clock, written, stop, waiting: Arc::clone(&waiting), shown: shown.clone() };
        (Self { queue, waiting, shown, most, exchange }, drain.run(jobs))
    }

    /// Puts a write into the queue without waiting.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn submit(&self, write: SeriesWrite) -> Result<(), NotTaken> {
        self.put(write, None)
    }

    /// Writes, and waits until it is in the store.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub async fn write(&self, write: SeriesWrite) -> Result<(), NotTaken> {
        let (done, is_done) = oneshot::channel();
        self.put(write, Some(done))?;
        is_done.await.map_err(|_| NotTaken)
    }

    fn put(&self, write: SeriesWrite, done: Option<oneshot::Sender<()>>) -> Result<(), NotTaken> {
        let size = write.candles.len() + 1;
        if self.waiting.fetch_add(size, Ordering::Relaxed) + size > self.most
            || self.queue.try_send(Job { write, done }).is_err()
        {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            WriterFull { exchange: self.exchange }.emit();
            return Err(NotTaken);
        }
        self.shown.is(self.waiting.load(Ordering::Relaxed));
        Ok(())
    }
}

struct Drain {
    exchange: ExchangeId,
    store: Arc<dyn CandleStore>,
    clock: Clock,
    written: mpsc::Sender<Written>,
    stop: CancellationToken,
    waiting: Arc<AtomicUsize>,
    shown: WriterQueue,
}

impl Drain {
    async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.recv().await {
            let mut size = first.write.candles.len() + 1;
            let mut done: Vec<_> = first.done.into_iter().collect();
            let mut batch = vec![first.write];
            while size < BATCH
                && let Ok(job) = jobs.try_recv()
            {
                size += job.write.candles.len() + 1;
                batch.push(job.write);
                done.extend(job.done);
            }
            let begun = self.clock.elapsed();
            let revised = self.write(&batch).await;
            let took = self.clock.outside(self.clock.elapsed().saturating_sub(begun));
            self.shown.is(self.waiting.fetch_sub(size, Ordering::Relaxed).saturating_sub(size));
            let Some(revised) = revised else { return };
            let (candles, revised_now) = (size - batch.len(), revised.len());
            CandlesWritten { exchange: self.exchange, candles, revised: revised_now, took }.emit();
            for done in done {
                // Whoever waited may have given up.
                let _ = done.send(());
            }
            let claims = batch.into_iter().map(|write| (write.series, write.claims)).collect();
            // At the end nobody listens any more; the candles are in the store all the same.
            let _ = self.written.send(Written { claims, revised }).await;
        }
    }

    /// Writes one batch, however long the store needs. `None` if the process ended before.
    async fn write(&self, batch: &[SeriesWrite]) -> Option<Vec<(Series, Candle)>> {
        let mut backoff = Backoff::new(Duration::from_millis(100), LONGEST_PAUSE);
        let mut last_chance = None;
        loop {
            match self.store.write(batch).await {
                Ok(revised) => return Some(revised),
                Err(error) => {
                    let pause = backoff.next(&self.clock);
                    WriteFailed { exchange: self.exchange, error: &error, pause }.emit();
                    if self.stop.is_cancelled() {
                        let end = *last_chance.get_or_insert(self.clock.now() + LAST_CHANCE);
                        if self.clock.now() >= end {
                            return None;
                        }
                        self.clock.sleep(pause.min(Duration::from_millis(250))).await;
                    } else {
                        tokio::select! {
                            () = self.clock.sleep(pause) => {}
                            () = self.stop.cancelled() => {}
                        }
                    }
                }
            }
        }
    }
}
