//! `GET /livez`, `GET /readyz`, `GET /health` and `GET /metrics`.

use std::sync::Arc;

use poem_openapi::payload::PlainText;
use poem_openapi::{ApiResponse, OpenApi};

use super::payload::RawJson;
use super::schema::{Health, Live, Ready};
use super::tag::Tag;
use crate::api::problem::{Code, Problem};
use crate::api::state::AppState;
use crate::lifecycle::Phase;

/// Operations for probes, health and metrics.
pub struct ServiceApi(pub Arc<AppState>);

#[derive(ApiResponse)]
enum Readiness {
    /// Ready.
    #[oai(status = 200)]
    Ready(RawJson<Ready>),
    /// `not_ready`: the process is starting or shutting down.
    #[oai(status = 503, header(name = "Retry-After", ty = "u32", description = "When to retry, in seconds."))]
    NotReady(Problem),
}

#[derive(ApiResponse)]
enum Metrics {
    /// Metrics in the Prometheus text format.
    #[oai(status = 200, content_type = "text/plain; version=0.0.4; charset=utf-8")]
    Text(PlainText<String>),
}

#[OpenApi(tag = "Tag::Service")]
#[expect(clippy::unused_async, reason = "operations are asynchronous")]
impl ServiceApi {
    /// Liveness probe
    ///
    /// Always 200, and checks nothing but the process itself. Use it for the probe that restarts the process.
    #[oai(path = "/livez", method = "get", operation_id = "livez")]
    async fn livez(&self) -> RawJson<Live> {
        RawJson::new(&b"{\"status\":\"ok\"}"[..])
    }

    /// Readiness probe
    ///
    /// 503 until the process is ready for the first time and while it shuts down, else 200. `degraded` lists components
    /// that do not work: responses may be incomplete or stale, but another replica would not do better.
    #[oai(path = "/readyz", method = "get", operation_id = "readyz")]
    async fn readyz(&self) -> Readiness {
        match self.0.lifecycle.phase() {
            Phase::Starting => Readiness::NotReady(Problem::new(Code::NotReady, "starting: not ready yet")),
            Phase::Draining => Readiness::NotReady(Problem::new(Code::NotReady, "shutting down: use another replica")),
            Phase::Ready => {
                let degraded = self.0.market.health().await.degraded;
                Readiness::Ready(RawJson::encode(&Ready { status: "ready".to_owned(), degraded }))
            }
        }
    }

    /// Health overview
    ///
    /// Always 200. `status` is `starting`, `ok`, `degraded` or `draining`.
    #[oai(path = "/health", method = "get", operation_id = "health")]
    async fn health(&self) -> RawJson<Health> {
        let health = self.0.market.health().await;
        let status = match self.0.lifecycle.phase() {
            Phase::Starting => "starting",
            Phase::Draining => "draining",
            Phase::Ready if health.degraded.is_empty() => "ok",
            Phase::Ready => "degraded",
        };
        RawJson::encode(&Health::new(status, &self.0.service_info, health))
    }

    /// Prometheus metrics
    ///
    /// Counters, gauges and histograms of this process. Label values are bounded: exchange, channel, operation.
    #[oai(path = "/metrics", method = "get", operation_id = "metrics")]
    async fn metrics(&self) -> Metrics {
        Metrics::Text(PlainText(self.0.service_info.metrics.render()))
    }
}
