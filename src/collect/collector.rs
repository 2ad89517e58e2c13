//! Assembles and runs the collector of one exchange: acquires the lease, starts the tasks and the loop, and shuts them
//! down.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::background::Background;
use super::connections::Connections;
use super::context::{CollectorContext, CollectorSpec};
use super::error::CollectError;
use super::listing::{InstrumentIndex, ListingReader};
use super::live::{Collector, Inputs};
use super::publisher::Publisher;
use super::status::StatusReporter;
use super::tasks::Tasks;
use super::{exchange_time, lease};
use crate::cache::{Budgets, Lease};
use crate::model::Timestamp;
use crate::telemetry::collect::StreamLag;
use crate::upstream::{Backoff, RestClient, UpstreamError};

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

async fn collect(spec: &CollectorSpec, mut lease: watch::Receiver<Option<Lease>>) -> Result<(), CollectError> {
    let CollectorSpec { exchange, source, context, stop, .. } = spec;
    let CollectorContext { cache, clock, .. } = context;
    let clock_drift = clock.drift();
    let budgets = shared_budgets(spec);
    let rest = rest_client(spec, budgets.as_ref())?;
    let last_state = cache.states.get(exchange.id()).await?;
    let mut status_reporter = StatusReporter::new(*exchange, source.simulated, last_state, context.clone());
    status_reporter.report_started(rest.budgets()).await;
    let mut listing_reader = ListingReader::new(*exchange, Arc::clone(&rest), source.store.clone(), clock.clone());
    let instruments = tokio::select! {
        (instruments, ()) = async {
            tokio::join!(
                read_listing(&mut listing_reader, &mut status_reporter),
                exchange_time::measure_at_start(&rest, clock),
            )
        } => instruments?,
        _ = lease.wait_for(Option::is_none) => return Err(CollectError::LeaseLost),
        () = stop.cancelled() => return Ok(()),
    };
    let background = Background::start(spec, &rest, listing_reader, instruments).await?;
    let Some(token) = lease.borrow_and_update().as_ref().map(|lease| lease.token) else {
        return Err(CollectError::LeaseLost);
    };
    let (connections, items) = Connections::new(
        *exchange,
        source.ws_origins.clone(),
        clock.clone(),
        budgets,
        Arc::clone(&rest),
        stop.child_token(),
    );
    let collector = Collector {
        spec,
        lease,
        demand: background.demand,
        rest,
        instruments: background.instruments,
        publisher: Publisher::new(exchange.id(), cache.clone(), token, source.simulated, clock),
        writer: background.writer,
        repair_queue: background.repair_queue,
        suspect_ranges: background.suspect_ranges,
        status_reporter,
        connections,
        markets: HashMap::new(),
        outcomes: Vec::new(),
        lag: StreamLag::new(exchange.id()),
        rejected: Vec::new(),
        collected_markets: background.collected_markets,
        clock_drift,
        newest_event_time: Timestamp::EPOCH,
    };
    let inputs = Inputs { items, to_publish: background.to_publish, tickers: background.tickers };
    run_until_end(collector, background.tasks, background.writer_task, inputs).await
}

/// Runs a collector until it, one of its tasks or its writer ends, and stops the others.
async fn run_until_end(
    mut collector: Collector<'_>,
    mut tasks: Tasks,
    mut writer_task: JoinHandle<()>,
    inputs: Inputs,
) -> Result<(), CollectError> {
    collector.apply_listing();
    collector.report_status().await;
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
    status_reporter: &mut StatusReporter,
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
