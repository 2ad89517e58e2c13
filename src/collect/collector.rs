//! Assembles and runs the collector of one exchange: acquires the lease, starts the tasks and the loop, and shuts them
//! down.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::backfill::Backfiller;
use super::connections::Connections;
use super::fill::Filler;
use super::listing::{InstrumentIndex, ListingReader};
use super::live::{Collector, Inputs};
use super::publisher::Publisher;
use super::reconcile::{HistoryWindow, RecheckQueue, Reconciler};
use super::repair::{self, RepairQueue};
use super::requests::RequestHandler;
use super::source::{CollectorContext, DataSource};
use super::suspect_ranges::SuspectRanges;
use super::tasks::Tasks;
use super::writer::Writer;
use super::{exchange_time, lease, rollup, status};
use crate::cache::{Budgets, CacheError, Lease};
use crate::exchanges::Exchange;
use crate::model::{Symbol, Timestamp};
use crate::store::StoreError;
use crate::telemetry::collect::StreamLag;
use crate::upstream::{Backoff, Priority, RestClient, UpstreamError};

/// What a collector collects, and from where.
pub struct CollectorSpec {
    pub exchange: &'static dyn Exchange,
    pub symbols: Vec<Symbol>,
    pub source: DataSource,
    pub context: CollectorContext,
    pub stop: CancellationToken,
}

/// Why a collector ended.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("a connection gave up: {0}")]
    GaveUp(String),
    #[error("another collector holds the lease")]
    LeaseLost,
    #[error("the task `{name}` ended: {cause}")]
    TaskEnded { name: String, cause: String },
    #[error("the clock was set or the machine was suspended, by {} s; missed data will be fetched", .0.as_secs())]
    ClockJumped(Duration),
}

