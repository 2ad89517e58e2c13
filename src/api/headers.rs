//! Headers that every answer has: what a browser must not do with it, and which pages of other sites may read it (CORS).

use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{IntoResponse, Request, Response};

const ALLOW_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");
const ALLOW_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, If-None-Match, Last-Event-ID, X-API-Key, X-Request-Id, traceparent, tracestate",
);
const EXPOSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "Candlewick-Complete, Candlewick-Simulated, ETag, Link, Location, RateLimit, RateLimit-Policy, Retry-After, \
     X-Request-Id",
);

/// How long a browser may remember what is allowed, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// Data are no page.
const DATA_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// The one page that there is has all it needs inside, and asks nobody but this service.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

/// Says what a browser must not do with an answer.
pub fn secure(headers: &mut HeaderMap) {
    let is_page = headers.get(header::CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(b"text/html"));
    headers.insert(header::CONTENT_SECURITY_POLICY, if is_page { PAGE_POLICY } else { DATA_POLICY });
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(header::REFERRER_POLICY, NO_REFERRER);
}

/// Which sites' pages may read answers.
pub struct Cors {
    any: bool,
    origins: Vec<HeaderValue>,
}

/// What a request's page may.
pub struct Allowed {
    origin: HeaderValue,
    preflight: bool,
}

impl Cors {
    /// Origins such as `https://charts.example`; `*` is all.
    pub fn new(origins: &[String]) -> Self {
        let any = origins.iter().any(|origin| origin == "*");
        Self { any, origins: origins.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()).collect() }
    }

    /// What the page may that sends a request, if it is one of another site that may something.
    pub fn look(&self, request: &Request) -> Option<Allowed> {
        if self.origins.is_empty() {
            return None;
        }
        let origin = request.headers().get(header::ORIGIN)?;
        if !self.any && !self.origins.contains(origin) {
            return None;
        }
        let origin = if self.any { HeaderValue::from_static("*") } else { origin.clone() };
        let preflight = *request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        Some(Allowed { origin, preflight })
    }

    /// Says whether pages of other sites get other headers.
    pub fn vary(&self, headers: &mut HeaderMap) {
        if !self.any && !self.origins.is_empty() {
            vary(headers, header::ORIGIN);
        }
    }
}

impl Allowed {
    /// The answer to a browser that asks beforehand.
    pub fn preflight(&self) -> Option<Response> {
        self.preflight.then(|| {
            let mut response = StatusCode::NO_CONTENT.into_response();
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOW_METHODS);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOW_HEADERS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
            response
        })
    }

    pub fn write(self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE_HEADERS);
    }
}

/// Says that an answer would be another if that header of the request were.
pub fn vary(headers: &mut HeaderMap, on: HeaderName) {
    headers.append(header::VARY, on.into());
}
