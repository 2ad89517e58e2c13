//! Middleware of every request: request id and span, size limits, problems in place of framework errors, response
//! headers and compression.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use poem::http::{HeaderName, HeaderValue, Method, Uri, header};
use poem::{Endpoint, IntoResponse, Request, Response, Route};
use tracing::Instrument;
use tracing::field::Empty;

use super::access::Authorizer;
use super::compress::{Encoding, compress};
use super::config::ApiConfig;
use super::error_response::error_response;
use super::headers::{Cors, CrossOriginRequest, add_security_headers};
use super::problem::{Code, Problem};
use crate::clock::Clock;
use crate::telemetry::http::OperationMetrics;
use crate::telemetry::trace::{self, TRACEPARENT};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Maximum length of a request id sent by a client, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// A body up to this many times the limit is read to its end, so that its sender receives the response.
const MAX_DISCARDED_BODIES: u64 = 16;

/// Timeout for receiving a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The root endpoint: all routes behind the middleware of every request.
pub struct RootMiddleware {
    pub(super) route: Route,
    pub(super) clock: Clock,
    pub(super) config: ApiConfig,
    pub(super) authorizer: Arc<Authorizer>,
    pub(super) cors: Cors,
    pub(super) unmatched: OperationMetrics,
}

impl Endpoint for RootMiddleware {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let id = request_id(&request, &self.clock);
        let text = id.to_str().unwrap_or_default();
        let span = tracing::info_span!(
            "request",
            id = text,
            trace_id = Empty,
            operation = Empty,
            key = Empty,
            otel.kind = Empty,
        );
        trace::record_request(&span, request.method().as_str(), request.uri().path());
        let traceparent = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
        trace::set_parent(&span, traceparent.and_then(|value| value.parse().ok()));
        let (encoding, cross_origin) = (Encoding::negotiate(&request), self.cors.check(&request));
        let mut response = match cross_origin.as_ref().and_then(CrossOriginRequest::preflight_response) {
            Some(preflight) => preflight,
            None => self.route_request(request).instrument(span.clone()).await,
        };
        trace::record_response(&span, response.status().as_u16());
        compress(&mut response, encoding);
        let headers = response.headers_mut();
        add_security_headers(headers);
        headers.insert(REQUEST_ID, id);
        self.cors.add_vary(headers);
        if let Some(cross_origin) = cross_origin {
            cross_origin.write(headers);
        }
        Ok(response)
    }
}

impl RootMiddleware {
    async fn route_request(&self, mut request: Request) -> Response {
        let (identity, started_at) = (self.authorizer.identity(&request), self.clock.elapsed());
        let result = match self.check_size(&mut request).await {
            Ok(()) => {
                escape_pluses(&mut request);
                self.route.call(request).await
            }
            Err(problem) => Err(problem.into()),
        };
        result.unwrap_or_else(|error| {
            let (charged, usage) = self.authorizer.charge_unmatched(identity);
            let mut response = charged.map_or_else(IntoResponse::into_response, |()| error_response(error));
            let took = self.clock.elapsed().saturating_sub(started_at);
            self.unmatched.record(response.status().as_u16(), took);
            if let Some(usage) = usage {
                usage.write(response.headers_mut());
            }
            response
        })
    }

    /// Rejects a URL or body that is too long. Replaces a body within the limit by its bytes, whether the operation
    /// reads a body or not.
    async fn check_size(&self, request: &mut Request) -> Result<(), Problem> {
        let max_url = self.config.max_url_bytes;
        if request.uri().path_and_query().map_or(0, |url| url.as_str().len()) > max_url {
            return Err(Problem::new(Code::TooLarge, format!("the URL is longer than {max_url} bytes")));
        }
        let length = request.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let is_bodiless_method = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if length.unwrap_or(0) == 0
            && (is_bodiless_method || length.is_some())
            && !request.headers().contains_key(header::TRANSFER_ENCODING)
        {
            return Ok(());
        }
        let max = self.config.max_body_bytes;
        let too_large = || {
            let detail = format!("the body is longer than {max} bytes, or did not arrive in time");
            Err(Problem::new(Code::TooLarge, detail))
        };
        if length.is_some_and(|length| length > max.saturating_mul(MAX_DISCARDED_BODIES)) {
            return too_large();
        }
        let mut body = request.take_body().into_bytes_stream();
        let mut received = 0_u64;
        let mut bytes = Vec::new();
        let read_all = async {
            while let Some(Ok(part)) = body.next().await {
                received = received.saturating_add(part.len() as u64);
                if received <= max {
                    bytes.extend_from_slice(&part);
                }
                if received > max.saturating_mul(MAX_DISCARDED_BODIES) {
                    break;
                }
            }
        };
        let in_time = self.clock.timeout(BODY_TIMEOUT, read_all).await;
        if received > max || in_time.is_err() {
            return too_large();
        }
        request.set_body(bytes);
        Ok(())
    }
}

/// Escapes `+` in the query: time offsets contain it, and the framework would decode it as a space, as in a form.
fn escape_pluses(request: &mut Request) {
    if !request.uri().query().is_some_and(|query| query.contains('+')) {
        return;
    }
    let mut parts = request.uri().clone().into_parts();
    let url = parts
        .path_and_query
        .map(|url| format!("{}?{}", url.path(), url.query().unwrap_or_default().replace('+', "%2B")));
    parts.path_and_query = url.and_then(|url| url.parse().ok());
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// The request id of the client if it is valid, else a new one.
fn request_id(request: &Request, clock: &Clock) -> HeaderValue {
    let is_valid = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    request.headers().get(REQUEST_ID).filter(is_valid).cloned().unwrap_or_else(|| {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let number = clock.random_u64();
        let digits: [u8; 16] = std::array::from_fn(|at| HEX[(number >> (60 - 4 * at) & 15) as usize]);
        HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("0"))
    })
}
