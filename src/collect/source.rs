//! Chooses the data source of an exchange, the exchange itself or the built-in simulator, and restarts its collector.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::context::{CollectorContext, CollectorSpec, DataSource};
use super::error::CollectError;
use super::{collector, status};
use crate::clock::Clock;
use crate::config::DataMode;
use crate::exchanges::Exchange;
use crate::model::Symbol;
use crate::telemetry::collect::{CollectorEnded, SourceChosen};
use crate::upstream::{Backoff, RestClient, UpstreamError};

/// In mode `auto`, an exchange that does not respond within this time at start is simulated.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// After a run of at least this length, the restart backoff starts again from its first pause.
const BACKOFF_RESET_AFTER: Duration = Duration::from_mins(5);

/// Maximum pause between two probes of an exchange that is simulated meanwhile.
const MAX_PROBE_PAUSE: Duration = Duration::from_mins(1);

/// What to collect from one exchange, and from which sources.
pub struct Assignment {
    pub exchange: &'static dyn Exchange,
    /// Collected permanently, not on demand.
    pub symbols: Vec<Symbol>,
    pub mode: DataMode,
    pub live: DataSource,
    /// Set in the modes `auto` and `simulated`.
    pub simulated: Option<DataSource>,
}

/// Collects an exchange until `stop`: chooses the source, and restarts the collector when it ends.
pub async fn supervise(assignment: Assignment, context: CollectorContext, stop: CancellationToken) {
    let Assignment { exchange, symbols, mode, live, simulated } = assignment;
    let collect = |source: DataSource, stop: CancellationToken| {
        run_with_restarts(exchange, symbols.clone(), source, context.clone(), stop)
    };
    let log_source = |simulated, why: &str| SourceChosen { exchange: exchange.id(), simulated, why: &why }.emit();
    match (mode, simulated) {
        (DataMode::Simulated, Some(simulated)) => {
            log_source(true, "data = \"simulated\"");
            collect(simulated, stop).await;
        }
        (DataMode::Auto, Some(simulated)) => {
            let rest = RestClient::new(exchange, &live.rest_origins, context.clock.clone());
            let unreachable = tokio::select! {
                probed = probe(&rest, &context.clock) => probed.err(),
                () = stop.cancelled() => return,
            };
            if let Some(why) = unreachable {
                log_source(true, &format!("{why}; probing continues until the exchange responds"));
                let simulation_stop = stop.child_token();
                let wait_until_reachable = async {
                    let mut backoff = Backoff::new(Duration::from_secs(5), MAX_PROBE_PAUSE);
                    while probe(&rest, &context.clock).await.is_err() {
                        context.clock.sleep(backoff.next(&context.clock).max(Duration::from_secs(1))).await;
                    }
                    simulation_stop.cancel();
                };
                tokio::join!(collect(simulated, simulation_stop.clone()), async {
                    tokio::select! {
                        () = wait_until_reachable => {}
                        () = stop.cancelled() => {}
                    }
                });
                // Simulated data must not be served as real. Errors are ignored: new entries replace the old ones.
                let _ = context.cache.tickers.clear(exchange.id()).await;
                let _ = context.cache.candles.clear(exchange.id()).await;
            }
            if !stop.is_cancelled() {
                log_source(false, "the exchange responds");
                collect(live, stop).await;
            }
        }
        _ => {
            log_source(false, "data = \"live\"");
            collect(live, stop).await;
        }
    }
}

/// Checks whether an exchange responds.
async fn probe(rest: &Result<Arc<RestClient>, UpstreamError>, clock: &Clock) -> Result<(), String> {
    let rest = rest.as_ref().map_err(ToString::to_string)?;
    match clock.timeout(PROBE_TIMEOUT, rest.probe()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the exchange did not respond within {} s", PROBE_TIMEOUT.as_secs())),
    }
}

async fn run_with_restarts(
    exchange: &'static dyn Exchange,
    symbols: Vec<Symbol>,
    source: DataSource,
    context: CollectorContext,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        let spec = CollectorSpec {
            exchange,
            symbols: symbols.clone(),
            source: source.clone(),
            context: context.clone(),
            stop: stop.clone(),
        };
        let started = context.clock.elapsed();
        // In a task of its own: a panic ends the collector, not its supervisor.
        let ended = tokio::spawn(collector::run(spec)).await;
        if stop.is_cancelled() {
            return;
        }
        let why = match ended {
            Ok(Ok(())) => "the collector returned unexpectedly".to_owned(),
            // Another collector holds the lease now: wait for it again.
            Ok(Err(CollectError::LeaseLost)) => {
                CollectorEnded { exchange: exchange.id(), why: &CollectError::LeaseLost, pause: Duration::ZERO }.emit();
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        if context.clock.elapsed().saturating_sub(started) > BACKOFF_RESET_AFTER {
            backoff.reset();
        }
        let pause = backoff.next(&context.clock);
        status::report_interrupted(exchange.id(), &why, &context).await;
        CollectorEnded { exchange: exchange.id(), why: &why, pause }.emit();
        tokio::select! {
            () = context.clock.sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}
