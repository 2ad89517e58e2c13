//! Refusals: `application/problem+json` (RFC 9457) with a stable `code`, the same for every door.

use std::borrow::Cow;
use std::time::Duration;

use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::Enum;
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use serde::Serialize;

use super::guard::ALLOW;
use super::rest::ProblemSchema;

use crate::market::{InvalidParameter, MarketError};
use crate::model::KeyScope;

/// The media type of a refusal.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What a client may show to be let in.
const CHALLENGE: &str = "Bearer realm=\"candlewick\"";

/// Why a request was refused. A code has one status; both are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Code {
    InvalidParameter,
    RangeTooLarge,
    UnknownExchange,
    UnknownSymbol,
    UnsupportedInterval,
    NotFound,
    MethodNotAllowed,
    TooLarge,
    UpgradeRequired,
    Unauthorized,
    Forbidden,
    RateLimited,
    UpstreamUnavailable,
    UpstreamRateLimited,
    StoreUnavailable,
    NotReady,
    Internal,
}

impl Code {
    /// All codes, in the order of their status.
    pub const ALL: [Self; 17] = [
        Self::InvalidParameter,
        Self::RangeTooLarge,
        Self::Unauthorized,
        Self::Forbidden,
        Self::UnknownExchange,
        Self::UnknownSymbol,
        Self::UnsupportedInterval,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooLarge,
        Self::UpgradeRequired,
        Self::RateLimited,
        Self::Internal,
        Self::UpstreamUnavailable,
        Self::UpstreamRateLimited,
        Self::StoreUnavailable,
        Self::NotReady,
    ];

    const fn about(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidParameter => (StatusCode::BAD_REQUEST, "invalid_parameter", "A parameter is not valid"),
            Self::RangeTooLarge => {
                (StatusCode::BAD_REQUEST, "range_too_large", "The unknown part of the range needs a backfill")
            }
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "A valid key is needed"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The key may not do this"),
            Self::UnknownExchange => (StatusCode::NOT_FOUND, "unknown_exchange", "There is no such exchange here"),
            Self::UnknownSymbol => (StatusCode::NOT_FOUND, "unknown_symbol", "Nobody lists this symbol"),
            Self::UnsupportedInterval => (StatusCode::NOT_FOUND, "unsupported_interval", "This interval cannot be had"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "There is nothing at this path"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This method is not offered here")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The request is too large"),
            Self::UpgradeRequired => (StatusCode::UPGRADE_REQUIRED, "upgrade_required", "This path is a WebSocket"),
            Self::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too much was asked for"),
            Self::UpstreamUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "upstream_unavailable", "The exchange does not answer")
            }
            Self::UpstreamRateLimited => {
                (StatusCode::SERVICE_UNAVAILABLE, "upstream_rate_limited", "The exchange's rate limit is used up")
            }
            Self::StoreUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "The candle store does not answer")
            }
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready to answer this"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong here"),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.about().0
    }

    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.about().1
    }

    /// What it means, in a few words that do not change from one refusal to the next.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.about().2
    }
}

/// A parameter that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name as it was given.
    pub parameter: Cow<'static, str>,
    /// What is wrong, or what would be right.
    pub detail: Cow<'static, str>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// What happened, and what to do about it.
    pub detail: Cow<'static, str>,
    /// For `invalid_parameter`: each parameter that is wrong.
    pub errors: Vec<Refused>,
    /// When it makes sense to try again; always set with status 429 and 503.
    pub retry_after: Option<Duration>,
    /// For `unauthorized` and `forbidden`: what `WWW-Authenticate` asks for (RFC 6750, 3).
    pub challenge: Option<Cow<'static, str>>,
}

