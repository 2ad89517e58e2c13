//! What happens to every request, whatever door it goes to: its id and span, the bounds of its size, the framework's own
//! refusals turned into problems, and the headers and the compression of the answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use poem::http::{HeaderName, HeaderValue, Method, Uri, header};
use poem::{Endpoint, IntoResponse, Request, Response, Route};
use tracing::Instrument;
use tracing::field::Empty;

use super::ApiConfig;
use super::access::Gate;
use super::compress::{Encoding, compress};
use super::headers::{Allowed, Cors, secure};
use super::problem::{Code, Problem};
use super::refusal::refuse;
use crate::clock::Clock;
use crate::telemetry::http::OperationMetrics;
use crate::telemetry::trace::{self, TRACEPARENT};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a client, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// How much longer than allowed a body may be and still be read to its end, so that its sender sees the refusal.
const PATIENT_BODIES: u64 = 16;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// All doors behind one front.
pub struct Front {
    pub(super) route: Route,
    pub(super) clock: Clock,
    pub(super) config: ApiConfig,
    pub(super) gate: Arc<Gate>,
    pub(super) cors: Cors,
    pub(super) unmatched: OperationMetrics,
}

impl Endpoint for Front {
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
        trace::asked(&span, request.method().as_str(), request.uri().path());
        let caller = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
        trace::follow(&span, caller.and_then(|caller| caller.parse().ok()));
        let (encoding, page) = (Encoding::wanted(&request), self.cors.look(&request));
        let mut response = match page.as_ref().and_then(Allowed::preflight) {
            Some(preflight) => preflight,
            None => self.answer(request).instrument(span.clone()).await,
        };
        trace::answered(&span, response.status().as_u16());
        compress(&mut response, encoding);
        let headers = response.headers_mut();
        secure(headers);
        headers.insert(REQUEST_ID, id);
        self.cors.vary(headers);
        if let Some(page) = page {
            page.write(headers);
        }
        Ok(response)
    }
}

impl Front {
    async fn answer(&self, mut request: Request) -> Response {
        let (identity, began) = (self.gate.identity(&request), self.clock.elapsed());
        let answered = match self.check_size(&mut request).await {
            Ok(()) => {
                keep_pluses(&mut request);
                self.route.call(request).await
            }
            Err(refusal) => Err(refusal.into()),
        };
        answered.unwrap_or_else(|error| {
            let (charged, used) = self.gate.charge_unmatched(identity);
            let mut refusal = charged.map_or_else(IntoResponse::into_response, |()| refuse(error));
            let took = self.clock.elapsed().saturating_sub(began);
            self.unmatched.answered(refusal.status().as_u16(), took);
            if let Some(used) = used {
                used.write(refusal.headers_mut());
            }
            refusal
        })
    }

    /// Refuses what is too long. A body that fits is read at once, whether a door takes it or not.
    async fn check_size(&self, request: &mut Request) -> Result<(), Problem> {
        let max_url = self.config.max_url_bytes;
        if request.uri().path_and_query().map_or(0, |url| url.as_str().len()) > max_url {
            return Err(Problem::new(Code::TooLarge, format!("a URL has at most {max_url} bytes here")));
        }
        let length = request.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let bare = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if length.unwrap_or(0) == 0
            && (bare || length.is_some())
            && !request.headers().contains_key(header::TRANSFER_ENCODING)
        {
            return Ok(());
        }
        let max = self.config.max_body_bytes;
        let too_large = || Err(Problem::new(Code::TooLarge, format!("a body has at most {max} bytes here")));
        if length.is_some_and(|length| length > max.saturating_mul(PATIENT_BODIES)) {
            return too_large();
        }
        let mut body = request.take_body().into_bytes_stream();
        let mut read = 0_u64;
        let mut kept = Vec::new();
        let all = async {
            while let Some(Ok(part)) = body.next().await {
                read = read.saturating_add(part.len() as u64);
                if read <= max {
                    kept.extend_from_slice(&part);
                }
                if read > max.saturating_mul(PATIENT_BODIES) {
                    break;
                }
            }
        };
        let in_time = self.clock.timeout(BODY_TIME, all).await;
        if read > max || in_time.is_err() {
            return too_large();
        }
        request.set_body(kept);
        Ok(())
    }
}

/// Lets a plus be a plus: none of our values has a space, but times have offsets. The framework reads it as in a form.
fn keep_pluses(request: &mut Request) {
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

/// The client's own id where it is a sane one, else a new one.
fn request_id(request: &Request, clock: &Clock) -> HeaderValue {
    let sane = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    request.headers().get(REQUEST_ID).filter(sane).cloned().unwrap_or_else(|| {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let number = clock.random_u64();
        let digits: [u8; 16] = std::array::from_fn(|at| HEX[(number >> (60 - 4 * at) & 15) as usize]);
        HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("0"))
    })
}
