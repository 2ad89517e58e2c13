//! The collector of one exchange: what it is made of, from the lease at the start to the writer at the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answers::Answerer;
use super::backfill::Backfiller;
use super::connections::Connections;
use super::fill::Filler;
use super::listing::{Listed, Reader};
use super::live::Collector;
use super::publisher::Publisher;
use super::repair::{self, Holes};
use super::source::{Shared, Source};
use super::suspects::Suspects;
use super::sweep::{Doubts, Reach, Sweeper};
use super::tasks::Tasks;
use super::writer::Writer;
use super::{aftermath, exchange_time, lease, state};
use crate::cache::{CacheError, Lease};
use crate::exchanges::Exchange;
use crate::model::{Symbol, Timestamp};
use crate::store::StoreError;
use crate::telemetry::collect::Lag;
use crate::upstream::{Backoff, RestClient, UpstreamError, Urgency};

/// What a collector is to do.
pub struct Duties {
    pub exchange: &'static dyn Exchange,
    pub symbols: Vec<Symbol>,
    pub source: Source,
    pub shared: Shared,
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
    #[error("a connection ended for good: {0}")]
    GaveUp(String),
    #[error("another collector took over")]
    LeaseLost,
    #[error("the task `{name}` ended: {how}")]
    TaskEnded { name: String, how: String },
    #[error("the machine's clock was set, or the machine slept, by {} s: what was missed is fetched", .0.as_secs())]
    ClockJumped(Duration),
}

/// Collects until `stop`, then ends in order: connections first, the writer last.
pub async fn run(duties: Duties) -> Result<(), CollectError> {
    let Duties { exchange, shared, stop, .. } = &duties;
    let Some(lease) = lease::take(exchange.id(), shared, stop).await else { return Ok(()) };
    let (holder, held) = watch::channel(Some(lease));
    let mut holding = JoinSet::new();
    holding.spawn(lease::hold(shared.clone(), holder));
    let result = collect(&duties, held.clone()).await;
    holding.shutdown().await;
    let lease = held.borrow().clone();
    if let Some(lease) = lease {
        let _ = shared.cache.leases.release(&lease).await;
    }
    result
}

/// Fills for repair; its clones have other urgencies.
fn filler(duties: &Duties, rest: &Arc<RestClient>, writer: &Writer, suspects: &Arc<Suspects>) -> Arc<Filler> {
    Arc::new(Filler {
        exchange: duties.exchange,
        rest: Arc::clone(rest),
        store: Arc::clone(&duties.source.store),
        writer: writer.clone(),
        clock: duties.shared.clock.clone(),
        exchange_clock: rest.exchange_clock().clone(),
        busy: Arc::default(),
        urgency: Urgency::Repair,
        suspects: Arc::clone(suspects),
    })
}

