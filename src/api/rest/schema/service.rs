//! The bodies of the service itself, and of refusals.

use std::collections::BTreeMap;
use std::sync::Arc;

use poem_openapi::Object;
use serde::Serialize;

use crate::api::About;
use crate::api::problem::{self, Code};
use crate::market;
use crate::model::ExchangeState;

/// The process runs.
#[derive(Debug, Object)]
pub struct Live {
    /// `ok`.
    status: String,
}

/// Requests can be sent.
#[derive(Debug, Object, Serialize)]
pub struct Ready {
    /// `ready`.
    pub status: String,
    /// What does not work as it should: `store`, `cache` or an exchange.
    pub degraded: Vec<String>,
}

/// What stands in for a key where a browser cannot send one.
#[derive(Debug, Object, Serialize)]
pub struct Ticket {
    /// To be given as `ticket` to `/v1/stream`, `/v1/events`, `/ws/subscribe/{symbol}` or `/ws/realtime`.
    pub ticket: String,
    /// From then on it opens nothing.
    pub expires_at: i64,
}

/// How the whole is doing.
#[derive(Debug, Object, Serialize)]
pub struct Health {
    /// `starting`, `ok`, `degraded` or `draining`.
    status: String,
    version: String,
    /// `all`, `api` or `collector`.
    role: String,
    /// Since the start, in seconds.
    uptime_s: u64,
    /// What does not work as it should: `store`, `cache` or an exchange.
    degraded: Vec<String>,
    /// The kind of the candle store.
    store: String,
    /// The kind of the cache.
    cache: String,
    /// The state of each enabled exchange.
    exchanges: BTreeMap<String, String>,
}

/// A refusal (RFC 9457).
#[derive(Debug, Object, Serialize)]
pub struct Problem {
    /// `urn:candlewick:problem:` and the code.
    r#type: String,
    /// What the code means.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What happened, and what to do about it.
    detail: String,
    /// Stable, for programs.
    code: Code,
    /// The parameters that are not valid, where it is about parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<ParameterError>>,
}

/// A parameter that is not valid.
#[derive(Debug, Object, Serialize)]
pub struct ParameterError {
    /// Its name as it was given.
    parameter: String,
    /// What is wrong, or what would be right.
    detail: String,
}

impl Problem {
    pub fn new(problem: &problem::Problem) -> Self {
        let errors = problem
            .errors
            .iter()
            .map(|wrong| ParameterError { parameter: wrong.parameter.to_string(), detail: wrong.detail.to_string() });
        Self {
            r#type: format!("urn:candlewick:problem:{}", problem.code.as_str()),
            title: problem.code.title().to_owned(),
            status: problem.code.status().as_u16(),
            detail: problem.detail.to_string(),
            code: problem.code,
            errors: (!problem.errors.is_empty()).then(|| errors.collect()),
        }
    }
}

impl Health {
    pub fn new(status: &str, about: &About, health: market::Health) -> Self {
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
