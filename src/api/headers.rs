//! Headers of every response: security headers, and CORS headers for pages of other sites.

use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{IntoResponse, Request, Response};

/// The methods that most paths support, as in `Allow`.
pub const ALLOW: &str = "GET, HEAD, OPTIONS";

const ALLOW_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");
const ALLOW_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, If-None-Match, Last-Event-ID, X-API-Key, X-Request-Id, traceparent, tracestate",
);
const EXPOSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "Candlewick-Complete, Candlewick-Simulated, ETag, Link, Location, RateLimit, RateLimit-Policy, Retry-After, \
     X-Request-Id",
);

/// How long browsers may cache the result of a preflight request, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// Content security policy of responses that are not HTML pages.
const DATA_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Content security policy of `/docs`. The page contains all its resources and sends requests to this service only.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

/// Adds the security headers.
pub fn add_security_headers(headers: &mut HeaderMap) {
    let is_page = headers.get(header::CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(b"text/html"));
    headers.insert(header::CONTENT_SECURITY_POLICY, if is_page { PAGE_POLICY } else { DATA_POLICY });
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(header::REFERRER_POLICY, NO_REFERRER);
}

/// The origins whose pages may read responses.
pub struct Cors {
    any: bool,
    origins: Vec<HeaderValue>,
}

/// A cross-origin request from an allowed origin.
pub struct CrossOriginRequest {
    origin: HeaderValue,
    is_preflight: bool,
}

impl Cors {
    /// `origins` are such as `https://charts.example`; `*` allows all.
    pub fn new(origins: &[String]) -> Self {
        let any = origins.iter().any(|origin| origin == "*");
        Self { any, origins: origins.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()).collect() }
    }

    /// Returns the cross-origin request, if it comes from an allowed origin.
    pub fn check(&self, request: &Request) -> Option<CrossOriginRequest> {
        if self.origins.is_empty() {
            return None;
        }
        let origin = request.headers().get(header::ORIGIN)?;
        if !self.any && !self.origins.contains(origin) {
            return None;
        }
        let origin = if self.any { HeaderValue::from_static("*") } else { origin.clone() };
        let is_preflight = *request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        Some(CrossOriginRequest { origin, is_preflight })
    }

    /// Adds `Vary: Origin` if the headers depend on the origin.
    pub fn add_vary(&self, headers: &mut HeaderMap) {
        if !self.any && !self.origins.is_empty() {
            add_vary(headers, header::ORIGIN);
        }
    }
}

impl CrossOriginRequest {
    /// The response to a preflight request. `None` if this is not one.
    pub fn preflight_response(&self) -> Option<Response> {
        self.is_preflight.then(|| {
            let mut response = StatusCode::NO_CONTENT.into_response();
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOW_METHODS);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOW_HEADERS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
            response
        })
    }

    /// Adds the CORS headers of the response.
    pub fn write(self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE_HEADERS);
    }
}

/// Adds a request header to `Vary`.
pub fn add_vary(headers: &mut HeaderMap, on: HeaderName) {
    headers.append(header::VARY, on.into());
}
