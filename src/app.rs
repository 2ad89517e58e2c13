//! Composition root: assembles the service. The only file that names concrete stores and caches.

mod upkeep;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::{self, AccessConfig, ApiConfig, Deps, KeyRegistry, ServiceInfo};
use crate::cache::{self, Cache, CacheError, RedisConfig};
use crate::clock::Clock;
use crate::collect::{self, Assignment, CollectError, CollectorContext, DataSource, OneShotFetcher};
use crate::config::{CacheUrl, CollectConfig, Config, DataMode, ExchangeConfig, Role, StoreUrl, StreamConfig};
use crate::exchanges::{self, NoAdapter};
use crate::hub::{Hub, HubConfig, RingLimits};
use crate::lifecycle::Lifecycle;
use crate::market::{MarketService, Stores, UpstreamCost};
use crate::model::ExchangeId;
use crate::simulator::{Simulator, SimulatorConfig};
use crate::store::postgres::{Options, PostgresStore};
use crate::store::sqlite::SqliteStore;
use crate::store::{MeteredStore, Store, StoreError};
use crate::telemetry::metrics::{self, ProcessStarted};
use crate::upstream::{RestClient, UpstreamError};

/// Maximum duration of a shutdown. Then the process ends, even if writes are still queued.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(9);

/// Seed of the built-in simulator. Constant, so that each start gives the same data.
const SIMULATOR_SEED: u64 = 1;

/// Why the service cannot start, and what to do.
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
    #[error(transparent)]
    NoAdapter(#[from] NoAdapter),
    #[error("the built-in simulator cannot listen on loopback: {0}; try data = \"live\"")]
    Simulator(std::io::Error),
}

/// A running service.
pub struct App {
    /// The address that the server listens on.
    pub address: SocketAddr,
    life: Lifecycle,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    stores: Stores,
    simulator_stop: CancellationToken,
}

impl App {
    /// Starts all configured parts. [`Lifecycle::phase`] tells when the service is ready.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config, clock: Clock, life: Lifecycle) -> Result<Self, StartError> {
        let listen_address = config.server.listen;
        let listen_error = |error| StartError::Listen { address: listen_address, error };
        let listener = TcpListener::bind(listen_address).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let (store, store_kind) = open_store(&config).await?;
        let (cache, cache_kind) = open_cache(&config, &clock).await?;
        let simulator_stop = CancellationToken::new();
        let simulation = match config.data {
            DataMode::Live => None,
            DataMode::Auto | DataMode::Simulated => {
                Some(Simulation::start(&config, &clock, &life, simulator_stop.clone()).await?)
            }
        };
        let simulated = simulation.as_ref().map(|simulation| Arc::clone(&simulation.store));
        let stores = Stores { real: store, simulated };

        let about = ServiceInfo {
            version: env!("CARGO_PKG_VERSION"),
            role: config.role.as_str(),
            store: store_kind,
            cache: cache_kind,
            metrics: metrics::install(),
        };
        ProcessStarted { version: about.version, role: about.role, store: about.store, cache: about.cache }.emit();
        upkeep::spawn_metrics_update(&life, &clock, about.metrics.clone());
        let ids = config.exchanges.keys().copied().collect();
        let market = MarketService::new(ids, stores.clone(), cache.clone(), clock.clone());
        let market = Arc::new(market.with_upstream_costs(upstream_costs()));
        let deps = Deps {
            market: Arc::clone(&market),
            hub: Hub::new(&cache, clock.clone(), hub_config(&config.stream)),
            keys: load_keys(&config, &stores.real, &life, &clock).await?,
            limits: Arc::clone(&cache.limits),
        };
        let endpoint = api::build(deps, life.clone(), clock.clone(), about, api_config(&config));
        let server = life.spawn(api::serve(listener, endpoint, life.clone(), clock.clone()));
        if config.role != Role::Api {
            let context = CollectorContext { cache, clock: clock.clone(), limits: limits(&config) };
            spawn_collectors(&config, &stores, simulation.as_ref(), &context, &life)?;
        }
        life.spawn(upkeep::announce_readiness(market, clock, life.clone()));
        Ok(Self { address, life, server, stores, simulator_stop })
    }

    /// Waits for the start of the shutdown, then shuts down in order: server, collectors, store. Returns whether all
    /// ended without errors and in time.
    pub async fn run(self) -> bool {
        self.life.draining().cancelled().await;
        let shutdown = async {
            let served = matches!(self.server.await, Ok(Ok(())));
            self.life.stop();
            self.simulator_stop.cancel();
            self.life.stopped().await;
            self.stores.real.close().await;
            served
        };
        // In real time, not in that of an accelerated clock: the platform kills the process after a real timeout.
        if let Ok(served) = Clock::system().timeout(SHUTDOWN_TIMEOUT, shutdown).await {
            return served && !self.life.has_failed();
        }
        tracing::error!(after = ?SHUTDOWN_TIMEOUT, "shutdown timed out");
        false
    }
}

