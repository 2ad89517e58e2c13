//! The bodies of service operations.

use std::collections::BTreeMap;
use std::sync::Arc;

use poem_openapi::Object;
use serde::Serialize;

use crate::api::state::ServiceInfo;
use crate::market;
use crate::model::ExchangeState;

/// Result of the liveness probe.
#[derive(Debug, Object)]
pub struct Live {
    /// `ok`.
    status: String,
}

/// Result of the readiness probe when the process is ready.
#[derive(Debug, Object, Serialize)]
pub struct Ready {
    /// `ready`.
    pub status: String,
    /// Components that do not work: `store`, `cache` or exchange ids.
    pub degraded: Vec<String>,
}

/// A ticket, which replaces an API key where a browser cannot send one.
#[derive(Debug, Object, Serialize)]
pub struct Ticket {
    /// The query parameter `ticket` of `/v1/stream`, `/v1/events`, `/ws/subscribe/{symbol}` and `/ws/realtime`.
    pub ticket: String,
    /// Time at which the ticket expires, in Unix milliseconds.
    pub expires_at: i64,
}

/// Health overview of the service.
#[derive(Debug, Object, Serialize)]
pub struct Health {
    /// `starting`, `ok`, `degraded` or `draining`.
    status: String,
    version: String,
    /// `all`, `api` or `collector`.
    role: String,
    /// Time since the start, in seconds.
    uptime_s: u64,
    /// Components that do not work: `store`, `cache` or exchange ids.
    degraded: Vec<String>,
    /// The kind of the candle store.
    store: String,
    /// The kind of the cache.
    cache: String,
    /// The state of each enabled exchange.
    exchanges: BTreeMap<String, String>,
}

impl Health {
    pub fn new(status: &str, about: &ServiceInfo, health: market::Health) -> Self {
        let name = |state: &Arc<ExchangeState>| (state.exchange.as_str().to_owned(), state.state.as_str().to_owned());
        Self {
            status: status.to_owned(),
            version: about.version.to_owned(),
            role: about.role.to_owned(),
            uptime_s: health.uptime.as_secs(),
            exchanges: health.exchanges.iter().map(name).collect(),
            degraded: health.degraded,
            store: about.store.to_owned(),
            cache: about.cache.to_owned(),
        }
    }
}
