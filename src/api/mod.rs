//! The HTTP API: REST and live streams.
//!
//! REST operations are poem-openapi handlers in `rest`, and the OpenAPI document is generated from them.
//! `OperationMiddleware` wraps each operation and uses the same descriptions; sockets are plain routes
//! with the same middleware. [`RootMiddleware`] handles every request. [`serve`] accepts the connections.

mod access;
mod compress;
mod concurrency;
mod error_response;
mod headers;
mod middleware;
mod openapi;
mod operation;
mod problem;
mod query;
mod rest;
mod server;
mod stall_timeout;
mod stream;

pub use access::{AccessConfig, KeyRegistry};
pub use middleware::RootMiddleware;
pub use openapi::{openapi_document, openapi_json, openapi_yaml};
pub use server::serve;
pub use stream::{asyncapi_document, asyncapi_json};

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::access::{Authorizer, Client, ClientRateLimits, Identity};
use self::concurrency::{ConcurrencyLimiter, LimitReached, Permit};
use self::headers::Cors;
use self::operation::WithMiddleware;
use self::problem::{Code, Problem};
use crate::cache::ClientLimits;
use crate::clock::Clock;
use crate::hub::Hub;
use crate::lifecycle::Lifecycle;
use crate::market::MarketService;
use crate::telemetry::http::OperationMetrics;

/// Limits and access configuration of the API.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Maximum length of a request body, in bytes.
    pub max_body_bytes: u64,
    /// Maximum length of the path and query of a request, in bytes.
    pub max_url_bytes: usize,
    /// Maximum number of HTTP connections; further ones wait.
    pub max_connections: usize,
    /// Maximum number of connections per address that is not a trusted proxy; further ones are closed at once.
    pub max_connections_per_address: usize,
    /// Maximum number of sockets and event streams; further ones are rejected.
    pub max_sockets: usize,
    /// Maximum number of sockets and event streams per client.
    pub max_sockets_per_client: usize,
    /// Maximum number of topics per socket.
    pub max_topics: usize,
    /// A client is disconnected when it misses more bytes of trades and candles than this without catching up.
    pub max_behind_bytes: u64,
    /// Access control.
    pub access: AccessConfig,
    /// Origins whose pages may read responses; `*` allows all.
    pub cors_origins: Vec<String>,
    /// A connection is closed if its client reads nothing of a response for this long.
    pub stall_timeout: Duration,
    /// Time from the start of the drain until sockets and the listener are closed, so that balancers notice it.
    pub shutdown_notice: Duration,
    /// Time that requests in flight have to finish after that.
    pub shutdown_grace: Duration,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 * 1024,
            max_url_bytes: 32 * 1024,
            max_connections: 8_192,
            max_connections_per_address: 4_096,
            max_sockets: 8_192,
            max_sockets_per_client: 2_048,
            max_topics: 1_024,
            max_behind_bytes: 4 * 1024 * 1024,
            access: AccessConfig::default(),
            cors_origins: Vec::new(),
            stall_timeout: Duration::from_secs(30),
            shutdown_notice: Duration::from_secs(1),
            shutdown_grace: Duration::from_secs(4),
        }
    }
}

/// Facts about this process that the API and metrics report.
#[derive(Clone, Debug)]
pub struct ServiceInfo {
    pub version: &'static str,
    /// `all`, `api` or `collector`.
    pub role: &'static str,
    /// The kind of the store, such as `sqlite`.
    pub store: &'static str,
    /// The kind of the cache, such as `memory`.
    pub cache: &'static str,
    /// Renders `/metrics`: the result of [`crate::telemetry::metrics::install`].
    pub metrics: PrometheusHandle,
}

/// The state that handlers share.
pub struct AppState {
    market: Arc<MarketService>,
    hub: Arc<Hub>,
    lifecycle: Lifecycle,
    clock: Clock,
    service_info: ServiceInfo,
    config: ApiConfig,
    authorizer: Arc<Authorizer>,
    stream_limiter: Arc<ConcurrencyLimiter<Identity>>,
}

/// Guards a socket or event stream: holds its permit and disconnects it when necessary.
struct ConnectionGuard {
    _permit: Permit<Identity>,
    /// Cancelled when the client must be disconnected.
    disconnect: CancellationToken,
    _disconnect_on_drop: DropGuard,
}

impl AppState {
    /// Acquires a guard for a socket or event stream. The guard disconnects the client when the process drains or the
    /// client's key becomes invalid.
    ///
    /// # Errors
    /// `not_ready` while the process drains or has too many streams; `rate_limited` if the client has too many.
    fn acquire_connection(&self, client: &Client, kind: &'static str) -> Result<ConnectionGuard, Problem> {
        if self.lifecycle.draining().is_cancelled() {
            return Err(Problem::new(Code::NotReady, "shutting down: connect to another replica"));
        }
        let permit = self.stream_limiter.acquire(&client.identity, kind).map_err(|limit| match limit {
            LimitReached::Total => Problem::new(Code::NotReady, "too many sockets are open: try again later"),
            LimitReached::PerKey(open) => {
                let detail = format!("you have {open} open sockets: close some, or put more topics on one");
                Problem::new(Code::RateLimited, detail)
            }
        })?;
        let disconnect = self.lifecycle.draining().child_token();
        if let Some(key) = &client.key {
            self.lifecycle.spawn(Arc::clone(&self.authorizer).watch_key(Arc::clone(key), disconnect.clone()));
        }
        Ok(ConnectionGuard {
            _permit: permit,
            disconnect: disconnect.clone(),
            _disconnect_on_drop: disconnect.drop_guard(),
        })
    }
}

/// The dependencies of the API.
pub struct Deps {
    pub market: Arc<MarketService>,
    pub hub: Arc<Hub>,
    /// The accepted API keys. The caller keeps them up to date.
    pub keys: Arc<KeyRegistry>,
    /// Usage of clients at other replicas.
    pub limits: Arc<dyn ClientLimits>,
}

/// Builds the API. The metrics recorder must be installed before.
#[must_use]
pub fn build(
    deps: Deps,
    lifecycle: Lifecycle,
    clock: Clock,
    service_info: ServiceInfo,
    config: ApiConfig,
) -> RootMiddleware {
    let Deps { market, hub, keys, limits } = deps;
    let stream_limiter = ConcurrencyLimiter::new(config.max_sockets, config.max_sockets_per_client);
    let limits = ClientRateLimits::new(clock.clone(), limits);
    lifecycle.spawn(Arc::clone(&limits).run_sync(lifecycle.stopping().clone()));
    let authorizer = Arc::new(Authorizer::new(config.access.clone(), keys, limits, clock.clone()));
    let cors = Cors::new(&config.cors_origins);
    let state = AppState {
        market,
        hub,
        lifecycle,
        clock: clock.clone(),
        service_info,
        config: config.clone(),
        authorizer: Arc::clone(&authorizer),
        stream_limiter,
    };
    let state = Arc::new(state);
    let rest = openapi::service(WithMiddleware { api: rest::api(&state), authorizer: Arc::clone(&authorizer) });
    let route = stream::routes(&state).nest_no_strip("/", rest);
    RootMiddleware { route, clock, config, authorizer, cors, unmatched: OperationMetrics::new("unmatched") }
}
