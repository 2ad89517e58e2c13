//! The composition root: the only file that names concrete backends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::{self, About, AccessConfig, ApiConfig, Behind, Keyring};
use crate::cache::{self, Cache, CacheError, RedisConfig};
use crate::clock::Clock;
use crate::collect::{self, Assignment, CollectError, Errand, Shared, Source};
use crate::config::{CacheUrl, CollectConfig, Config, DataMode, ExchangeConfig, Role, StoreUrl, StreamConfig};
use crate::exchanges;
use crate::hub::{Bounds, Hub, HubConfig};
use crate::lifecycle::{Lifecycle, outlive_panics};
use crate::market::{Market, Stores, UpstreamCost};
use crate::model::{ExchangeId, FeedState};
use crate::simulator::{Simulator, SimulatorConfig};
use crate::store::postgres::{Options, PostgresStore};
use crate::store::sqlite::SqliteStore;
use crate::store::{CandleStore, Observed, StoreError};
use crate::telemetry::metrics::{self, Started};
use crate::upstream::{RestClient, UpstreamError};

/// The service is ready when every exchange is, or after so long, when it says which are not.
const READY_WITHIN: Duration = Duration::from_secs(4);

/// How often readiness is looked at.
const READY_LOOK: Duration = Duration::from_millis(20);

/// From the request to end until the process ends at the latest, flushed or not.
const END_WITHIN: Duration = Duration::from_secs(9);

/// How often what histograms gathered is put together.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// How often it is looked for keys that were made or revoked.
const KEYS_LOOK: Duration = Duration::from_secs(2);

/// The seed of the built-in simulator: everyone's first look is the same.
const SEED: u64 = 1;

/// Why the service does not start, in a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "cannot listen on {address}: {error}; free the port, or choose another with CANDLEWICK__SERVER__LISTEN=HOST:PORT"
    )]
    Listen { address: SocketAddr, error: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("the built-in simulator cannot listen on loopback: {0}; try data = \"live\"")]
    Simulator(std::io::Error),
}

/// A running service.
pub struct App {
    /// Where it listens.
    pub address: SocketAddr,
    life: Lifecycle,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    stores: Stores,
    simulator_stop: CancellationToken,
}

impl App {
    /// Starts everything that the configuration asks for; it is ready when [`Lifecycle::phase`] says so.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config, clock: Clock, life: Lifecycle) -> Result<Self, StartError> {
        let wanted = config.server.listen;
        let listener =
            TcpListener::bind(wanted).await.map_err(|error| StartError::Listen { address: wanted, error })?;
        let address = listener.local_addr().map_err(|error| StartError::Listen { address: wanted, error })?;
        let (kept, store_kind) = open_store(&config).await?;
        let (cache, cache_kind) = open_cache(&config, &clock).await?;

        let simulator_stop = CancellationToken::new();
        let simulation = match config.data {
            DataMode::Live => None,
            DataMode::Auto | DataMode::Simulated => {
                let origin = simulate(&clock, &life, simulator_stop.clone()).await.map_err(StartError::Simulator)?;
                let store = SqliteStore::in_memory_up_to(config.store.simulated_candles.into()).await?;
                let store: Arc<dyn CandleStore> = Arc::new(Observed::new(Arc::new(store)));
                Some((origin, store))
            }
        };
        let stores = Stores { kept, simulated: simulation.as_ref().map(|(_, store)| Arc::clone(store)) };

