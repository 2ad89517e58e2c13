//! What stands before every operation, made from its own description at the start: the strict check of its parameters,
//! its metrics and span, `OPTIONS` and `HEAD`, and the answer where its handler panics.

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
            for operation in path.operations {
                let handler = open.get_mut(&pattern).and_then(|methods| methods.remove(&operation.method));
                let (Some(handler), Some(id)) = (handler, operation.operation_id) else {
                    unreachable!("every operation has a handler and an id: {}", path.path)
                };
                let guard = Arc::new(Guard::new(id, &operation.params, handler, self.clock.clone()));
                let methods = routes.entry(pattern.clone()).or_default();
                for method in METHODS {
                    methods.insert(method, Arc::clone(&guard).boxed());
                }
            }
        }
    }
}

/// The methods that every path takes; see [`ALLOW`].
const METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::OPTIONS];

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
        if request.method() == Method::OPTIONS {
            return Response::builder().status(StatusCode::NO_CONTENT).header(header::ALLOW, ALLOW).finish();
        }
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
