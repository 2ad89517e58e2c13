//! Whose request it is, across processes: W3C Trace Context (<https://www.w3.org/TR/trace-context/>).

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header that carries a [`TraceParent`].
pub const TRACEPARENT: &str = "traceparent";

/// How much of a path is told; thousands of spans may wait.
const MAX_PATH_CHARS: usize = 200;

/// Whether traces go anywhere: until they do, nothing here costs anything.
static ON: AtomicBool = AtomicBool::new(false);

/// A place in a trace: what a `traceparent` header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    sampled: bool,
}

/// The text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct BadTraceParent;

impl FromStr for TraceParent {
    type Err = BadTraceParent;

    /// Version 00, and of later versions what 00 has.
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
        let ends = parts.next().is_none();
        if trace == 0 || span == 0 || version == 0xff || (version == 0 && !ends) {
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

/// From now on traces go somewhere.
pub(super) fn turn_on() {
    ON.store(true, Ordering::Release);
}

/// Whether traces go anywhere.
#[must_use]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Lets a span that nobody has entered yet follow its caller's; writes the trace's id into the span's field `trace_id`.
pub fn follow(span: &Span, caller: Option<TraceParent>) {
    if !is_on() {
        if let Some(caller) = caller {
            span.record("trace_id", tracing::field::display(TraceId::from(caller.trace)));
        }
        return;
    }
    if let Some(caller) = caller {
        let flags = if caller.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace, parent) = (TraceId::from(caller.trace), SpanId::from(caller.span));
        let context = SpanContext::new(trace, parent, flags, true, TraceState::default());
        // A span that the filter leaves out has no parent.
        let _ = span.set_parent(Context::new().with_remote_span_context(context));
    }
    let trace = span.context().span().span_context().trace_id();
    if trace != TraceId::INVALID {
        span.record("trace_id", tracing::field::display(trace));
    }
}

/// Where the running task is in its trace, to be told to whoever is asked next.
#[must_use]
pub fn current() -> Option<TraceParent> {
    if !is_on() {
        return None;
    }
    let context = Span::current().context();
    let span = context.span();
    let context = span.span_context();
    context.is_valid().then(|| context.into())
}

/// A span of what a request caused; what runs in the background is no trace of its own.
pub fn child(make: impl FnOnce() -> Span) -> Span {
    if Span::current().is_none() { Span::none() } else { make() }
}

/// Says of a request's span what the trace shows and the log need not; before [`follow`], which begins the span.
pub fn asked(span: &Span, method: &str, path: &str) {
    if is_on() {
        span.record("otel.kind", "server");
        span.set_attribute("http.request.method", method.to_owned());
        let shown = path.char_indices().nth(MAX_PATH_CHARS).map_or(path, |(at, _)| &path[..at]);
        span.set_attribute("url.path", shown.to_owned());
    }
}

/// Says which operation the running request is for.
pub fn operation(name: &'static str) {
    let span = Span::current();
    span.record("operation", name);
    if is_on() {
        span.context().span().update_name(name);
    }
}

/// Says how a request was answered.
pub fn answered(span: &Span, status: u16) {
    if is_on() {
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
    fn a_traceparent_is_read_and_written() {
        // The example of the specification.
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read: TraceParent = text.parse().unwrap();
        assert_eq!((read.to_string(), read.sampled), (text.to_owned(), true));
        let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        assert_eq!(unsampled.parse::<TraceParent>().unwrap().to_string(), unsampled);
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be-like";
        assert_eq!(later.parse(), Ok(read));
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
