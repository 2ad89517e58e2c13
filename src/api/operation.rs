//! Middleware of every operation, built from its OpenAPI description: parameter validation, authorization, metrics and
//! span, `HEAD` and `OPTIONS`, and the response when the handler panics.

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

use super::access::{Access, AccessPolicy, Authorizer};
use super::error_response::{ErrorResponse, error_response};
use super::headers::ALLOW;
use super::problem::{Code, Problem};
use super::query::{Parameters, router_name};
use crate::telemetry::http::{HandlerPanicked, OperationMetrics};
use crate::telemetry::trace;

/// Wraps every operation of an API in [`OperationMiddleware`] and describes the added error responses.
pub struct WithMiddleware<T> {
    pub api: T,
    pub authorizer: Arc<Authorizer>,
}

impl<T: OpenApi> OpenApi for WithMiddleware<T> {
    fn meta() -> Vec<MetaApi> {
        let mut apis = T::meta();
        for operation in apis.iter_mut().flat_map(|api| &mut api.paths).flat_map(|path| &mut path.operations) {
            complete_description(operation);
        }
        apis
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
        ErrorResponse::register(registry);
    }

    fn add_routes(self, routes: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
        let mut handlers = HashMap::new();
        self.api.add_routes(&mut handlers);
        for path in Self::meta().into_iter().flat_map(|api| api.paths) {
            let pattern = pattern(&path.path);
            let supports = |method: Method| path.operations.iter().any(|operation| operation.method == method);
            let allow = match (supports(Method::GET), supports(Method::POST)) {
                (true, false) => ALLOW,
                (true, true) => "GET, HEAD, OPTIONS, POST",
                (false, _) => "OPTIONS, POST",
            };
            for operation in path.operations {
                let handler = handlers.get_mut(&pattern).and_then(|methods| methods.remove(&operation.method));
                let (Some(handler), Some(id)) = (handler, operation.operation_id) else {
                    unreachable!("every operation has a handler and an id: {}", path.path)
                };
                let authorizer = Arc::clone(&self.authorizer);
                let endpoint = Arc::new(OperationMiddleware::new(id, &operation.params, handler, authorizer));
                let methods = routes.entry(pattern.clone()).or_default();
                if operation.method == Method::GET {
                    methods.insert(Method::HEAD, Arc::clone(&endpoint).boxed());
                }
                methods.insert(operation.method, endpoint.boxed());
            }
            let methods = routes.entry(pattern).or_default();
            for other in
                [Method::OPTIONS, Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE]
            {
                methods.entry(other).or_insert_with(|| AllowedMethods(allow).boxed());
            }
        }
    }
}

/// Timeout for the start of a response. It is longer than all timeouts below the handler.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(30);

/// States the supported methods of a path: answers `OPTIONS`, and rejects unsupported methods with 405.
pub struct AllowedMethods(pub &'static str);

impl Endpoint for AllowedMethods {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let Self(allow) = *self;
        let with_allow = |mut response: Response| {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
            response
        };
        if request.method() == Method::OPTIONS {
            return Ok(with_allow(StatusCode::NO_CONTENT.into_response()));
        }
        let problem = Problem::new(Code::MethodNotAllowed, format!("this path supports {allow}"));
        Err(poem::Error::from_response(with_allow(problem.into_response())))
    }
}

