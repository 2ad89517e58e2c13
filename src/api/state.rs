//! The state that handlers share.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::access::{Authorizer, Client, Identity};
use super::concurrency::{ConcurrencyLimiter, LimitReached, Permit};
use super::config::ApiConfig;
use super::problem::{Code, Problem};
use crate::clock::Clock;
use crate::hub::Hub;
use crate::lifecycle::Lifecycle;
use crate::market::MarketService;

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
    pub(super) market: Arc<MarketService>,
    pub(super) hub: Arc<Hub>,
    pub(super) lifecycle: Lifecycle,
    pub(super) clock: Clock,
    pub(super) service_info: ServiceInfo,
    pub(super) config: ApiConfig,
    pub(super) authorizer: Arc<Authorizer>,
    pub(super) stream_limiter: Arc<ConcurrencyLimiter<Identity>>,
}

/// Guards a socket or event stream: holds its permit and disconnects it when necessary.
pub struct ConnectionGuard {
    _permit: Permit<Identity>,
    /// Cancelled when the client must be disconnected.
    pub disconnect: CancellationToken,
    _disconnect_on_drop: DropGuard,
}

impl AppState {
    /// Acquires a guard for a socket or event stream. The guard disconnects the client when the process drains or the
    /// client's key becomes invalid.
    ///
    /// # Errors
    /// `not_ready` while the process drains or has too many streams; `rate_limited` if the client has too many.
    pub fn acquire_connection(&self, client: &Client, kind: &'static str) -> Result<ConnectionGuard, Problem> {
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
