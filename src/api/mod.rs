//! The HTTP API: REST and live streams.
//!
//! REST operations are poem-openapi handlers in `rest`, and the OpenAPI document is generated from them.
//! `OperationMiddleware` wraps each operation and uses the same descriptions; sockets are plain routes
//! with the same middleware. [`RootMiddleware`] handles every request. [`serve`] accepts the connections.

mod access;
mod compress;
mod concurrency;
mod config;
mod documents;
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
mod state;
mod stream;

pub use access::{AccessConfig, KeyRegistry};
pub use config::ApiConfig;
pub use middleware::RootMiddleware;
pub use openapi::{openapi_document, openapi_json, openapi_yaml};
pub use server::serve;
pub use state::ServiceInfo;
pub use stream::{asyncapi_document, asyncapi_json};

use std::sync::Arc;

use self::access::{Authorizer, ClientRateLimits};
use self::concurrency::ConcurrencyLimiter;
use self::headers::Cors;
use self::operation::WithMiddleware;
use self::state::AppState;
use crate::cache::ClientLimits;
use crate::clock::Clock;
use crate::hub::Hub;
use crate::lifecycle::Lifecycle;
use crate::market::MarketService;
use crate::telemetry::http::OperationMetrics;

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
    let rest = openapi::service(WithMiddleware {
        api: rest::api(&state, &documents::DOCUMENTS),
        authorizer: Arc::clone(&authorizer),
    });
    let route = stream::routes(&state).nest_no_strip("/", rest);
    RootMiddleware { route, clock, config, authorizer, cors, unmatched: OperationMetrics::new("unmatched") }
}
