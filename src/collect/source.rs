//! Where an exchange's data come from: the exchange, or the simulator that stands in for it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::collector::{self, CollectError, Duties};
use super::state;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::{CollectConfig, DataMode};
use crate::exchanges::Exchange;
use crate::model::Symbol;
use crate::store::CandleStore;
use crate::telemetry::collect::{CollectorEnded, SourceChosen};
use crate::upstream::{Backoff, RestClient, UpstreamError};

/// An exchange that is not reached for so long after the start is simulated in the mode `auto`.
const REACH_WITHIN: Duration = Duration::from_secs(2);

/// A collector that ran for so long is started again at once.
const RAN_WELL: Duration = Duration::from_mins(5);

/// The longest pause between two tries to reach a simulated exchange.
const PROBE_PAUSE: Duration = Duration::from_mins(1);

/// Where data come from and where they go.
#[derive(Clone)]
pub struct Source {
    /// REST origins, tried in order.
    pub rest_origins: Vec<String>,
    /// WebSocket origins, tried in order.
    pub ws_origins: Vec<String>,
    /// Keeps the candles. The simulator's never come near the real ones.
    pub store: Arc<dyn CandleStore>,
    /// Whether the simulator speaks.
    pub simulated: bool,
}

/// The collection of one exchange.
pub struct Assignment {
    pub exchange: &'static dyn Exchange,
    /// Collected from start to end.
    pub symbols: Vec<Symbol>,
    pub mode: DataMode,
    pub live: Source,
    /// There in the modes `auto` and `simulated`.
    pub simulated: Option<Source>,
}

/// What all collectors of a process share.
#[derive(Clone)]
pub struct Shared {
    pub cache: Cache,
    pub clock: Clock,
    pub limits: CollectConfig,
}

/// Collects an exchange until `stop`: chooses the source, and starts the collector again whenever it ends unasked.
pub async fn supervise(assignment: Assignment, shared: Shared, stop: CancellationToken) {
    let Assignment { exchange, symbols, mode, live, simulated } = assignment;
    let keep = |source: Source, stop: CancellationToken| {
        keep_collecting(exchange, symbols.clone(), source, shared.clone(), stop)
    };
    let chosen = |simulated, why: &str| SourceChosen { exchange: exchange.id(), simulated, why: &why }.emit();
    match (mode, simulated) {
        (DataMode::Simulated, Some(simulated)) => {
            chosen(true, "data = \"simulated\"");
            keep(simulated, stop).await;
        }
        (DataMode::Auto, Some(simulated)) => {
            let rest = RestClient::new(exchange, &live.rest_origins, shared.clock.clone());
            let missing = tokio::select! {
                reached = reach(&rest, &shared.clock) => reached.err(),
                () = stop.cancelled() => return,
            };
            if let Some(why) = missing {
                chosen(true, &format!("{why}; it is tried again until it answers"));
                let until_reached = stop.child_token();
                let probing = async {
                    let mut backoff = Backoff::new(Duration::from_secs(5), PROBE_PAUSE);
                    while reach(&rest, &shared.clock).await.is_err() {
                        shared.clock.sleep(backoff.next(&shared.clock).max(Duration::from_secs(1))).await;
                    }
                    until_reached.cancel();
                };
                tokio::join!(keep(simulated, until_reached.clone()), async {
                    tokio::select! {
                        () = probing => {}
                        () = stop.cancelled() => {}
                    }
                });
                // What is invented must not be taken for real. The cache cannot refuse: what it does not forget is older.
                let _ = shared.cache.tickers.clear(exchange.id()).await;
                let _ = shared.cache.candles.clear(exchange.id()).await;
            }
            if !stop.is_cancelled() {
                chosen(false, "it answers");
                keep(live, stop).await;
            }
        }
        _ => {
            chosen(false, "data = \"live\"");
            keep(live, stop).await;
        }
    }
}

/// Asks whether an exchange is there.
async fn reach(rest: &Result<Arc<RestClient>, UpstreamError>, clock: &Clock) -> Result<(), String> {
    let rest = rest.as_ref().map_err(ToString::to_string)?;
    match clock.timeout(REACH_WITHIN, rest.probe()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it did not answer within {} s", REACH_WITHIN.as_secs())),
    }
}

async fn keep_collecting(
    exchange: &'static dyn Exchange,
    symbols: Vec<Symbol>,
    source: Source,
    shared: Shared,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        let duties = Duties {
            exchange,
            symbols: symbols.clone(),
            source: source.clone(),
            shared: shared.clone(),
            stop: stop.clone(),
        };
        let started = shared.clock.elapsed();
        // A task of its own, so that a panic ends the collector and not its supervisor.
        let ended = tokio::spawn(collector::run(duties)).await;
        if stop.is_cancelled() {
            return;
        }
        let why = match ended {
            Ok(Ok(())) => "it ended unasked".to_owned(),
            // Another collects now. This one waits for its turn.
            Ok(Err(CollectError::LeaseLost)) => {
                CollectorEnded { exchange: exchange.id(), why: &CollectError::LeaseLost, pause: Duration::ZERO }.emit();
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        if shared.clock.elapsed().saturating_sub(started) > RAN_WELL {
            backoff.reset();
        }
        let pause = backoff.next(&shared.clock);
        state::interrupted(exchange.id(), &why, &shared).await;
        CollectorEnded { exchange: exchange.id(), why: &why, pause }.emit();
        tokio::select! {
            () = shared.clock.sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}