        let ids: Vec<_> = config.exchanges.keys().copied().collect();
        let market =
            Arc::new(Market::new(ids, stores.clone(), cache.clone(), clock.clone()).with_costs(upstream_costs()));
        let hub = Hub::new(&cache, clock.clone(), hub_config(&config.stream));
        let about = About {
            version: env!("CARGO_PKG_VERSION"),
            role: config.role.as_str(),
            store: store_kind,
            cache: cache_kind,
            metrics: metrics::install(),
        };
        Started { version: about.version, role: about.role, store: about.store, cache: about.cache }.emit();
        {
            let (metrics, clock, stopping) = (about.metrics.clone(), clock.clone(), life.stopping().clone());
            let machine = clock.clone();
            let keep = move || keep_metrics(metrics.clone(), clock.clone(), stopping.clone());
            life.spawn(async move { outlive_panics("metrics", &machine, keep).await });
        }
        let keys = Arc::<Keyring>::default();
        keys.replace(stores.kept.keys().await?);
        if config.auth.required && !keys.has_some(clock.now()) {
            tracing::warn!("reading needs a key, and there is none: make one with `candlewick keys create`");
        }
        {
            let (keys, store, stopping) = (Arc::clone(&keys), Arc::clone(&stores.kept), life.stopping().clone());
            let (clock, machine) = (clock.clone(), clock.clone());
            let keep = move || keep_keys(Arc::clone(&keys), Arc::clone(&store), clock.clone(), stopping.clone());
            life.spawn(async move { outlive_panics("keys", &machine, keep).await });
        }
        let behind = Behind { market: Arc::clone(&market), hub, keys, limits: Arc::clone(&cache.limits) };
        let bounds = doors_config(&config);
        let doors = api::build(behind, life.clone(), clock.clone(), about, bounds);
        let server = life.spawn(api::serve(listener, doors, life.clone(), clock.clone()));

        let shared = Shared { cache: cache.clone(), clock: clock.clone(), limits: limits(&config) };
        if config.role == Role::Api {
            life.spawn(announce_readiness(market, clock, life.clone()));
            return Ok(Self { address, life, server, stores, simulator_stop });
        }
        if config.store.retention_days > 0 {
            let days = config.store.retention_days;
            let (store, stopping) = (Arc::clone(&stores.kept), life.stopping().clone());
            let (clock, machine) = (clock.clone(), clock.clone());
            let retain = move || collect::retain(Arc::clone(&store), days, clock.clone(), stopping.clone());
            life.spawn(async move { outlive_panics("retention", &machine, retain).await });
        }
        for assignment in assignments(&config, &stores, simulation.as_ref().map(|(origin, _)| origin)) {
            let task = collect::supervise(assignment, shared.clone(), life.stopping().clone());
            life.spawn_essential("collector", task);
        }
        life.spawn(announce_readiness(Arc::clone(&market), clock.clone(), life.clone()));
        Ok(Self { address, life, server, stores, simulator_stop })
    }

    /// Waits until the process is asked to end, then ends everything in order: doors, collectors, store. Says whether
    /// all went well.
    pub async fn run(self) -> bool {
        self.life.draining().cancelled().await;
        let ending = async {
            let served = matches!(self.server.await, Ok(Ok(())));
            self.life.stop();
            self.simulator_stop.cancel();
            self.life.stopped().await;
            self.stores.kept.close().await;
            served
        };
        // The platform's patience runs on its own time, also in a time-lapse.
        if let Ok(served) = Clock::system().timeout(END_WITHIN, ending).await {
            return served && !self.life.has_failed();
        }
        tracing::error!(after = ?END_WITHIN, "not everything ended in time");
        false
    }
}

/// Opens the store that the configuration names, and makes its tables. Its kind is for people.
///
/// # Errors
/// [`StoreError`] says what to do.
pub async fn open_store(config: &Config) -> Result<(Arc<dyn CandleStore>, &'static str), StoreError> {
    let store = &config.store;
    let (opened, kind): (Arc<dyn CandleStore>, _) = match &store.parsed {
        StoreUrl::Sqlite(url) => (Arc::new(SqliteStore::open(url).await?), "sqlite"),
        StoreUrl::Postgres(url) => {
            let by_role = if config.role == Role::Collector { 4 } else { 16 };
            let options = Options {
                connections: store.connections.unwrap_or(by_role),
                statement_timeout: Duration::from_millis(store.statement_timeout_ms.into()),
            };
            (Arc::new(PostgresStore::open(url.expose_secret(), &options).await?), "postgres")
        }
        StoreUrl::Unchecked => unreachable!("`Config` is checked when it is made"),
    };
    Ok((Arc::new(Observed::new(opened)), kind))
}

