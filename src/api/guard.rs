//! What stands before every operation, made from its own description at the start: the strict check of its parameters,
//! its metrics and span, `HEAD` and `OPTIONS`, and the answer where its handler panics.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response};
use poem_openapi::registry::{MetaApi, MetaOperation, MetaOperationParam, MetaSchemaRef, Registry};
use poem_openapi::{ApiResponse, OpenApi};

use super::access::{Access, Gate, Terms};
use super::problem::{Code, Problem};
use super::query::{Parameters, router_name};
use super::refusal::{Refusal, refuse};
use crate::telemetry::http::{HandlerPanicked, OperationMetrics};
use crate::telemetry::trace;

/// An API whose every operation is guarded, and says so in the document.
pub struct Guarded<T> {
    pub api: T,
    pub gate: Arc<Gate>,
}

impl<T: OpenApi> OpenApi for Guarded<T> {
    fn meta() -> Vec<MetaApi> {
        let mut apis = T::meta();
        for operation in apis.iter_mut().flat_map(|api| &mut api.paths).flat_map(|path| &mut path.operations) {
            complete(operation);
        }
        apis
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
        Refusal::register(registry);
    }

    fn add_routes(self, routes: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
        let mut open = HashMap::new();
        self.api.add_routes(&mut open);
        for path in Self::meta().into_iter().flat_map(|api| api.paths) {
            let pattern = pattern(&path.path);
            let takes = |method: Method| path.operations.iter().any(|operation| operation.method == method);
            let allow = match (takes(Method::GET), takes(Method::POST)) {
                (true, false) => ALLOW,
                (true, true) => "GET, HEAD, OPTIONS, POST",
                (false, _) => "OPTIONS, POST",
            };
            for operation in path.operations {
                let handler = open.get_mut(&pattern).and_then(|methods| methods.remove(&operation.method));
                let (Some(handler), Some(id)) = (handler, operation.operation_id) else {
                    unreachable!("every operation has a handler and an id: {}", path.path)
                };
                let guard = Arc::new(Guard::new(id, &operation.params, handler, Arc::clone(&self.gate)));
                let methods = routes.entry(pattern.clone()).or_default();
                if operation.method == Method::GET {
                    methods.insert(Method::HEAD, Arc::clone(&guard).boxed());
                }
                methods.insert(operation.method, guard.boxed());
            }
            let methods = routes.entry(pattern).or_default();
            for other in
                [Method::OPTIONS, Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE]
            {
                methods.entry(other).or_insert_with(|| Offered(allow).boxed());
            }
        }
    }
}

/// How long an operation may take until its answer begins: longer than anything behind it takes to give up.
const HANDLER_TIME: Duration = Duration::from_secs(30);

/// The methods that most paths take.
pub const ALLOW: &str = "GET, HEAD, OPTIONS";

/// Says which methods a path takes: to who asks, and to who used another.
pub struct Offered(pub &'static str);

impl Endpoint for Offered {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let Self(allow) = *self;
        let offered = |mut response: Response| {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
            response
        };
        if request.method() == Method::OPTIONS {
            return Ok(offered(StatusCode::NO_CONTENT.into_response()));
        }
        let refusal = Problem::new(Code::MethodNotAllowed, format!("this path takes {allow}"));
        Err(poem::Error::from_response(offered(refusal.into_response())))
    }
}

/// The pattern that poem-openapi gives the router for a path of the document.
fn pattern(path: &str) -> String {
    let mut number = 0..;
    let parts = path.split('/').map(|part| match part.strip_prefix('{') {
        Some(_) => number.next().map_or_else(String::new, |number: usize| format!(":{}", router_name(number))),
        None => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Completes what the document says: a parameter without a description has its type's, an answer without one has the
/// operation's summary, and any operation may be refused by its guard.
fn complete(operation: &mut MetaOperation) {
    for parameter in &mut operation.params {
        if let MetaSchemaRef::Inline(schema) = &mut parameter.schema {
            let description = schema.description.take();
            parameter.description = parameter.description.take().or(description.map(str::to_owned));
        }
    }
    let responses = &mut operation.responses.responses;
    let terms = operation.operation_id.map_or(Terms { access: Access::Open, cost: 0 }, Terms::of);
    for response in Refusal::meta().responses {
        let possible = match response.status {
            Some(400 | 500) => true,
            // Also where reading is open, a key that is shown must be one.
            Some(401 | 403) => terms.access != Access::Open,
            Some(429) => terms.cost > 0,
            _ => false,
        };
        if possible && !responses.iter().any(|known| known.status == response.status) {
            responses.push(response);
        }
    }
    responses.sort_by_key(|response| response.status);
    for response in responses.iter_mut().filter(|response| response.description.is_empty()) {
        response.description = operation.summary.unwrap_or_default();
    }
}

/// An operation behind its guard.
pub struct Guard<E> {
    operation: &'static str,
    terms: Terms,
    parameters: Parameters,
    handler: E,
    gate: Arc<Gate>,
    metrics: OperationMetrics,
}

impl<E: Endpoint> Guard<E> {
    pub fn new(operation: &'static str, takes: &[MetaOperationParam], handler: E, gate: Arc<Gate>) -> Self {
        let (parameters, metrics) = (Parameters::new(takes), OperationMetrics::new(operation));
        Self { operation, terms: Terms::of(operation), parameters, handler, gate, metrics }
    }

    /// Where the client's limit says so, what of it is left stands in the answer.
    async fn guarded(&self, mut request: Request) -> Response {
        let (admitted, used) = self.gate.admit(&request, self.terms);
        let mut response = match admitted {
            Ok(client) => {
                let has_key = client.key.is_some();
                if let Some(key) = &client.key {
                    tracing::Span::current().record("key", key.id.as_str());
                }
                request.extensions_mut().insert(client);
                let mut response = self.answer(request).await;
                if has_key {
                    keep_private(&mut response);
                }
                response
            }
            Err(problem) => problem.into_response(),
        };
        if let Some(used) = used {
            used.write(response.headers_mut());
        }
        response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        response
    }

    async fn answer(&self, request: Request) -> Response {
        if let Err(problem) = self.parameters.check(request.uri().query(), |name| request.raw_path_param(name)) {
            return problem.into_response();
        }
        let handled = AssertUnwindSafe(self.handler.call(request)).catch_unwind();
        let Ok(handled) = self.gate.real().timeout(HANDLER_TIME, handled).await else {
            let detail = format!("this was not done within {} s: ask for less, or later", HANDLER_TIME.as_secs());
            return Problem::new(Code::NotReady, detail).into_response();
        };
        match handled {
            Ok(Ok(response)) => response.into_response(),
            Ok(Err(error)) => refuse(error),
            Err(panic) => {
                HandlerPanicked { operation: self.operation, panic: &*panic }.emit();
                Problem::new(Code::Internal, "the request could not be answered; the log says more").into_response()
            }
        }
    }
}

impl<E: Endpoint> Endpoint for Guard<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        trace::operation(self.operation);
        let clock = self.gate.clock();
        let began = clock.elapsed();
        let response = self.guarded(request).await;
        self.metrics.answered(response.status().as_u16(), clock.elapsed().saturating_sub(began));
        Ok(response)
    }
}

/// What was made for the holder of a key is for no shared cache.
fn keep_private(response: &mut Response) {
    let headers = response.headers_mut();
    let told = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let private = told.and_then(|value| value.strip_prefix("public")).map(|rest| format!("private{rest}"));
    if let Some(private) = private.and_then(|value| HeaderValue::try_from(value).ok()) {
        headers.insert(header::CACHE_CONTROL, private);
    }
}
