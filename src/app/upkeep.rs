//! Background tasks of the process.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::api::KeyRegistry;
use crate::clock::Clock;
use crate::collect;
use crate::lifecycle::{Lifecycle, restart_on_panic};
use crate::market::MarketService;
use crate::model::FeedState;
use crate::store::{CandleStore, KeyStore};

/// The service is ready when every exchange is, or after this time. It then logs which exchanges are not.
const READY_TIMEOUT: Duration = Duration::from_secs(4);

/// Interval of readiness checks.
const READY_POLL_EVERY: Duration = Duration::from_millis(20);

/// Interval of histogram upkeep and process metrics.
const METRICS_UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Interval at which API keys are read again from the store.
const KEYS_POLL_EVERY: Duration = Duration::from_secs(2);

/// Keeps `keys` equal to the API keys of the store.
pub fn spawn_key_refresh(life: &Lifecycle, clock: &Clock, keys: Arc<KeyRegistry>, store: Arc<dyn KeyStore>) {
    let stopping = life.stopping().clone();
    spawn(life, clock, "keys", move |clock| {
        refresh_keys(Arc::clone(&keys), Arc::clone(&store), clock, stopping.clone())
    });
}

/// Keeps the metrics of the process up to date.
pub fn spawn_metrics_update(life: &Lifecycle, clock: &Clock, metrics: PrometheusHandle) {
    let stopping = life.stopping().clone();
    spawn(life, clock, "metrics", move |clock| update_metrics(metrics.clone(), clock, stopping.clone()));
}

/// Deletes candles that are older than `days`.
pub fn spawn_retention(life: &Lifecycle, clock: &Clock, store: Arc<dyn CandleStore>, days: u32) {
    let stopping = life.stopping().clone();
    spawn(life, clock, "retention", move |clock| {
        collect::delete_old_candles(Arc::clone(&store), days, clock, stopping.clone())
    });
}

/// Runs a task, and runs it again after a panic.
fn spawn<F>(life: &Lifecycle, clock: &Clock, name: &'static str, run: impl Fn(Clock) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (clock, task_clock) = (clock.clone(), clock.clone());
    life.spawn(async move { restart_on_panic(name, &clock, move || run(task_clock.clone())).await });
}

/// Reads created and revoked API keys from the store. While the store is unreachable, the known keys stay valid.
async fn refresh_keys(keys: Arc<KeyRegistry>, store: Arc<dyn KeyStore>, clock: Clock, stopping: CancellationToken) {
    while stopping.run_until_cancelled(clock.sleep(KEYS_POLL_EVERY)).await.is_some() {
        match store.keys().await {
            Ok(known) => keys.replace(known),
            Err(error) => tracing::debug!(%error, "API keys could not be read"),
        }
    }
}

/// Updates process metrics, and limits the memory of histograms that nobody scrapes.
async fn update_metrics(metrics: PrometheusHandle, clock: Clock, stopping: CancellationToken) {
    let process = metrics_process::Collector::default();
    process.describe();
    process.collect();
    while stopping.run_until_cancelled(clock.sleep(METRICS_UPKEEP_EVERY)).await.is_some() {
        process.collect();
        metrics.run_upkeep();
    }
}

/// Sets the service ready when all exchanges are, or after [`READY_TIMEOUT`].
pub async fn announce_readiness(market: Arc<MarketService>, clock: Clock, life: Lifecycle) {
    let deadline = clock.now() + READY_TIMEOUT;
    loop {
        let states = market.exchanges().await;
        let waiting: Vec<_> = states
            .iter()
            .filter(|state| {
                matches!(state.state, FeedState::Connecting) || (state.simulated && state.listed_at.is_none())
            })
            .map(|state| state.exchange.as_str())
            .collect();
        if waiting.is_empty() || clock.now() >= deadline {
            life.set_ready();
            let simulated: Vec<_> =
                states.iter().filter(|state| state.simulated).map(|state| state.exchange.as_str()).collect();
            tracing::info!(simulated = simulated.join(","), not_yet = waiting.join(","), "ready");
            return;
        }
        tokio::select! {
            () = clock.sleep(READY_POLL_EVERY) => {}
            () = life.draining().cancelled() => return,
        }
    }
}
