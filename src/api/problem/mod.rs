//! Problems: error responses as `application/problem+json` (RFC 9457) with a stable `code`, the same for all endpoints.

mod code;
mod schema;

use std::borrow::Cow;
use std::time::Duration;

use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::Type;

pub use code::Code;
pub use schema::ProblemSchema;

use self::schema::ParameterError;
use super::headers::ALLOW;
use crate::market::{InvalidParameter, MarketError};
use crate::model::KeyScope;

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The authentication challenge: an API key as a bearer token.
const CHALLENGE: &str = "Bearer realm=\"candlewick\"";

/// An invalid parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterProblem {
    /// The name as the client sent it.
    pub parameter: Cow<'static, str>,
    /// What is wrong, or what is valid.
    pub detail: Cow<'static, str>,
}

/// A problem (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind of problem.
    pub code: Code,
    /// What happened, and what to do about it.
    pub detail: Cow<'static, str>,
    /// For `invalid_parameter`: each invalid parameter.
    pub errors: Vec<ParameterProblem>,
    /// When to retry; always set with status 429 and 503.
    pub retry_after: Option<Duration>,
    /// For `unauthorized` and `forbidden`: the value of `WWW-Authenticate` (RFC 6750, 3).
    pub challenge: Option<Cow<'static, str>>,
}

impl Problem {
    /// A problem with this detail. With status 429 and 503, `retry_after` is one second.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let is_temporary = matches!(code.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let retry_after = is_temporary.then_some(Duration::from_secs(1));
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after, challenge: None }
    }

    /// The request has no key but needs one.
    #[must_use]
    pub fn missing_key(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { challenge: Some(CHALLENGE.into()), ..Self::new(Code::Unauthorized, detail) }
    }

    /// The request has a key or ticket that is not valid.
    #[must_use]
    pub fn invalid_key(detail: impl Into<Cow<'static, str>>) -> Self {
        let challenge = format!("{CHALLENGE}, error=\"invalid_token\"");
        Self { challenge: Some(challenge.into()), ..Self::new(Code::Unauthorized, detail) }
    }

    /// The key does not have the scope.
    #[must_use]
    pub fn missing_scope(scope: KeyScope) -> Self {
        let challenge = format!("{CHALLENGE}, error=\"insufficient_scope\", scope=\"{scope}\"");
        let detail = format!("this operation needs a key with the scope `{scope}`, which your key does not have");
        Self { challenge: Some(challenge.into()), ..Self::new(Code::Forbidden, detail) }
    }

    /// Invalid parameters; at least one.
    #[must_use]
    pub fn invalid_parameters(errors: Vec<ParameterProblem>) -> Self {
        let detail = match errors.as_slice() {
            [one] if one.detail.contains(&*one.parameter) => one.detail.to_string(),
            [one] => format!("`{}` {}", one.parameter, one.detail),
            several => format!("{} parameters are not valid; `errors` lists them", several.len()),
        };
        Self { errors, ..Self::new(Code::InvalidParameter, detail) }
    }

    /// The JSON body.
    ///
    /// # Panics
    /// Never: all map keys are strings.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.body()).expect("map keys are strings")
    }

    fn body(&self) -> ProblemSchema {
        let errors = self
            .errors
            .iter()
            .map(|error| ParameterError { parameter: error.parameter.to_string(), detail: error.detail.to_string() });
        ProblemSchema {
            r#type: format!("urn:candlewick:problem:{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            detail: self.detail.to_string(),
            code: self.code,
            errors: (!self.errors.is_empty()).then(|| errors.collect()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::builder().status(self.code.status()).body(self.json());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            let seconds = after.as_millis().div_ceil(1_000).clamp(1, 86_400);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(1)));
        }
        if let Some(challenge) = self.challenge.and_then(|text| HeaderValue::try_from(&*text).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        match self.code {
            Code::MethodNotAllowed => {
                headers.insert(header::ALLOW, HeaderValue::from_static(ALLOW));
            }
            Code::UpgradeRequired => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            }
            _ => {}
        }
        response
    }
}

/// A payload with its own media type.
impl Payload for Problem {
    const CONTENT_TYPE: &'static str = PROBLEM_JSON;

    fn schema_ref() -> MetaSchemaRef {
        ProblemSchema::schema_ref()
    }

    fn register(registry: &mut Registry) {
        ProblemSchema::register(registry);
    }
}

impl From<InvalidParameter> for ParameterProblem {
    fn from(invalid: InvalidParameter) -> Self {
        Self { parameter: invalid.parameter.into(), detail: invalid.detail.into() }
    }
}

impl From<Vec<InvalidParameter>> for Problem {
    fn from(invalid: Vec<InvalidParameter>) -> Self {
        Self::invalid_parameters(invalid.into_iter().map(ParameterProblem::from).collect())
    }
}

impl From<MarketError> for Problem {
    fn from(error: MarketError) -> Self {
        let detail = error.to_string();
        let retry = |code, after| Self { retry_after: Some(after), ..Self::new(code, detail.clone()) };
        match error {
            MarketError::InvalidParameters(invalid) => invalid.into(),
            MarketError::UnknownExchange(_) => Self::new(Code::UnknownExchange, detail),
            MarketError::UnknownSymbol(_) => Self::new(Code::UnknownSymbol, detail),
            MarketError::UnsupportedInterval(_) => Self::new(Code::UnsupportedInterval, detail),
            MarketError::NotFound(_) => Self::new(Code::NotFound, detail),
            MarketError::RangeTooLarge(_) => Self::new(Code::RangeTooLarge, detail),
            MarketError::TooManyRequests { retry_after, .. } => retry(Code::RateLimited, retry_after),
            MarketError::UpstreamUnavailable { retry_after, .. } => retry(Code::UpstreamUnavailable, retry_after),
            MarketError::UpstreamRateLimited { retry_after, .. } => retry(Code::UpstreamRateLimited, retry_after),
            MarketError::StoreUnavailable(_) => Self::new(Code::StoreUnavailable, detail),
            MarketError::NotReady(_) => Self::new(Code::NotReady, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::types::ToJSON;

    use super::*;

    #[test]
    fn serializes_quoted_input_as_valid_json() {
        let invalid = ParameterProblem { parameter: "a\"\n\u{0}".to_owned().into(), detail: "unknown".into() };
        let body: serde_json::Value =
            serde_json::from_slice(&Problem::invalid_parameters(vec![invalid]).json()).unwrap();
        assert_eq!(body["code"], "invalid_parameter");
        assert_eq!(body["status"], 400);
        assert_eq!(body["errors"][0]["parameter"], "a\"\n\u{0}");
        let plain: serde_json::Value = serde_json::from_slice(&Problem::new(Code::NotFound, "x").json()).unwrap();
        assert!(plain.get("errors").is_none());
    }

    #[test]
    fn code_has_one_name_in_all_encodings() {
        for code in Code::ALL {
            assert_eq!(code.to_json(), Some(code.as_str().into()));
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn temporary_problems_have_retry_after() {
        for code in Code::ALL {
            let response = Problem::new(code, "x").into_response();
            let is_temporary = matches!(code.status().as_u16(), 429 | 503);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), is_temporary, "{code:?}");
        }
        let detail = "busy".to_owned();
        let unavailable = MarketError::UpstreamUnavailable { detail, retry_after: Duration::from_millis(1_200) };
        assert_eq!(Problem::from(unavailable).into_response().header("retry-after"), Some("2"));
    }
}