impl Problem {
    /// A refusal with a detail of its own.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let passes = matches!(code.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let retry_after = passes.then_some(Duration::from_secs(1));
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after, challenge: None }
    }

    /// A key is needed, and there is none.
    #[must_use]
    pub fn no_key(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { challenge: Some(CHALLENGE.into()), ..Self::new(Code::Unauthorized, detail) }
    }

    /// A key was shown that opens nothing.
    #[must_use]
    pub fn wrong_key(detail: impl Into<Cow<'static, str>>) -> Self {
        let challenge = format!("{CHALLENGE}, error=\"invalid_token\"");
        Self { challenge: Some(challenge.into()), ..Self::new(Code::Unauthorized, detail) }
    }

    /// The key that was shown may do other things only.
    #[must_use]
    pub fn lacks_scope(scope: KeyScope) -> Self {
        let challenge = format!("{CHALLENGE}, error=\"insufficient_scope\", scope=\"{scope}\"");
        let detail = format!("this needs a key with the scope `{scope}`, which yours has not");
        Self { challenge: Some(challenge.into()), ..Self::new(Code::Forbidden, detail) }
    }

    /// Parameters that were refused; at least one.
    #[must_use]
    pub fn invalid(errors: Vec<Refused>) -> Self {
        let detail = match errors.as_slice() {
            [one] if one.detail.contains(&*one.parameter) => one.detail.to_string(),
            [one] => format!("`{}` {}", one.parameter, one.detail),
            several => format!("{} parameters are not valid; `errors` says why", several.len()),
        };
        Self { errors, ..Self::new(Code::InvalidParameter, detail) }
    }

    /// The body.
    ///
    /// # Panics
    /// Never: its keys are texts.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(&ProblemSchema::new(self)).expect("keys are texts")
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

/// A problem is a payload with a media type of its own.
impl Payload for Problem {
    const CONTENT_TYPE: &'static str = PROBLEM_JSON;

    fn schema_ref() -> MetaSchemaRef {
        ProblemSchema::schema_ref()
    }

    fn register(registry: &mut Registry) {
        ProblemSchema::register(registry);
    }
}

impl From<InvalidParameter> for Refused {
    fn from(wrong: InvalidParameter) -> Self {
        Self { parameter: wrong.parameter.into(), detail: wrong.detail.into() }
    }
}

impl From<Vec<InvalidParameter>> for Problem {
    fn from(wrong: Vec<InvalidParameter>) -> Self {
        Self::invalid(wrong.into_iter().map(Refused::from).collect())
    }
}

impl From<MarketError> for Problem {
    fn from(error: MarketError) -> Self {
        let detail = error.to_string();
        let later = |code, after| Self { retry_after: Some(after), ..Self::new(code, detail.clone()) };
        match error {
            MarketError::InvalidParameters(wrong) => wrong.into(),
            MarketError::UnknownExchange(_) => Self::new(Code::UnknownExchange, detail),
            MarketError::UnknownSymbol(_) => Self::new(Code::UnknownSymbol, detail),
            MarketError::UnsupportedInterval(_) => Self::new(Code::UnsupportedInterval, detail),
            MarketError::NotFound(_) => Self::new(Code::NotFound, detail),
            MarketError::RangeTooLarge(_) => Self::new(Code::RangeTooLarge, detail),
            MarketError::TooMany { retry_after, .. } => later(Code::RateLimited, retry_after),
            MarketError::UpstreamUnavailable { retry_after, .. } => later(Code::UpstreamUnavailable, retry_after),
            MarketError::UpstreamRateLimited { retry_after, .. } => later(Code::UpstreamRateLimited, retry_after),
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
    fn a_problem_is_valid_json_whatever_it_quotes() {
        let wrong = Refused { parameter: "a\"\n\u{0}".to_owned().into(), detail: "unknown".into() };
        let body: serde_json::Value = serde_json::from_slice(&Problem::invalid(vec![wrong]).json()).unwrap();
        assert_eq!(body["code"], "invalid_parameter");
        assert_eq!(body["status"], 400);
        assert_eq!(body["errors"][0]["parameter"], "a\"\n\u{0}");
        let plain: serde_json::Value = serde_json::from_slice(&Problem::new(Code::NotFound, "x").json()).unwrap();
        assert!(plain.get("errors").is_none());
    }

    #[test]
    fn a_code_has_one_name() {
        for code in Code::ALL {
            assert_eq!(code.to_json(), Some(code.as_str().into()));
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn whoever_may_try_again_is_told_when() {
        for code in Code::ALL {
            let response = Problem::new(code, "x").into_response();
            let passes = matches!(code.status().as_u16(), 429 | 503);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), passes, "{code:?}");
        }
        let detail = "busy".to_owned();
        let limited = MarketError::UpstreamUnavailable { detail, retry_after: Duration::from_millis(1_200) };
        assert_eq!(Problem::from(limited).into_response().header("retry-after"), Some("2"));
    }
}
