//! Writes candles and coverage claims to the store: a bounded queue, batches, and retries until the store accepts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::model::{Candle, CoveredRange, ExchangeId, Series};
use crate::store::{CandleStore, SeriesWrite};
use crate::telemetry::collect::{CandlesWritten, WriteFailed, WriterQueueFull, WriterQueueGauge};
use crate::upstream::Backoff;

/// Maximum number of candles per transaction.
const MAX_CANDLES_PER_BATCH: usize = 5_000;

/// Maximum pause between two attempts of a write. Short, so that writes resume soon after a database failover.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// After `stop`, failed writes are retried for this long.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Sends writes to the queue. The `WriterTask` runs as long as a clone of this exists.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<WriteJob>,
    queued: Arc<AtomicUsize>,
    queue_gauge: WriterQueueGauge,
    capacity: usize,
    exchange: ExchangeId,
}

struct WriteJob {
    write: SeriesWrite,
    done: Option<oneshot::Sender<()>>,
}

/// A batch that is in the store.
#[derive(Debug)]
pub struct WrittenBatch {
    pub claims: Vec<(Series, Vec<CoveredRange>)>,
    /// Stored candles whose values changed, with their new values.
    pub revised: Vec<(Series, Candle)>,
}

/// The write was dropped: the queue is full, or the writer task has ended. Its time ranges stay unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the candle store does not keep up")]
pub struct WriteRejected;

impl Writer {
    /// Creates a queue for at most `capacity` candles, and the task that writes them to `store`. The task sends each
    /// batch to `written`. It ends when all senders are dropped and all queued writes are done.
    pub fn new(
        exchange: ExchangeId,
        store: Arc<dyn CandleStore>,
        capacity: usize,
        clock: Clock,
        written: mpsc::Sender<WrittenBatch>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, jobs) = mpsc::channel(capacity);
        let queued = Arc::new(AtomicUsize::new(0));
        let queue_gauge = WriterQueueGauge::new(exchange);
        let task = WriterTask {
            exchange,
            store,
            clock,
            written,
            stop,
            queued: Arc::clone(&queued),
            queue_gauge: queue_gauge.clone(),
        };
        (Self { queue, queued, queue_gauge, capacity, exchange }, task.run(jobs))
    }

    /// Queues a write without waiting.
    ///
    /// # Errors
    /// [`WriteRejected`].
    pub fn submit(&self, write: SeriesWrite) -> Result<(), WriteRejected> {
        self.enqueue(write, None)
    }

    /// Queues a write, and waits until it is in the store.
    ///
    /// # Errors
    /// [`WriteRejected`].
    pub async fn write(&self, write: SeriesWrite) -> Result<(), WriteRejected> {
        let (done, is_done) = oneshot::channel();
        self.enqueue(write, Some(done))?;
        is_done.await.map_err(|_| WriteRejected)
    }

    fn enqueue(&self, write: SeriesWrite, done: Option<oneshot::Sender<()>>) -> Result<(), WriteRejected> {
        let size = write.candles.len() + 1;
        if self.queued.fetch_add(size, Ordering::Relaxed) + size > self.capacity
            || self.queue.try_send(WriteJob { write, done }).is_err()
        {
            self.queued.fetch_sub(size, Ordering::Relaxed);
            WriterQueueFull { exchange: self.exchange }.emit();
            return Err(WriteRejected);
        }
        self.queue_gauge.set(self.queued.load(Ordering::Relaxed));
        Ok(())
    }
}

struct WriterTask {
    exchange: ExchangeId,
    store: Arc<dyn CandleStore>,
    clock: Clock,
    written: mpsc::Sender<WrittenBatch>,
    stop: CancellationToken,
    queued: Arc<AtomicUsize>,
    queue_gauge: WriterQueueGauge,
}

impl WriterTask {
    async fn run(self, mut jobs: mpsc::Receiver<WriteJob>) {
        while let Some(first) = jobs.recv().await {
            let mut size = first.write.candles.len() + 1;
            let mut done: Vec<_> = first.done.into_iter().collect();
            let mut batch = vec![first.write];
            while size < MAX_CANDLES_PER_BATCH
                && let Ok(job) = jobs.try_recv()
            {
                size += job.write.candles.len() + 1;
                batch.push(job.write);
                done.extend(job.done);
            }
            let started = self.clock.elapsed();
            let revised = self.write(&batch).await;
            let took = self.clock.to_real_time(self.clock.elapsed().saturating_sub(started));
            self.queue_gauge.set(self.queued.fetch_sub(size, Ordering::Relaxed).saturating_sub(size));
            let Some(revised) = revised else { return };
            let (candles, revised_now) = (size - batch.len(), revised.len());
            CandlesWritten { exchange: self.exchange, candles, revised: revised_now, took }.emit();
            for done in done {
                // The caller may have stopped waiting.
                let _ = done.send(());
            }
            let claims = batch.into_iter().map(|write| (write.series, write.claims)).collect();
            // During shutdown the receiver may be gone; the candles are stored anyway.
            let _ = self.written.send(WrittenBatch { claims, revised }).await;
        }
    }

    /// Writes one batch, and retries until it is stored. `None` if [`SHUTDOWN_GRACE`] has passed without success.
    async fn write(&self, batch: &[SeriesWrite]) -> Option<Vec<(Series, Candle)>> {
        let mut backoff = Backoff::new(Duration::from_millis(100), MAX_PAUSE);
        let mut deadline = None;
        loop {
            match self.store.write(batch).await {
                Ok(revised) => return Some(revised),
                Err(error) => {
                    let pause = backoff.next(&self.clock);
                    WriteFailed { exchange: self.exchange, error: &error, pause }.emit();
                    if self.stop.is_cancelled() {
                        let end = *deadline.get_or_insert(self.clock.now() + SHUTDOWN_GRACE);
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
