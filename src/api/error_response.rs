//! Problems as responses: the documented error responses of operations, and a replacement for framework errors.

use poem::http::StatusCode;
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;

use super::headers::ALLOW;
use super::problem::{Code, Problem};

/// The error responses of an operation.
#[derive(Debug, ApiResponse)]
pub enum ErrorResponse {
    /// `invalid_parameter`: `errors` lists the invalid parameters with the reasons.
    #[oai(status = 400)]
    Invalid(Problem),
    /// `unauthorized`: a valid API key is required.
    #[oai(status = 401, header(name = "WWW-Authenticate", ty = "String", description = "The challenge: a bearer key."))]
    Unauthorized(Problem),
    /// `forbidden`: the API key does not have the required scope.
    #[oai(status = 403, header(name = "WWW-Authenticate", ty = "String", description = "The required scope."))]
    Forbidden(Problem),
    /// `unknown_exchange`, `unknown_symbol` or `unsupported_interval`: the requested resource does not exist.
    #[oai(status = 404)]
    Unknown(Problem),
    /// `rate_limited`: the client has reached its rate limit.
    #[oai(status = 429, header(name = "Retry-After", ty = "u32", description = "When to retry, in seconds."))]
    Limited(Problem),
    /// `internal`: an internal error. The log of the service has details.
    #[oai(status = 500)]
    Internal(Problem),
    /// `upstream_unavailable`, `upstream_rate_limited`, `store_unavailable` or `not_ready`: temporary; retry later.
    #[oai(status = 503, header(name = "Retry-After", ty = "u32", description = "When to retry, in seconds."))]
    Unavailable(Problem),
}

impl<T> From<T> for ErrorResponse
where
    Problem: From<T>,
{
    fn from(cause: T) -> Self {
        let problem = Problem::from(cause);
        match problem.code.status() {
            StatusCode::BAD_REQUEST => Self::Invalid(problem),
            StatusCode::UNAUTHORIZED => Self::Unauthorized(problem),
            StatusCode::FORBIDDEN => Self::Forbidden(problem),
            StatusCode::TOO_MANY_REQUESTS => Self::Limited(problem),
            StatusCode::NOT_FOUND => Self::Unknown(problem),
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable(problem),
            _ => Self::Internal(problem),
        }
    }
}

impl From<Problem> for poem::Error {
    fn from(problem: Problem) -> Self {
        Self::from_response(problem.into_response())
    }
}

/// The response for an error: the problem that it carries, or a problem in place of a framework error.
pub fn error_response(error: poem::Error) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let problem = match error.status() {
        StatusCode::NOT_FOUND => Problem::new(Code::NotFound, "no endpoint has this path; `/docs` lists all endpoints"),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(Code::MethodNotAllowed, format!("this path supports {ALLOW}")),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::TooLarge, "the request is too large"),
        status if status.is_client_error() => Problem::new(Code::InvalidParameter, error.to_string()),
        status => {
            tracing::error!(%status, %error, "request failed outside its handler");
            Problem::new(Code::Internal, "the request failed; the log of the service has details")
        }
    };
    problem.into_response()
}
