//! Errors of calls to an exchange.

use crate::exchanges::{RestError, RestErrorKind};
use crate::model::{ExchangeId, Timestamp};

/// Why a call to an exchange failed. The message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// The budget is used up, or the circuit breaker is open. Nothing was sent.
    #[error("{0}'s rate limit is used up, or {0} bans this address: no request before {until}", exchange.name())]
    Deferred { exchange: ExchangeId, until: Timestamp },
    /// Every origin refuses to serve this region.
    #[error(
        "{} is closed to this region (HTTP {status}): run candlewick in another region, or set \
         exchanges.{exchange}.rest_url and ws_url to origins that serve this one",
        exchange.name()
    )]
    RegionBlocked { exchange: ExchangeId, status: u16 },
    /// No origin accepted a connection, or the connection broke before the reply was complete.
    #[error("{} cannot be reached: {detail}", exchange.name())]
    Unreachable { exchange: ExchangeId, detail: String },
    /// No reply within the timeout.
    #[error("{} did not answer in time", exchange.name())]
    TimedOut { exchange: ExchangeId },
    /// Every attempt was answered with 5xx, or with another error status that carries no error of the exchange itself.
    #[error("{} is unavailable: it answered HTTP {status}", exchange.name())]
    Unavailable { exchange: ExchangeId, status: u16, retry_at: Option<Timestamp> },
    /// The reply exceeds the size limit.
    #[error("{} sent a reply of more than {limit} bytes", exchange.name())]
    TooLarge { exchange: ExchangeId, limit: usize },
    /// The exchange answered with an error or with an unexpected reply.
    #[error("{} answered: {error}", exchange.name())]
    ErrorResponse { exchange: ExchangeId, error: RestError },
    /// The client cannot be built: an origin is invalid, or TLS cannot be set up.
    #[error("{0}")]
    Setup(String),
}

impl UpstreamError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Deferred { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Unavailable { .. } => true,
            Self::ErrorResponse { error, .. } => {
                matches!(error.kind, RestErrorKind::RateLimited | RestErrorKind::Unavailable)
            }
            Self::RegionBlocked { .. } | Self::TooLarge { .. } | Self::Setup(_) => false,
        }
    }

    /// When to retry, if known.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Timestamp> {
        match self {
            Self::Deferred { until, .. } => Some(*until),
            Self::Unavailable { retry_at, .. } => *retry_at,
            _ => None,
        }
    }
}
