//! What a door is: one table entry that the router, the check of parameters, the metrics and the document all read.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, Request, Response};
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::Type;

use super::Doors;
use super::problem::{Code, Problem};
use super::query::Values;
use crate::telemetry::http::{HandlerPanicked, OperationMetrics};

/// The methods that every door takes.
const ALLOW: &str = "GET, HEAD, OPTIONS";

/// One thing that can be asked over HTTP.
#[derive(Clone, Copy)]
pub struct Operation {
    /// Its name in the document, in spans and in metrics.
    pub id: &'static str,
    /// With parameters in braces: `/v1/exchanges/{exchange}`.
    pub path: &'static str,
    /// Its heading in the document; `None` keeps it out of the document.
    pub tag: Option<Tag>,
    pub summary: &'static str,
    pub description: &'static str,
    pub parameters: &'static [Parameter],
    /// The ways in which it answers 200.
    pub contents: &'static [Content],
    /// Headers of its answers beside those that all have: name and description.
    pub headers: &'static [(&'static str, &'static str)],
    /// Whether it knows `If-None-Match`.
    pub conditional: bool,
    /// How it may refuse, beside `internal`.
    pub problems: &'static [Code],
    pub handler: Handler,
}

/// Answers one request.
pub type Handler = for<'a> fn(Call<'a>) -> BoxFuture<'a, Result<Response, Problem>>;

/// A request whose parameters are known by name.
pub struct Call<'a> {
    pub doors: &'a Doors,
    pub request: &'a Request,
    pub values: Values<'a>,
}

/// A heading of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    Market,
    Reference,
    Service,
    Kept,
}

impl Tag {
    pub const ALL: [Self; 4] = [Self::Market, Self::Reference, Self::Service, Self::Kept];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Market => "Market data",
            Self::Reference => "Reference",
            Self::Service => "Service",
            Self::Kept => "Kept paths",
        }
    }

    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Market => "Tickers and candles.",
            Self::Reference => "What can be asked for, and what is known.",
            Self::Service => "How the service is doing.",
            Self::Kept => "Aliases for clients of earlier services; same answers as the paths under `/v1`.",
        }
    }
}

/// A parameter of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub place: Place,
    pub required: bool,
    pub kind: Kind,
    pub description: &'static str,
    pub example: &'static str,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Path,
    Query,
}

/// What values a parameter has, for the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Texts with commas between them.
    List,
    /// Unix milliseconds or RFC 3339.
    Time,
    Interval,
    /// From 1 to `max`.
    Count {
        max: u32,
        default: u32,
    },
    /// One of these; the first is the default.
    OneOf(&'static [&'static str]),
}

impl Parameter {
    /// An optional parameter in the query.
    #[must_use]
    pub const fn query(name: &'static str, kind: Kind, description: &'static str, example: &'static str) -> Self {
        Self { name, place: Place::Query, required: false, kind, description, example }
    }

    /// The same, required.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The same, in the path.
    #[must_use]
    pub const fn in_path(self) -> Self {
        Self { place: Place::Path, required: true, ..self }
    }

    #[must_use]
    pub(super) fn is_list(&self) -> bool {
        self.kind == Kind::List
    }
}

/// A form of an answer.
#[derive(Clone, Copy)]
pub struct Content {
    pub media: &'static str,
    /// Enters the schema into the registry; `None` for a text.
    pub schema: Option<fn(&mut Registry) -> MetaSchemaRef>,
    /// JSON where `media` is, else the text.
    pub example: &'static str,
}

/// The schema of a type, for [`Content::schema`].
pub fn schema<T: Type>(registry: &mut Registry) -> MetaSchemaRef {
    T::register(registry);
    T::schema_ref()
}

/// An operation at its place in the router.
pub struct Door {
    operation: &'static Operation,
    doors: Arc<Doors>,
    metrics: OperationMetrics,
}

impl Door {
    pub fn new(operation: &'static Operation, doors: Arc<Doors>) -> Self {
        Self { operation, doors, metrics: OperationMetrics::new(operation.id) }
    }

    async fn answer(&self, request: &Request) -> Result<Response, Problem> {
        match *request.method() {
            Method::GET | Method::HEAD => {
                let query = request.uri().query();
                let values = Values::read(self.operation.parameters, query, |name| request.raw_path_param(name))?;
                (self.operation.handler)(Call { doors: &self.doors, request, values }).await
            }
            Method::OPTIONS => {
                let allow = HeaderValue::from_static(ALLOW);
                Ok(Response::builder().status(StatusCode::NO_CONTENT).header(header::ALLOW, allow).finish())
            }
            _ => {
                let refusal = Problem::new(Code::MethodNotAllowed, format!("this path takes {ALLOW}"));
                Err(Problem { allow: Some(ALLOW), ..refusal })
            }
        }
    }
}

impl Endpoint for Door {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        tracing::Span::current().record("operation", self.operation.id);
        let began = self.doors.clock.elapsed();
        let mut response = match AssertUnwindSafe(self.answer(&request)).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(problem)) => problem.response(),
            Err(panic) => {
                HandlerPanicked { operation: self.operation.id, panic: &*panic }.emit();
                Problem::new(Code::Internal, "the request could not be answered; the log says more").response()
            }
        };
        response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        self.metrics.answered(response.status().as_u16(), self.doors.clock.elapsed().saturating_sub(began));
        Ok(response)
    }
}
