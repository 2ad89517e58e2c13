//! Telemetry of the HTTP server.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use metrics::{Histogram, counter, gauge, histogram};

/// Request durations of one operation: `candlewick_http_request_seconds{operation,status}`, with the status class
/// (`2xx`). Created once per operation, after the recorder is installed, so that a request only records values.
pub struct OperationMetrics {
    operation: &'static str,
    classes: [Histogram; CLASSES.len()],
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl OperationMetrics {
    #[must_use]
    pub fn new(operation: &'static str) -> Self {
        let classes = CLASSES
            .map(|status| histogram!("candlewick_http_request_seconds", "operation" => operation, "status" => status));
        Self { operation, classes }
    }

    /// Records a response at the start of its body.
    pub fn record(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.classes[class].record(took);
        tracing::debug!(operation = self.operation, status, ?took, "request answered");
    }
}

/// A handler panicked. The response is 500.
pub struct HandlerPanicked<'a> {
    pub operation: &'static str,
    pub panic: &'a (dyn Any + Send),
}

impl HandlerPanicked<'_> {
    pub fn emit(&self) {
        let text = self.panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| self.panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        tracing::error!(operation = self.operation, panic = text, "handler panicked");
        counter!("candlewick_http_panics_total", "operation" => self.operation).increment(1);
    }
}

/// A connection could not be accepted.
pub struct AcceptFailed<'a> {
    pub error: &'a std::io::Error,
    pub pause: Duration,
}

impl AcceptFailed<'_> {
    pub fn emit(&self) {
        tracing::warn!(error = %self.error, pause = ?self.pause, "could not accept a connection, waiting");
        counter!("candlewick_http_accept_errors_total").increment(1);
    }
}

/// A connection was closed immediately because its address has reached its connection limit.
pub struct ConnectionRefused;

impl ConnectionRefused {
    pub fn emit(&self) {
        counter!("candlewick_http_refused_connections_total").increment(1);
    }
}

/// The HTTP server listens.
pub struct Listening {
    pub address: SocketAddr,
}

impl Listening {
    pub fn emit(&self) {
        tracing::info!(address = %self.address, docs = format!("http://{}/docs", self.address), "listening");
    }
}

/// Counts one open connection, socket or stream until it is dropped: `candlewick_http_open{kind}`.
pub struct OpenGauge(metrics::Gauge);

impl OpenGauge {
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        let gauge = gauge!("candlewick_http_open", "kind" => kind);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for OpenGauge {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
