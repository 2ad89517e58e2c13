//! The codes of problems.

use poem::http::StatusCode;
use poem_openapi::Enum;
use serde::Serialize;

/// Why a request failed. Each code has one HTTP status; both are stable.
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

    const fn definition(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidParameter => (StatusCode::BAD_REQUEST, "invalid_parameter", "Invalid parameter"),
            Self::RangeTooLarge => (StatusCode::BAD_REQUEST, "range_too_large", "The range needs a backfill"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "A valid API key is required"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The API key lacks the required scope"),
            Self::UnknownExchange => (StatusCode::NOT_FOUND, "unknown_exchange", "Exchange unknown or not enabled"),
            Self::UnknownSymbol => (StatusCode::NOT_FOUND, "unknown_symbol", "Symbol not listed"),
            Self::UnsupportedInterval => (StatusCode::NOT_FOUND, "unsupported_interval", "Interval not supported"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "Not found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Request too large"),
            Self::UpgradeRequired => (StatusCode::UPGRADE_REQUIRED, "upgrade_required", "WebSocket upgrade required"),
            Self::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Rate limit exceeded"),
            Self::UpstreamUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "upstream_unavailable", "Exchange unavailable")
            }
            Self::UpstreamRateLimited => {
                (StatusCode::SERVICE_UNAVAILABLE, "upstream_rate_limited", "The exchange's rate limit is exhausted")
            }
            Self::StoreUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "Candle store unavailable")
            }
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.definition().0
    }

    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.definition().1
    }

    /// A short summary of the code, the same for every occurrence.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.definition().2
    }
}