/// Opens the cache that the configuration names. Its kind is for people.
///
/// # Errors
/// [`CacheError`].
pub async fn open_cache(config: &Config, clock: &Clock) -> Result<(Cache, &'static str), CacheError> {
    Ok(match &config.cache.parsed {
        CacheUrl::Memory => (cache::memory(clock.clone()), "memory"),
        CacheUrl::Redis(url) => {
            let (prefix, egress) = (config.cache.prefix.clone(), config.cache.egress.clone());
            let redis = RedisConfig { url: url.clone(), prefix, egress };
            (cache::redis(&redis, clock.clone()).await?, "redis")
        }
        CacheUrl::Unchecked => unreachable!("`Config` is checked when it is made"),
    })
}

/// Starts the built-in simulator on a free port of loopback and returns it.
async fn simulate(clock: &Clock, life: &Lifecycle, stop: CancellationToken) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let simulator = Simulator::new(SimulatorConfig { seed: SEED, ..SimulatorConfig::default() }, clock.clone());
    life.spawn(async move {
        if let Err(error) = simulator.serve(listener, stop).await {
            tracing::error!(%error, "the built-in simulator ended");
        }
    });
    Ok(address)
}

/// The configured origins, else the exchange's own.
fn or_own(configured: &[String], own: &[&str]) -> Vec<String> {
    if configured.is_empty() { own.iter().map(|&origin| origin.to_owned()).collect() } else { configured.to_vec() }
}

/// A REST client of each enabled exchange, to see whether it is there.
#[must_use]
pub fn rest_clients(config: &Config, clock: &Clock) -> Vec<(ExchangeId, Result<Arc<RestClient>, UpstreamError>)> {
    let client = |(id, settings): (&ExchangeId, &ExchangeConfig)| {
        let exchange = exchanges::exchange(*id);
        let origins = or_own(&settings.rest_url, exchange.profile().rest_origins);
        (*id, RestClient::new(exchange, &origins, clock.clone()))
    };
    config.exchanges.iter().map(client).collect()
}

/// What is to be collected, and from where.
fn assignments(config: &Config, stores: &Stores, simulator: Option<&SocketAddr>) -> Vec<Assignment> {
    config
        .exchanges
        .iter()
        .map(|(id, settings)| {
            let exchange = exchanges::exchange(*id);
            let profile = exchange.profile();
            let live = Source {
                rest_origins: or_own(&settings.rest_url, profile.rest_origins),
                ws_origins: or_own(&settings.ws_url, profile.ws_origins),
                store: Arc::clone(stores.of(false)),
                simulated: false,
            };
            let simulated = simulator.map(|address| Source {
                rest_origins: vec![format!("http://{address}")],
                ws_origins: vec![format!("ws://{address}")],
                store: Arc::clone(stores.of(true)),
                simulated: true,
            });
            Assignment { exchange, symbols: settings.symbols.clone(), mode: config.data, live, simulated }
        })
        .collect()
}

/// What the hub keeps of each topic.
fn hub_config(stream: &StreamConfig) -> HubConfig {
    HubConfig {
        ring: Bounds { frames: stream.kept_frames, bytes: stream.kept_bytes },
        linger: Duration::from_secs(stream.linger_seconds.into()),
        ..HubConfig::default()
    }
}

/// The bounds of the doors, and who is let in.
fn doors_config(config: &Config) -> ApiConfig {
    ApiConfig {
        max_body_bytes: config.server.max_body_bytes as u64,
        max_connections: config.server.max_connections,
        max_connections_per_address: config.server.max_connections_per_address,
        max_sockets: config.stream.max_connections,
        max_sockets_each: config.stream.max_connections_per_address,
        max_topics: config.stream.max_topics_per_connection,
        max_behind_bytes: config.stream.max_behind_bytes,
        access: AccessConfig {
            required: config.auth.required,
            open_to_change: config.auth.opens_on_loopback(&config.server),
            per_minute: config.limits.per_minute,
            trusted_proxies: config.server.trusted_proxies.clone(),
        },
        cors_origins: config.server.cors_origins.clone(),
        ..ApiConfig::default()
    }
}

