//! What the doors tell.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use metrics::{Histogram, counter, gauge, histogram};

/// How long requests of one operation took: `candlewick_http_request_seconds{operation,status}`, with the class of the
/// status (`2xx`). Made once an operation, after the recorder is installed, so that a request only writes numbers.
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

    /// An answer stands; a stream of data may still follow.
    pub fn answered(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.classes[class].record(took);
        tracing::debug!(operation = self.operation, status, ?took, "answered");
    }
}

/// A handler panicked; its request was answered with 500.
pub struct HandlerPanicked<'a> {
    pub operation: &'static str,
    pub panic: &'a (dyn Any + Send),
}

impl HandlerPanicked<'_> {
    pub fn emit(&self) {
        let text = self.panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| self.panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
        tracing::error!(operation = self.operation, panic = text, "a handler panicked");
        counter!("candlewick_http_panics_total", "operation" => self.operation).increment(1);
    }
}

/// A connection could not be taken.
pub struct AcceptFailed<'a> {
    pub error: &'a std::io::Error,
    pub pause: Duration,
}

impl AcceptFailed<'_> {
    pub fn emit(&self) {
        tracing::warn!(error = %self.error, pause = ?self.pause, "a connection could not be accepted: waiting");
        counter!("candlewick_http_accept_errors_total").increment(1);
    }
}

/// A connection was closed at once: its address has as many as it may.
pub struct ConnectionRefused;

impl ConnectionRefused {
    pub fn emit(&self) {
        counter!("candlewick_http_refused_connections_total").increment(1);
    }
}

/// The door is open.
pub struct Listening {
    pub address: SocketAddr,
}

impl Listening {
    pub fn emit(&self) {
        tracing::info!(address = %self.address, docs = format!("http://{}/docs", self.address), "listening");
    }
}

/// How many client connections, or sockets, are open: `candlewick_http_open{kind}`. Counts while it lives.
pub struct Open(metrics::Gauge);

impl Open {
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        let open = gauge!("candlewick_http_open", "kind" => kind);
        open.increment(1.0);
        Self(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