/// Opens the configured store, and creates its tables. Returns also its kind, for display.
///
/// # Errors
/// [`StoreError`], which tells what to do.
pub async fn open_store(config: &Config) -> Result<(Arc<dyn Store>, &'static str), StoreError> {
    let store = &config.store;
    let (opened, kind): (Arc<dyn Store>, _) = match &store.parsed {
        StoreUrl::Sqlite(url) => (Arc::new(SqliteStore::open(url).await?), "sqlite"),
        StoreUrl::Postgres(url) => {
            let by_role = if config.role == Role::Collector { 4 } else { 16 };
            let options = Options {
                connections: store.connections.unwrap_or(by_role),
                statement_timeout: Duration::from_millis(store.statement_timeout_ms.into()),
            };
            (Arc::new(PostgresStore::open(url.expose_secret(), &options).await?), "postgres")
        }
        StoreUrl::Unchecked => unreachable!("`Config` is checked when it is created"),
    };
    Ok((Arc::new(MeteredStore::new(opened)), kind))
}

/// Opens the configured cache. Returns also its kind, for display.
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
        CacheUrl::Unchecked => unreachable!("`Config` is checked when it is created"),
    })
}

/// The built-in simulator, and the store of its candles.
struct Simulation {
    address: SocketAddr,
    store: Arc<dyn Store>,
}

impl Simulation {
    /// Starts the simulator on a free loopback port.
    ///
    /// # Errors
    /// [`StartError::Simulator`], or [`StartError::Store`] if there is not enough memory.
    async fn start(
        config: &Config,
        clock: &Clock,
        life: &Lifecycle,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(StartError::Simulator)?;
        let address = listener.local_addr().map_err(StartError::Simulator)?;
        let simulator =
            Simulator::new(SimulatorConfig { seed: SIMULATOR_SEED, ..SimulatorConfig::default() }, clock.clone());
        life.spawn(async move {
            if let Err(error) = simulator.serve(listener, stop).await {
                tracing::error!(%error, "the built-in simulator ended");
            }
        });
        let store = SqliteStore::in_memory_with_limit(config.store.simulated_candles.into()).await?;
        Ok(Self { address, store: Arc::new(MeteredStore::new(Arc::new(store))) })
    }
}

/// Reads the API keys, and keeps them up to date.
async fn load_keys(
    config: &Config,
    store: &Arc<dyn Store>,
    life: &Lifecycle,
    clock: &Clock,
) -> Result<Arc<KeyRegistry>, StoreError> {
    let keys = Arc::<KeyRegistry>::default();
    keys.replace(store.keys().await?);
    if config.auth.required && !keys.has_valid_key(clock.now()) {
        tracing::warn!("API keys are required, but none is valid: create one with `candlewick keys create`");
    }
    upkeep::spawn_key_refresh(life, clock, Arc::clone(&keys), store.clone());
    Ok(keys)
}

/// Starts a collector for each enabled exchange, and the retention of the store.
///
/// # Errors
/// An enabled exchange has no adapter.
fn spawn_collectors(
    config: &Config,
    stores: &Stores,
    simulation: Option<&Simulation>,
    context: &CollectorContext,
    life: &Lifecycle,
) -> Result<(), NoAdapter> {
    if config.store.retention_days > 0 {
        upkeep::spawn_retention(life, &context.clock, stores.real.clone(), config.store.retention_days);
    }
    for assignment in assignments(config, stores, simulation.map(|simulation| simulation.address))? {
        let task = collect::supervise(assignment, context.clone(), life.stopping().clone());
        life.spawn_essential("collector", task);
    }
    Ok(())
}

/// The configured origins, or the exchange's default ones.
fn configured_or_default(configured: &[String], default: &[&str]) -> Vec<String> {
    if configured.is_empty() { default.iter().map(|&origin| origin.to_owned()).collect() } else { configured.to_vec() }
}

/// A REST client for each enabled exchange, to check whether it is reachable.
#[must_use]
pub fn rest_clients(config: &Config, clock: &Clock) -> Vec<(ExchangeId, Result<Arc<RestClient>, ClientError>)> {
    let client = |id: ExchangeId, settings: &ExchangeConfig| {
        let exchange = exchanges::exchange(id).ok_or(NoAdapter(id))?;
        let origins = configured_or_default(&settings.rest_url, exchange.profile().rest_origins);
        Ok(RestClient::new(exchange, &origins, clock.clone())?)
    };
    config.exchanges.iter().map(|(id, settings)| (*id, client(*id, settings))).collect()
}