/// How much is collected: nothing that retention would delete.
fn limits(config: &Config) -> CollectConfig {
    let mut limits = config.collect.clone();
    if config.store.retention_days > 0 {
        limits.repair_days = limits.repair_days.min(config.store.retention_days);
        limits.backfill_days = limits.backfill_days.min(config.store.retention_days);
    }
    limits
}

/// An exchange of the configuration, to be asked without being collected, and the store that keeps what it gives.
///
/// # Errors
/// [`ErrandError`].
pub async fn errand(
    config: &Config,
    exchange: ExchangeId,
    clock: Clock,
) -> Result<(Errand, Arc<dyn CandleStore>), ErrandError> {
    let (kept, _) = open_store(config).await?;
    let (cache, _) = open_cache(config, &clock).await?;
    let stores = Stores { kept, simulated: None };
    let assignment = assignments(config, &stores, None).into_iter().find(|one| one.exchange.id() == exchange);
    let Some(assignment) = assignment else { return Err(ErrandError::NotEnabled(exchange)) };
    let shared = Shared { cache, clock, limits: limits(config) };
    Ok((Errand::begin(assignment.exchange, &assignment.live, &shared).await?, stores.kept))
}

/// Why an exchange cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ErrandError {
    #[error("{0} is not enabled here: set `exchanges.{0}.enabled = true`")]
    NotEnabled(ExchangeId),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Collect(#[from] CollectError),
}

/// Learns of keys that were made and revoked. While the store does not answer, those that are known stay good.
async fn keep_keys(keys: Arc<Keyring>, store: Arc<dyn CandleStore>, clock: Clock, stopping: CancellationToken) {
    while stopping.run_until_cancelled(clock.sleep(KEYS_LOOK)).await.is_some() {
        match store.keys().await {
            Ok(known) => keys.replace(known),
            Err(error) => tracing::debug!(%error, "API keys could not be read"),
        }
    }
}

/// Counts what the process takes, and keeps the metrics small where nobody reads them.
async fn keep_metrics(metrics: PrometheusHandle, clock: Clock, stopping: CancellationToken) {
    let process = metrics_process::Collector::default();
    process.describe();
    process.collect();
    while stopping.run_until_cancelled(clock.sleep(METRICS_UPKEEP)).await.is_some() {
        process.collect();
        metrics.run_upkeep();
    }
}

/// What the exchanges allow, and what candles cost there.
fn upstream_costs() -> HashMap<ExchangeId, UpstreamCost> {
    let cost = |id| {
        let profile = exchanges::exchange(id).profile();
        let scope = profile.scopes.iter().find(|scope| scope.name == profile.page_cost.scope)?;
        let seconds = u32::try_from(scope.window.as_secs()).unwrap_or(u32::MAX).max(1);
        let per_minute = scope.limit.saturating_mul(60) / seconds;
        let (page_weight, intervals) = (profile.page_cost.weight, profile.intervals);
        let (page_rows, reach_rows) = (profile.page_rows, profile.reach_rows);
        Some((id, UpstreamCost { per_minute, page_weight, page_rows, reach_rows, intervals }))
    };
    ExchangeId::ALL.into_iter().filter_map(cost).collect()
}

/// Says that the service is ready when all exchanges are, or when the time for that is over.
async fn announce_readiness(market: Arc<Market>, clock: Clock, life: Lifecycle) {
    let deadline = clock.now() + READY_WITHIN;
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
            () = clock.sleep(READY_LOOK) => {}
            () = life.draining().cancelled() => return,
        }
    }
}
