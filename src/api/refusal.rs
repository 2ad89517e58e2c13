//! How problems leave: as the documented answers of an operation, or in place of the framework's own words.

use poem::http::StatusCode;
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;

use super::guard::ALLOW;
use super::problem::{Code, Problem};

/// How an operation may refuse.
#[derive(Debug, ApiResponse)]
pub enum Refusal {
    /// `invalid_parameter`: `errors` says which parameters are not valid, and why.
    #[oai(status = 400)]
    Invalid(Problem),
    /// `unauthorized`: a valid key is needed.
    #[oai(status = 401, header(name = "WWW-Authenticate", ty = "String", description = "What to show: a bearer key."))]
    Unauthorized(Problem),
    /// `forbidden`: the key has not the scope for it.
    #[oai(status = 403, header(name = "WWW-Authenticate", ty = "String", description = "Which scope is needed."))]
    Forbidden(Problem),
    /// `unknown_exchange`, `unknown_symbol` or `unsupported_interval`: what was asked for is not to be had here.
    #[oai(status = 404)]
    Unknown(Problem),
    /// `rate_limited`: the client has used its limit.
    #[oai(status = 429, header(name = "Retry-After", ty = "u32", description = "When to try again, in seconds."))]
    Limited(Problem),
    /// `internal`: the log says more.
    #[oai(status = 500)]
    Internal(Problem),
    /// `upstream_unavailable`, `upstream_rate_limited`, `store_unavailable` or `not_ready`: to be tried again.
    #[oai(status = 503, header(name = "Retry-After", ty = "u32", description = "When to try again, in seconds."))]
    Unavailable(Problem),
}

impl<T> From<T> for Refusal
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

/// The answer for an error: the problem that it carries, or one in place of the framework's own words.
pub fn refuse(error: poem::Error) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let problem = match error.status() {
        StatusCode::NOT_FOUND => {
            Problem::new(Code::NotFound, "there is nothing at this path; `/docs` shows what there is")
        }
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(Code::MethodNotAllowed, format!("this path takes {ALLOW}")),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::TooLarge, "the request is too large"),
        status if status.is_client_error() => Problem::new(Code::InvalidParameter, error.to_string()),
        status => {
            tracing::error!(%status, %error, "a request failed outside of its handler");
            Problem::new(Code::Internal, "the request could not be answered; the log says more")
        }
    };
    problem.into_response()
}