/// The router pattern that poem-openapi derives from a path of the document.
fn pattern(path: &str) -> String {
    let mut number = 0..;
    let parts = path.split('/').map(|part| match part.strip_prefix('{') {
        Some(_) => number.next().map_or_else(String::new, |number: usize| format!(":{}", router_name(number))),
        None => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Completes the description of an operation. A parameter without a description gets that of its type, a response
/// without one gets the operation's summary. Adds the error responses of the middleware.
fn complete_description(operation: &mut MetaOperation) {
    for parameter in &mut operation.params {
        if let MetaSchemaRef::Inline(schema) = &mut parameter.schema {
            let description = schema.description.take();
            parameter.description = parameter.description.take().or(description.map(str::to_owned));
        }
    }
    let responses = &mut operation.responses.responses;
    let public = AccessPolicy { access: Access::Public, cost: 0 };
    let policy = operation.operation_id.map_or(public, AccessPolicy::for_operation);
    for response in ErrorResponse::meta().responses {
        let possible = match response.status {
            Some(400 | 500) => true,
            // Even if no key is required, an invalid or insufficient key is rejected.
            Some(401 | 403) => policy.access != Access::Public,
            Some(429) => policy.cost > 0,
            _ => false,
        };
        if possible && !responses.iter().any(|documented| documented.status == response.status) {
            responses.push(response);
        }
    }
    responses.sort_by_key(|response| response.status);
    for response in responses.iter_mut().filter(|response| response.description.is_empty()) {
        response.description = operation.summary.unwrap_or_default();
    }
}

/// Validates, authorizes and measures the requests of one operation.
pub struct OperationMiddleware<E> {
    operation: &'static str,
    policy: AccessPolicy,
    parameters: Parameters,
    handler: E,
    authorizer: Arc<Authorizer>,
    metrics: OperationMetrics,
}

impl<E: Endpoint> OperationMiddleware<E> {
    pub fn new(
        operation: &'static str,
        parameters: &[MetaOperationParam],
        handler: E,
        authorizer: Arc<Authorizer>,
    ) -> Self {
        let (parameters, metrics) = (Parameters::new(parameters), OperationMetrics::new(operation));
        Self { operation, policy: AccessPolicy::for_operation(operation), parameters, handler, authorizer, metrics }
    }

    /// Authorizes and runs a request, and adds the rate-limit headers to the response.
    async fn handle(&self, mut request: Request) -> Response {
        let (authorized, usage) = self.authorizer.authorize(&request, self.policy);
        let mut response = match authorized {
            Ok(client) => {
                let has_key = client.key.is_some();
                if let Some(key) = &client.key {
                    tracing::Span::current().record("key", key.id.as_str());
                }
                request.extensions_mut().insert(client);
                let mut response = self.run_handler(request).await;
                if has_key {
                    make_private(&mut response);
                }
                response
            }
            Err(problem) => problem.into_response(),
        };
        if let Some(usage) = usage {
            usage.write(response.headers_mut());
        }
        response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        response
    }

    async fn run_handler(&self, request: Request) -> Response {
        if let Err(problem) = self.parameters.check(request.uri().query(), |name| request.raw_path_param(name)) {
            return problem.into_response();
        }
        let handled = AssertUnwindSafe(self.handler.call(request)).catch_unwind();
        let Ok(handled) = self.authorizer.system_clock().timeout(HANDLER_TIMEOUT, handled).await else {
            let seconds = HANDLER_TIMEOUT.as_secs();
            let detail = format!("the response was not ready within {seconds} s: request less data, or retry later");
            return Problem::new(Code::NotReady, detail).into_response();
        };
        match handled {
            Ok(Ok(response)) => response.into_response(),
            Ok(Err(error)) => error_response(error),
            Err(panic) => {
                HandlerPanicked { operation: self.operation, panic: &*panic }.emit();
                Problem::new(Code::Internal, "the request failed; the log of the service has details").into_response()
            }
        }
    }
}

impl<E: Endpoint> Endpoint for OperationMiddleware<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        trace::set_operation(self.operation);
        let clock = self.authorizer.clock();
        let started_at = clock.elapsed();
        let response = self.handle(request).await;
        self.metrics.record(response.status().as_u16(), clock.elapsed().saturating_sub(started_at));
        Ok(response)
    }
}

/// Changes `Cache-Control: public` to `private`: shared caches must not store responses for a key.
fn make_private(response: &mut Response) {
    let headers = response.headers_mut();
    let value = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let private = value.and_then(|value| value.strip_prefix("public")).map(|rest| format!("private{rest}"));
    if let Some(private) = private.and_then(|value| HeaderValue::try_from(value).ok()) {
        headers.insert(header::CACHE_CONTROL, private);
    }
}
