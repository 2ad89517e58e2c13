//! What stands before every operation, made from its own description at the start: the strict check of its parameters,
//! its metrics and span, `HEAD` and `OPTIONS`, and the answer where its handler panics.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response};
use poem_openapi::registry::{MetaApi, MetaOperation, MetaOperationParam, MetaSchemaRef, Registry};
use poem_openapi::{ApiResponse, OpenApi};

use super::problem::{ALLOW, Code, Problem};
use super::query::{Parameters, router_name};
use super::refusal::{Refusal, refuse};
use crate::clock::Clock;
use crate::telemetry::http::{HandlerPanicked, OperationMetrics};

/// An API whose every operation is guarded, and says so in the document.
pub struct Guarded<T> {
    pub api: T,
    pub clock: Clock,
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
            let allow = if path.operations.iter().any(|operation| operation.method == Method::POST) {
                ALLOW_POST
            } else {
                ALLOW
            };
            for operation in path.operations {
                let handler = open.get_mut(&pattern).and_then(|methods| methods.remove(&operation.method));
                let (Some(handler), Some(id)) = (handler, operation.operation_id) else {
                    unreachable!("every operation has a handler and an id: {}", path.path)
                };
                let guard = Arc::new(Guard::new(id, &operation.params, handler, self.clock.clone()));
                let methods = routes.entry(pattern.clone()).or_default();
                if operation.method == Method::GET {
                    methods.insert(Method::HEAD, Arc::clone(&guard).boxed());
                }
                methods.insert(operation.method, guard.boxed());
            }
            let methods = routes.entry(pattern).or_default();
            for other in [Method::OPTIONS, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                methods.entry(other).or_insert_with(|| Offered(allow).boxed());
            }
        }
    }
}

/// The methods of a path that also takes something.
const ALLOW_POST: &str = "GET, HEAD, OPTIONS, POST";

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
    for response in Refusal::meta().responses {
        if matches!(response.status, Some(400 | 500)) && !responses.iter().any(|known| known.status == response.status)
        {
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
    parameters: Parameters,
    handler: E,
    clock: Clock,
    metrics: OperationMetrics,
}

impl<E: Endpoint> Guard<E> {
    pub fn new(operation: &'static str, takes: &[MetaOperationParam], handler: E, clock: Clock) -> Self {
        let (parameters, metrics) = (Parameters::new(takes), OperationMetrics::new(operation));
        Self { operation, parameters, handler, clock, metrics }
    }

    async fn answer(&self, request: Request) -> Response {
        if let Err(problem) = self.parameters.check(request.uri().query(), |name| request.raw_path_param(name)) {
            return problem.into_response();
        }
        match AssertUnwindSafe(self.handler.call(request)).catch_unwind().await {
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
        tracing::Span::current().record("operation", self.operation);
        let began = self.clock.elapsed();
        let mut response = self.answer(request).await;
        response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        self.metrics.answered(response.status().as_u16(), self.clock.elapsed().saturating_sub(began));
        Ok(response)
    }
}
