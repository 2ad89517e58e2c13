//! Export of traces to an OpenTelemetry collector, as OTLP over HTTP, from a separate thread.
//!
//! Spans that the collector does not accept are dropped. Requests never wait for the export.

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

/// Timeout of the export of a batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Interval between exports.
const EXPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of queued spans; further spans are dropped.
const MAX_QUEUED_SPANS: usize = 8_192;

/// Maximum number of spans per batch.
const MAX_BATCH_SPANS: usize = 512;

/// Timeout of the last export at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Destination and sampling of traces.
#[derive(Clone, Copy)]
pub struct TraceConfig<'a> {
    /// URL of the collector, such as `http://HOST:4318`; spans are sent to its path `/v1/traces`.
    pub endpoint: &'a str,
    /// Fraction of the traces that start here, from 0 to 1. For requests with a `traceparent`, its sampled flag
    /// decides.
    pub sample_ratio: f64,
}

/// Exports spans until [`TraceExporter::shutdown`].
pub struct TraceExporter(SdkTracerProvider);

impl TraceExporter {
    /// Starts the export thread. Must not be called from asynchronous code.
    ///
    /// # Errors
    /// A message about an invalid endpoint.
    pub fn start(config: TraceConfig<'_>) -> Result<Self, String> {
        let invalid = |error: &dyn fmt::Display| {
            format!("`telemetry.otlp_endpoint`: {error}; use the URL of a collector, such as http://127.0.0.1:4318")
        };
        let endpoint = config.endpoint.trim_end_matches('/');
        let is_http =
            ["http://", "https://"].iter().any(|scheme| endpoint.len() > scheme.len() && endpoint.starts_with(scheme));
        if !is_http {
            return Err(invalid(&"not an HTTP URL"));
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{endpoint}/v1/traces"))
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| invalid(&error))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_QUEUED_SPANS)
            .with_max_export_batch_size(MAX_BATCH_SPANS)
            .with_scheduled_delay(EXPORT_INTERVAL)
            .build();
        let exporter = MonitoredExporter { exporter, is_unreachable: Arc::default() };
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
        trace::enable();
        Ok(Self(provider))
    }

    /// Layer that exports the spans of this crate. Spans of libraries are excluded: the exporter would trace itself.
    pub(super) fn layer<S>(&self) -> impl Layer<S>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        let own_spans = Targets::new().with_target(env!("CARGO_PKG_NAME"), Level::INFO);
        OpenTelemetryLayer::new(self.0.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(own_spans)
    }

    /// Exports the remaining spans. Blocks for at most two seconds. Must not be called from asynchronous code.
    pub fn shutdown(self) {
        if let Err(error) = self.0.shutdown_with_timeout(SHUTDOWN_TIMEOUT) {
            tracing::debug!(%error, "could not export the last spans");
        }
    }
}

/// Exporter that counts spans, and logs once when the collector becomes unreachable.
struct MonitoredExporter {
    exporter: SpanExporter,
    is_unreachable: Arc<AtomicBool>,
}

impl fmt::Debug for MonitoredExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exporter.fmt(f)
    }
}

impl Export for MonitoredExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        match &result {
            Ok(()) => {
                counter!("candlewick_trace_spans_total", "result" => "sent").increment(spans);
                if self.is_unreachable.swap(false, Ordering::Relaxed) {
                    tracing::info!("trace collector reachable again");
                }
            }
            Err(error) => {
                counter!("candlewick_trace_spans_total", "result" => "lost").increment(spans);
                if !self.is_unreachable.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "cannot reach the trace collector, spans are lost until it is reachable");
                }
            }
        }
        result
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
