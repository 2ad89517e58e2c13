//! The tasks of a collector besides its loop: storage, repair, the listing, and requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::backfill::Backfiller;
use super::context::{CollectorContext, CollectorSpec};
use super::error::CollectError;
use super::fill::Filler;
use super::listing::{InstrumentIndex, ListingReader};
use super::reconcile::{CollectedMarket, HistoryWindow, RecheckQueue, Reconciler};
use super::repair::{self, RepairQueue};
use super::requests::{FetchedTicker, RequestHandler};
use super::suspect_ranges::SuspectRanges;
use super::tasks::Tasks;
use super::writer::{Writer, WrittenBatch};
use super::{exchange_time, lease, rollup};
use crate::config::CollectConfig;
use crate::model::{MarketEvent, Symbol};
use crate::upstream::{Priority, RestClient};

/// The running tasks, and what connects them to the loop of the collector.
pub struct Background {
    pub tasks: Tasks,
    pub writer: Writer,
    pub writer_task: JoinHandle<()>,
    pub repair_queue: Arc<RepairQueue>,
    pub suspect_ranges: Arc<SuspectRanges>,
    pub instruments: watch::Receiver<Arc<InstrumentIndex>>,
    /// Symbols that clients subscribe to; `None` until known.
    pub demand: watch::Receiver<Option<Vec<Symbol>>>,
    /// Receives the collected markets from the loop.
    pub collected_markets: watch::Sender<Vec<CollectedMarket>>,
    /// Repaired and derived candles.
    pub to_publish: mpsc::Receiver<MarketEvent>,
    /// Tickers that clients requested.
    pub tickers: mpsc::Receiver<FetchedTicker>,
}

impl Background {
    /// Starts all tasks. `instruments` is the listing that `listing_reader` read first.
    ///
    /// # Errors
    /// [`CollectError::Cache`]: requests of other processes cannot be received.
    pub async fn start(
        spec: &CollectorSpec,
        rest: &Arc<RestClient>,
        listing_reader: ListingReader,
        instruments: InstrumentIndex,
    ) -> Result<Self, CollectError> {
        let exchange = spec.exchange.id();
        let CollectorContext { cache, clock, limits } = &spec.context;
        let (written, batches) = mpsc::channel(64);
        let (writer, writer_task) = Writer::new(
            exchange,
            spec.source.store.clone(),
            limits.write_queue,
            clock.clone(),
            written,
            spec.stop.clone(),
        );
        let writer_task = tokio::spawn(writer_task);
        let suspect_ranges = Arc::new(SuspectRanges::default());
        // A task's filler has a sender to the writer, so the writer ends after the tasks.
        let filler = filler(spec, rest, &writer, &suspect_ranges);

        let mut tasks = Tasks::default();
        let (publish, to_publish) = mpsc::channel(1_024);
        let repair_queue = spawn_repair(&mut tasks, &filler, &publish);
        let collected_markets = spawn_reconciler(&mut tasks, &filler, limits, batches, publish);
        tasks.spawn("exchange clock", exchange_time::keep_measuring(Arc::clone(rest), clock.clone()));
        let (instruments_sender, instruments) = watch::channel(Arc::new(instruments));
        let listing_interval = Duration::from_mins(limits.listing_minutes.into());
        tasks.spawn("listing", listing_reader.run(listing_interval, instruments_sender));
        let backfiller = Backfiller {
            store: spec.source.store.clone(),
            filler: Arc::new(filler.in_background()),
            instruments: instruments.clone(),
        };
        tasks.spawn("backfills", backfiller.run());
        let (tickers_sender, tickers) = mpsc::channel(64);
        let handler = Arc::new(RequestHandler {
            filler: Arc::new(filler.for_clients()),
            instruments: instruments.clone(),
            tickers: tickers_sender,
        });
        tasks.spawn("requests", handler.serve(cache.requests.serve(exchange).await?));
        let (demand_sender, demand) = watch::channel(None);
        tasks.spawn("demand", lease::watch_demand(exchange, spec.context.clone(), demand_sender));
        Ok(Self {
            tasks,
            writer,
            writer_task,
            repair_queue,
            suspect_ranges,
            instruments,
            demand,
            collected_markets,
            to_publish,
            tickers,
        })
    }
}

/// The filler for repair. Other tasks clone it with another priority.
fn filler(
    spec: &CollectorSpec,
    rest: &Arc<RestClient>,
    writer: &Writer,
    suspect_ranges: &Arc<SuspectRanges>,
) -> Arc<Filler> {
    Arc::new(Filler {
        exchange: spec.exchange,
        rest: Arc::clone(rest),
        store: spec.source.store.clone(),
        writer: writer.clone(),
        clock: spec.context.clock.clone(),
        exchange_clock: rest.exchange_clock().clone(),
        series_locks: Arc::default(),
        priority: Priority::Repair,
        suspect_ranges: Arc::clone(suspect_ranges),
    })
}

/// Starts the workers that repair gaps of the stream.
fn spawn_repair(tasks: &mut Tasks, filler: &Arc<Filler>, publish: &mpsc::Sender<MarketEvent>) -> Arc<RepairQueue> {
    let queue = Arc::new(RepairQueue::default());
    for _ in 0..repair::WORKERS {
        tasks.spawn("repair", repair::run_worker(Arc::clone(&queue), Arc::clone(filler), publish.clone()));
    }
    queue
}

/// Starts the rollup of written batches and the reconciler, which rechecks what the rollup finds doubtful.
fn spawn_reconciler(
    tasks: &mut Tasks,
    filler: &Filler,
    limits: &CollectConfig,
    batches: mpsc::Receiver<WrittenBatch>,
    publish: mpsc::Sender<MarketEvent>,
) -> watch::Sender<Vec<CollectedMarket>> {
    let recheck_queue = Arc::new(RecheckQueue::default());
    let (store, writer, exchange_clock) =
        (Arc::clone(&filler.store), filler.writer.clone(), filler.exchange_clock.clone());
    let rollup = rollup::run(batches, store, writer, exchange_clock, publish, Arc::clone(&recheck_queue));
    tasks.spawn("rollup", rollup);
    let (sender, markets) = watch::channel(Vec::new());
    let window = HistoryWindow { repair_days: limits.repair_days, backfill_days: limits.backfill_days };
    let (compared_until, rechecked) = Default::default();
    let reconciler =
        Reconciler { filler: filler.in_background(), markets, window, recheck_queue, compared_until, rechecked };
    tasks.spawn("reconciler", reconciler.run());
    sender
}
