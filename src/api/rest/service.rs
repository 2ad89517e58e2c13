//! `GET /livez`, `GET /readyz`, `GET /health` and `GET /metrics`.

use std::sync::Arc;

use poem_openapi::payload::PlainText;
use poem_openapi::{ApiResponse, OpenApi};

use super::Tag;
use super::payload::RawJson;
use super::schema::{Health, Live, Ready};
use crate::api::Doors;
use crate::api::problem::{Code, Problem};
use crate::lifecycle::Phase;

/// How the service is doing.
pub struct ServiceApi(pub Arc<Doors>);

#[derive(ApiResponse)]
enum Readiness {
    /// Ready.
    #[oai(status = 200)]
    Ready(RawJson<Ready>),
    /// `not_ready`: it starts, or shuts down.
    #[oai(status = 503, header(name = "Retry-After", ty = "u32", description = "When to try again, in seconds."))]
    NotReady(Problem),
}

#[derive(ApiResponse)]
enum Metrics {
    /// The text format of Prometheus.
    #[oai(status = 200, content_type = "text/plain; version=0.0.4; charset=utf-8")]
    Text(PlainText<String>),
}

#[OpenApi(tag = "Tag::Service")]
#[expect(clippy::unused_async, reason = "operations are asynchronous")]
impl ServiceApi {
    /// Whether the process runs
    ///
    /// Always 200: asks nothing but the process itself. For the probe that restarts it.
    #[oai(path = "/livez", method = "get", operation_id = "livez")]
    async fn livez(&self) -> RawJson<Live> {
        RawJson::new(&b"{\"status\":\"ok\"}"[..])
    }

    /// Whether requests shall be sent here
    ///
    /// 503 before it was ready for the first time and while it shuts down, else 200. What does not work as it should
    /// stands in `degraded`: answers may be missing or old, but another replica would not do better.
    #[oai(path = "/readyz", method = "get", operation_id = "readyz")]
    async fn readyz(&self) -> Readiness {
        match self.0.life.phase() {
            Phase::Starting => Readiness::NotReady(Problem::new(Code::NotReady, "starting: not ready yet")),
            Phase::Draining => {
                Readiness::NotReady(Problem::new(Code::NotReady, "shutting down: send requests elsewhere"))
            }
            Phase::Ready => {
                let degraded = self.0.market.health().await.degraded;
                Readiness::Ready(RawJson::encode(&Ready { status: "ready".to_owned(), degraded }))
            }
        }
    }

    /// How the whole is doing, for a person
    ///
    /// Always 200. `status` is `starting`, `ok`, `degraded` or `draining`.
    #[oai(path = "/health", method = "get", operation_id = "health")]
    async fn health(&self) -> RawJson<Health> {
        let health = self.0.market.health().await;
        let status = match self.0.life.phase() {
            Phase::Starting => "starting",
            Phase::Draining => "draining",
            Phase::Ready if health.degraded.is_empty() => "ok",
            Phase::Ready => "degraded",
        };
        RawJson::encode(&Health::new(status, &self.0.about, health))
    }

    /// Figures for Prometheus
    ///
    /// Counters, gauges and histograms of this process. Labels are bounded: exchange, channel, operation.
    #[oai(path = "/metrics", method = "get", operation_id = "metrics")]
    async fn metrics(&self) -> Metrics {
        Metrics::Text(PlainText(self.0.about.metrics.render()))
    }
}