/// Why a REST client cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    NoAdapter(#[from] NoAdapter),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// What to collect from each enabled exchange, and from which sources.
///
/// # Errors
/// An enabled exchange has no adapter.
fn assignments(config: &Config, stores: &Stores, simulator: Option<SocketAddr>) -> Result<Vec<Assignment>, NoAdapter> {
    config
        .exchanges
        .iter()
        .map(|(id, settings)| {
            let exchange = exchanges::exchange(*id).ok_or(NoAdapter(*id))?;
            let profile = exchange.profile();
            let live = DataSource {
                rest_origins: configured_or_default(&settings.rest_url, profile.rest_origins),
                ws_origins: configured_or_default(&settings.ws_url, profile.ws_origins),
                store: Arc::clone(stores.select(false)),
                simulated: false,
            };
            let simulated = simulator.map(|address| DataSource {
                rest_origins: vec![format!("http://{address}")],
                ws_origins: vec![format!("ws://{address}")],
                store: Arc::clone(stores.select(true)),
                simulated: true,
            });
            Ok(Assignment { exchange, symbols: settings.symbols.clone(), mode: config.data, live, simulated })
        })
        .collect()
}

/// The hub's configuration.
fn hub_config(stream: &StreamConfig) -> HubConfig {
    HubConfig {
        ring: RingLimits { frames: stream.kept_frames, bytes: stream.kept_bytes },
        linger: Duration::from_secs(stream.linger_seconds.into()),
        ..HubConfig::default()
    }
}

/// The API's configuration: limits and access.
fn api_config(config: &Config) -> ApiConfig {
    ApiConfig {
        max_body_bytes: config.server.max_body_bytes as u64,
        max_connections: config.server.max_connections,
        max_connections_per_address: config.server.max_connections_per_address,
        max_sockets: config.stream.max_connections,
        max_sockets_per_client: config.stream.max_connections_per_address,
        max_topics: config.stream.max_topics_per_connection,
        max_behind_bytes: config.stream.max_behind_bytes,
        access: AccessConfig {
            required: config.auth.required,
            open_on_loopback: config.auth.is_open_on_loopback(&config.server),
            per_minute: config.limits.per_minute,
            trusted_proxies: config.server.trusted_proxies.clone(),
        },
        cors_origins: config.server.cors_origins.clone(),
        ..ApiConfig::default()
    }
}

/// Limits of collection. History beyond the retention is not fetched.
fn limits(config: &Config) -> CollectConfig {
    let mut limits = config.collect.clone();
    if config.store.retention_days > 0 {
        limits.repair_days = limits.repair_days.min(config.store.retention_days);
        limits.backfill_days = limits.backfill_days.min(config.store.retention_days);
    }
    limits
}

/// A fetcher for an enabled exchange, without a collector, and the store that it writes to.
///
/// # Errors
/// [`OneShotError`].
pub async fn one_shot_fetcher(
    config: &Config,
    exchange: ExchangeId,
    clock: Clock,
) -> Result<(OneShotFetcher, Arc<dyn Store>), OneShotError> {
    let (store, _) = open_store(config).await?;
    let (cache, _) = open_cache(config, &clock).await?;
    let stores = Stores { real: store, simulated: None };
    let assignment = assignments(config, &stores, None)?.into_iter().find(|one| one.exchange.id() == exchange);
    let Some(assignment) = assignment else { return Err(OneShotError::NotEnabled(exchange)) };
    let context = CollectorContext { cache, clock, limits: limits(config) };
    Ok((OneShotFetcher::connect(assignment.exchange, &assignment.live, &context).await?, stores.real))
}

/// Why a one-shot fetcher cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum OneShotError {
    #[error("{0} is not enabled: set `exchanges.{0}.enabled = true`")]
    NotEnabled(ExchangeId),
    #[error(transparent)]
    NoAdapter(#[from] NoAdapter),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Collect(#[from] CollectError),
}

/// Rate limits of the exchanges, and the cost of candle pages.
fn upstream_costs() -> HashMap<ExchangeId, UpstreamCost> {
    let cost = |id| {
        let profile = exchanges::exchange(id)?.profile();
        let scope = profile.rate_limits.iter().find(|scope| scope.name == profile.page_cost.scope)?;
        let seconds = u32::try_from(scope.window.as_secs()).unwrap_or(u32::MAX).max(1);
        let per_minute = scope.limit.saturating_mul(60) / seconds;
        let (page_weight, intervals) = (profile.page_cost.weight, profile.intervals);
        let (page_rows, history_rows) = (profile.page_rows, profile.history_rows);
        Some((id, UpstreamCost { per_minute, page_weight, page_rows, history_rows, intervals }))
    };
    ExchangeId::all().filter_map(cost).collect()
}
