//! Where traces go: to an OpenTelemetry collector, as OTLP over HTTP, from a thread of its own.
//!
//! What the collector does not take is dropped: nobody who is served waits for it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::counter;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter as Export,
};
use tracing::Level;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use super::trace;

/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often what has gathered is sent.
const PERIOD: Duration = Duration::from_secs(1);

/// The most spans that wait; more are dropped.
const MOST_WAITING: usize = 8_192;

/// The most spans of a batch.
const BATCH: usize = 512;

/// How long the last batch may take at the end.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// Where traces go, and how many.
#[derive(Clone, Copy)]
pub struct TraceConfig<'a> {
    /// `http://HOST:4318`; spans go to `/v1/traces` there.
    pub endpoint: &'a str,
    /// Which part of what begins here is traced, from 0 to 1; a caller that is traced decides for itself.
    pub sample_ratio: f64,
}

/// Sends spans until it is ended.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts the thread that sends. Not to be called from asynchronous code.
    ///
    /// # Errors
    /// A sentence about an endpoint that is none.
    pub fn start(config: TraceConfig<'_>) -> Result<Self, String> {
        let wrong = |error: &dyn fmt::Display| {
            format!("`telemetry.otlp_endpoint`: {error}; write the URL of a collector, such as http://127.0.0.1:4318")
        };
        let endpoint = config.endpoint.trim_end_matches('/');
        let is_http =
            ["http://", "https://"].iter().any(|scheme| endpoint.len() > scheme.len() && endpoint.starts_with(scheme));
        if !is_http {
            return Err(wrong(&"it is no URL"));
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{endpoint}/v1/traces"))
            .with_timeout(PATIENCE)
            .build()
            .map_err(|error| wrong(&error))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MOST_WAITING)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(PERIOD)
            .build();
        let exporter = Watched { exporter, away: Arc::default() };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio))))
            .with_resource(
                Resource::builder()
                    .with_service_name(env!("CARGO_PKG_NAME"))
                    .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
                    .build(),
            )
            .build();
        trace::turn_on();
        Ok(Self(provider))
    }

    /// What makes spans of ours into spans of traces. Those of libraries stay out: what sends traces would trace itself.
    pub(super) fn layer<S>(&self) -> impl Layer<S>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        let ours = Targets::new().with_target(env!("CARGO_PKG_NAME"), Level::INFO);
        OpenTelemetryLayer::new(self.0.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(ours)
    }

    /// Sends what is left. Blocks for two seconds at most; not to be called from asynchronous code.
    pub fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_PATIENCE) {
            tracing::debug!(%error, "the last traces were not sent");
        }
    }
}

/// An exporter whose collector may be away: that is told once, and counted.
struct Watched {
    exporter: SpanExporter,
    away: Arc<AtomicBool>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exporter.fmt(f)
    }
}

impl Export for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let sent = self.exporter.export(batch).await;
        match &sent {
            Ok(()) => {
                counter!("candlewick_trace_spans_total", "result" => "sent").increment(spans);
                if self.away.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector of traces answers again");
                }
            }
            Err(error) => {
                counter!("candlewick_trace_spans_total", "result" => "lost").increment(spans);
                if !self.away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the collector of traces does not answer: traces are lost until it does");
                }
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
