//! Trace propagation between processes: W3C Trace Context (<https://www.w3.org/TR/trace-context/>).

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header that carries a [`TraceParent`].
pub const TRACEPARENT: &str = "traceparent";

/// Maximum length of a path in a span. Bounds memory, as thousands of spans may be queued.
const MAX_PATH_CHARS: usize = 200;

/// Whether traces are exported. If not, the functions of this module do almost nothing.
static ENABLED: AtomicBool = AtomicBool::new(false);

/// Position in a trace: the content of a `traceparent` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    sampled: bool,
}

/// The text is not a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent header")]
pub struct BadTraceParent;

impl FromStr for TraceParent {
    type Err = BadTraceParent;

    /// Parses version 00, and of later versions the fields of version 00.
    fn from_str(text: &str) -> Result<Self, BadTraceParent> {
        let mut parts = text.split('-');
        let mut hex = |digits: usize| {
            let is_hex = |part: &&str| {
                part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            };
            let part = parts.next().filter(is_hex).ok_or(BadTraceParent)?;
            u128::from_str_radix(part, 16).map_err(|_| BadTraceParent)
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let span = u64::try_from(span).map_err(|_| BadTraceParent)?;
        let at_end = parts.next().is_none();
        if trace == 0 || span == 0 || version == 0xff || (version == 0 && !at_end) {
            return Err(BadTraceParent);
        }
        Ok(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl From<&SpanContext> for TraceParent {
    fn from(context: &SpanContext) -> Self {
        Self {
            trace: u128::from_be_bytes(context.trace_id().to_bytes()),
            span: u64::from_be_bytes(context.span_id().to_bytes()),
            sampled: context.is_sampled(),
        }
    }
}

/// Called when the trace export starts.
pub(super) fn enable() {
    ENABLED.store(true, Ordering::Release);
}

/// Whether traces are exported.
#[must_use]
pub fn is_enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// Makes `caller` the parent of a span that has not been entered yet. Records the trace id in the span field
/// `trace_id`.
pub fn set_parent(span: &Span, caller: Option<TraceParent>) {
    if !is_enabled() {
        if let Some(caller) = caller {
            span.record("trace_id", tracing::field::display(TraceId::from(caller.trace)));
        }
        return;
    }
    if let Some(caller) = caller {
        let flags = if caller.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace, parent) = (TraceId::from(caller.trace), SpanId::from(caller.span));
        let context = SpanContext::new(trace, parent, flags, true, TraceState::default());
        // Fails for a span that the filter excludes.
        let _ = span.set_parent(Context::new().with_remote_span_context(context));
    }
    let trace = span.context().span().span_context().trace_id();
    if trace != TraceId::INVALID {
        span.record("trace_id", tracing::field::display(trace));
    }
}

/// Trace position of the current span, to propagate to outgoing requests.
#[must_use]
pub fn current() -> Option<TraceParent> {
    if !is_enabled() {
        return None;
    }
    let context = Span::current().context();
    let span = context.span();
    let context = span.span_context();
    context.is_valid().then(|| context.into())
}

/// Creates a child of the current span. Outside of a request there is no current span, and background work is not
/// traced.
pub fn child_span(create: impl FnOnce() -> Span) -> Span {
    if Span::current().is_none() { Span::none() } else { create() }
}

/// Sets the attributes of a request that appear in the trace but not in the log. Must be called before [`set_parent`],
/// which starts the span.
pub fn record_request(span: &Span, method: &str, path: &str) {
    if is_enabled() {
        span.record("otel.kind", "server");
        span.set_attribute("http.request.method", method.to_owned());
        let shown = path.char_indices().nth(MAX_PATH_CHARS).map_or(path, |(at, _)| &path[..at]);
        span.set_attribute("url.path", shown.to_owned());
    }
}

/// Sets the operation of the current request.
pub fn set_operation(name: &'static str) {
    let span = Span::current();
    span.record("operation", name);
    if is_enabled() {
        span.context().span().update_name(name);
    }
}

/// Sets the status of the response.
pub fn record_response(span: &Span, status: u16) {
    if is_enabled() {
        span.set_attribute("http.response.status_code", i64::from(status));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_round_trips_and_rejects_invalid_text() {
        // Example of the specification.
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parsed: TraceParent = text.parse().unwrap();
        assert_eq!((parsed.to_string(), parsed.sampled), (text.to_owned(), true));
        let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        assert_eq!(unsampled.parse::<TraceParent>().unwrap().to_string(), unsampled);
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be-like";
        assert_eq!(later.parse(), Ok(parsed));
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(wrong.parse::<TraceParent>(), Err(BadTraceParent), "{wrong}");
        }
    }
}