/// Collects until `stop`, then shuts down in order: connections first, the writer last.
pub async fn run(spec: CollectorSpec) -> Result<(), CollectError> {
    let CollectorSpec { exchange, context, stop, .. } = &spec;
    let Some(lease) = lease::acquire(exchange.id(), context, stop).await else { return Ok(()) };
    let (lease_sender, current_lease) = watch::channel(Some(lease));
    let mut renewal = JoinSet::new();
    renewal.spawn(lease::keep_renewed(context.clone(), lease_sender));
    let result = collect(&spec, current_lease.clone()).await;
    renewal.shutdown().await;
    let lease = current_lease.borrow().clone();
    if let Some(lease) = lease {
        let _ = context.cache.leases.release(&lease).await;
    }
    result
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

async fn collect(spec: &CollectorSpec, mut lease: watch::Receiver<Option<Lease>>) -> Result<(), CollectError> {
    let CollectorSpec { exchange, source, context, stop, .. } = spec;
    let CollectorContext { cache, clock, limits } = context;
    let clock_drift = clock.drift();
    let budgets = shared_budgets(spec);
    let rest = rest_client(spec, budgets.as_ref())?;
    let last_state = cache.states.get(exchange.id()).await?;
    let mut status_reporter = status::StatusReporter::new(*exchange, source.simulated, last_state, context.clone());
    status_reporter.report_started(rest.budgets()).await;
    let mut listing_reader = ListingReader::new(*exchange, Arc::clone(&rest), source.store.clone(), clock.clone());
    let instruments = tokio::select! {
        (instruments, ()) = async {
            tokio::join!(
                read_listing(&mut listing_reader, &mut status_reporter),
                exchange_time::measure_at_start(&rest, clock),
            )
        } => Arc::new(instruments?),
        _ = lease.wait_for(Option::is_none) => return Err(CollectError::LeaseLost),
        () = stop.cancelled() => return Ok(()),
    };
    let (instruments_sender, instruments) = watch::channel(instruments);
    let (publish, to_publish) = mpsc::channel(1_024);
    let (tickers, fetched_tickers) = mpsc::channel(64);
    let (written, batches) = mpsc::channel(64);
    let (writer, writer_task) =
        Writer::new(exchange.id(), source.store.clone(), limits.write_queue, clock.clone(), written, stop.clone());
    let writer_task = tokio::spawn(writer_task);
    let suspect_ranges = Arc::new(SuspectRanges::default());
    let filler = filler(spec, &rest, &writer, &suspect_ranges);
    let repair_queue = Arc::new(RepairQueue::default());
    let mut tasks = Tasks::default();
    for _ in 0..repair::WORKERS {
        tasks.spawn("repair", repair::run_worker(Arc::clone(&repair_queue), Arc::clone(&filler), publish.clone()));
    }
    let recheck_queue = Arc::new(RecheckQueue::default());
    let store = Arc::clone(&source.store);
    let exchange_clock = rest.exchange_clock().clone();
    let rollup = rollup::run(batches, store, writer.clone(), exchange_clock, publish, Arc::clone(&recheck_queue));
    tasks.spawn("rollup", rollup);
    let (markets_sender, markets) = watch::channel(Vec::new());
    let window = HistoryWindow { repair_days: limits.repair_days, backfill_days: limits.backfill_days };
    let (compared_until, rechecked) = Default::default();
    let reconciler =
        Reconciler { filler: filler.in_background(), markets, window, recheck_queue, compared_until, rechecked };
    tasks.spawn("reconciler", reconciler.run());
    tasks.spawn("exchange clock", exchange_time::keep_measuring(Arc::clone(&rest), clock.clone()));
    tasks.spawn("listing", listing_reader.run(Duration::from_mins(limits.listing_minutes.into()), instruments_sender));
    let backfiller = Backfiller {
        store: source.store.clone(),
        filler: Arc::new(filler.in_background()),
        instruments: instruments.clone(),
    };
    tasks.spawn("backfills", backfiller.run());
    let handler =
        Arc::new(RequestHandler { filler: Arc::new(filler.for_clients()), instruments: instruments.clone(), tickers });
    // The filler has a sender to the writer, which would keep the writer task running.
    drop(filler);
    tasks.spawn("requests", handler.serve(cache.requests.serve(exchange.id()).await?));

    let (demand_sender, demand) = watch::channel(None);
    tasks.spawn("demand", lease::watch_demand(exchange.id(), context.clone(), demand_sender));

    let Some(token) = lease.borrow_and_update().as_ref().map(|lease| lease.token) else {
        return Err(CollectError::LeaseLost);
    };
    let (connections, items) =
        Connections::new(*exchange, source.ws_origins.clone(), clock.clone(), budgets, stop.child_token());
    let publisher = Publisher::new(exchange.id(), cache.clone(), token, source.simulated, clock);
    let mut collector = Collector {
        spec,
        lease,
        demand,
        rest,
        instruments,
        publisher,
        writer,
        repair_queue,
        suspect_ranges,
        status_reporter,
        connections,
        markets: HashMap::new(),
        outcomes: Vec::new(),
        lag: StreamLag::new(exchange.id()),
        rejected: Vec::new(),
        collected_markets: markets_sender,
        clock_drift,
        newest_event_time: Timestamp::EPOCH,
    };
    collector.apply_listing();
    collector.report_status().await;
    run_until_end(collector, tasks, writer_task, Inputs { items, to_publish, tickers: fetched_tickers }).await
}

/// Runs a collector until it, one of its tasks or its writer ends, and stops the others.
async fn run_until_end(
    mut collector: Collector<'_>,
    mut tasks: Tasks,
    mut writer_task: JoinHandle<()>,
    inputs: Inputs,
) -> Result<(), CollectError> {
    let mut writer_ended = false;
    let result = tokio::select! {
        result = collector.run(inputs) => result,
        error = tasks.wait_for_end() => Err(error),
        ended = &mut writer_task => {
            writer_ended = true;
            let cause = ended.map_or_else(|error| error.to_string(), |()| "it returned".to_owned());
            Err(CollectError::TaskEnded { name: "writer".to_owned(), cause })
        }
    };
    collector.connections.close().await;
    // The tasks and the collector have senders to the writer; without them it writes the queued candles and ends.
    tasks.shutdown().await;
    drop(collector);
    if !writer_ended {
        let _ = writer_task.await;
    }
    result
}

/// The budgets that collectors share. Requests to the simulator do not count against them.
fn shared_budgets(spec: &CollectorSpec) -> Option<Arc<dyn Budgets>> {
    (!spec.source.simulated).then(|| Arc::clone(&spec.context.cache.budgets))
}

/// The REST client of a collector.
fn rest_client(spec: &CollectorSpec, budgets: Option<&Arc<dyn Budgets>>) -> Result<Arc<RestClient>, UpstreamError> {
    let (origins, clock) = (&spec.source.rest_origins, spec.context.clock.clone());
    match budgets {
        Some(budgets) => RestClient::with_shared_budgets(spec.exchange, origins, clock, Arc::clone(budgets)),
        None => RestClient::new(spec.exchange, origins, clock),
    }
}

/// Reads the listing, and retries until the exchange responds.
async fn read_listing(
    reader: &mut ListingReader,
    status_reporter: &mut status::StatusReporter,
) -> Result<InstrumentIndex, CollectError> {
    let (clock, rest) = (reader.clock.clone(), Arc::clone(&reader.rest));
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        match reader.read_initial().await? {
            Ok(instruments) => return Ok(instruments),
            Err(error) => {
                let retry_after = error.retry_at().map_or(Duration::ZERO, |at| at.since(clock.now()));
                status_reporter.report_down(error.to_string(), rest.budgets()).await;
                clock.sleep(backoff.next(&clock).max(retry_after)).await;
            }
        }
    }
}