async fn collect(duties: &Duties, mut lease: watch::Receiver<Option<Lease>>) -> Result<(), CollectError> {
    let Duties { exchange, source, shared, stop, .. } = duties;
    let Shared { cache, clock, limits } = shared;
    let drift = clock.drift();
    // The simulator's limits are nobody else's.
    let budgets = (!source.simulated).then(|| Arc::clone(&cache.budgets));
    let rest = match &budgets {
        Some(budgets) => RestClient::sharing(*exchange, &source.rest_origins, clock.clone(), Arc::clone(budgets))?,
        None => RestClient::new(*exchange, &source.rest_origins, clock.clone())?,
    };
    let before = cache.states.get(exchange.id()).await?;
    let mut teller = state::Teller::new(*exchange, source.simulated, before, shared.clone());
    teller.begin(rest.budgets()).await;
    let mut reader = Reader::new(*exchange, Arc::clone(&rest), Arc::clone(&source.store), clock.clone());
    let listed = tokio::select! {
        (listed, ()) = async { tokio::join!(read_listing(&mut reader, &mut teller), exchange_time::settle(&rest, clock)) } => {
            Arc::new(listed?)
        }
        _ = lease.wait_for(Option::is_none) => return Err(CollectError::LeaseLost),
        () = stop.cancelled() => return Ok(()),
    };
    let (listing, listed) = watch::channel(listed);
    let (announce, announced) = mpsc::channel(1_024);
    let (tickers, asked_tickers) = mpsc::channel(64);
    let (written, batches) = mpsc::channel(64);
    let (writer, writing) =
        Writer::new(exchange.id(), Arc::clone(&source.store), limits.write_queue, clock.clone(), written, stop.clone());
    let mut writing = tokio::spawn(writing);
    let suspects = Arc::new(Suspects::default());
    let filler = filler(duties, &rest, &writer, &suspects);
    let holes = Arc::new(Holes::default());
    let mut helpers = Tasks::default();
    for _ in 0..repair::WORKERS {
        helpers.spawn("repair", repair::work(Arc::clone(&holes), Arc::clone(&filler), announce.clone()));
    }
    let doubts = Arc::new(Doubts::default());
    let store = Arc::clone(&source.store);
    let there = rest.exchange_clock().clone();
    let follow = aftermath::follow(batches, store, writer.clone(), there, announce, Arc::clone(&doubts));
    helpers.spawn("aftermath", follow);
    let (collecting, collected) = watch::channel(Vec::new());
    let reach = Reach { repair_days: limits.repair_days, backfill_days: limits.backfill_days };
    let (compared, verified) = Default::default();
    let sweeper = Sweeper { filler: filler.in_background(), collected, reach, doubts, compared, verified };
    helpers.spawn("sweeper", sweeper.run());
    helpers.spawn("exchange clock", exchange_time::keep(Arc::clone(&rest), clock.clone()));
    helpers.spawn("listing", reader.keep(Duration::from_mins(limits.listing_minutes.into()), listing));
    let backfiller = Backfiller { filler: Arc::new(filler.in_background()), listed: listed.clone() };
    helpers.spawn("backfills", backfiller.run());
    let answerer = Arc::new(Answerer { filler: Arc::new(filler.asked()), listed: listed.clone(), tickers });
    // It holds a near end of the writer's queue.
    drop(filler);
    helpers.spawn("answers", answerer.serve(cache.requests.serve(exchange.id()).await?));

    let (wants, wanted) = watch::channel(None);
    helpers.spawn("demand", lease::watch_demand(exchange.id(), shared.clone(), wants));

    let Some(token) = lease.borrow_and_update().as_ref().map(|lease| lease.token) else {
        return Err(CollectError::LeaseLost);
    };
    let (connections, items) =
        Connections::new(*exchange, source.ws_origins.clone(), clock.clone(), budgets, stop.child_token());
    let publisher = Publisher::new(exchange.id(), cache.clone(), token, source.simulated, clock);
    let mut collector = Collector {
        duties,
        lease,
        wanted,
        rest,
        listed,
        publisher,
        writer,
        holes,
        suspects,
        teller,
        connections,
        markets: HashMap::new(),
        outcomes: Vec::new(),
        lag: Lag::new(exchange.id()),
        refused: Vec::new(),
        collecting,
        drift,
        newest_event: Timestamp::EPOCH,
    };
    collector.follow_listing();
    collector.tell().await;
    let mut is_written = false;
    let result = tokio::select! {
        result = collector.run(items, announced, asked_tickers) => result,
        error = helpers.ended() => Err(error),
        ended = &mut writing => {
            is_written = true;
            let how = ended.map_or_else(|error| error.to_string(), |()| "it returned".to_owned());
            Err(CollectError::TaskEnded { name: "writer".to_owned(), how })
        }
    };
    collector.connections.close().await;
    // The helpers hold near ends of the writer's queue; it ends when it has written what waits.
    helpers.shutdown().await;
    drop(collector);
    if !is_written {
        let _ = writing.await;
    }
    result
}

/// Reads the listing, however long the exchange needs to answer.
async fn read_listing(reader: &mut Reader, teller: &mut state::Teller) -> Result<Listed, CollectError> {
    let (clock, rest) = (reader.clock.clone(), Arc::clone(&reader.rest));
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        match reader.first().await? {
            Ok(listed) => return Ok(listed),
            Err(error) => {
                let named = error.retry_at().map_or(Duration::ZERO, |at| at.since(clock.now()));
                teller.trouble(error.to_string(), rest.budgets()).await;
                clock.sleep(backoff.next(&clock).max(named)).await;
            }
        }
    }
}
