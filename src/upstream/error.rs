//! Why an exchange gave no answer.

use crate::exchanges::{ReplyError, ReplyErrorKind};
use crate::model::{ExchangeId, Timestamp};

/// Why an exchange gave no answer, in a sentence that tells a person what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// The exchange said to stay away, or its budget is used up. Nothing was sent.
    #[error("{0}'s rate limit is used up, or {0} shuts this address out; nothing is sent before {until}", exchange.name())]
    HeldBack { exchange: ExchangeId, until: Timestamp },
    /// Every origin says that it does not serve this region.
    #[error(
        "{} is closed to this region (HTTP {status}): run candlewick elsewhere, or set exchanges.{exchange}.rest_url \
         and ws_url to origins that serve it",
        exchange.name()
    )]
    RegionClosed { exchange: ExchangeId, status: u16 },
    /// No origin could be connected to, or the connection broke before the whole reply was there.
    #[error("{} cannot be reached: {detail}", exchange.name())]
    Unreachable { exchange: ExchangeId, detail: String },
    /// The reply did not come in time.
    #[error("{} did not answer in time", exchange.name())]
    TimedOut { exchange: ExchangeId },
    /// It answered 5xx, or another error status without an error of the exchange's own, to every try.
    #[error("{} is in trouble: it answered HTTP {status}", exchange.name())]
    Trouble { exchange: ExchangeId, status: u16, retry_at: Option<Timestamp> },
    /// The reply was larger than anything that an exchange should send.
    #[error("{} sent a reply of more than {limit} bytes", exchange.name())]
    TooLarge { exchange: ExchangeId, limit: usize },
    /// It answered, but not with what was asked for.
    #[error("{} answered: {error}", exchange.name())]
    Reply { exchange: ExchangeId, error: ReplyError },
    /// The client cannot be built, or the request is not one.
    #[error("{0}")]
    Setup(String),
}

impl UpstreamError {
    /// Whether the same call may work later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::HeldBack { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Trouble { .. } => true,
            Self::Reply { error, .. } => {
                matches!(error.kind, ReplyErrorKind::RateLimited | ReplyErrorKind::Unavailable)
            }
            Self::RegionClosed { .. } | Self::TooLarge { .. } | Self::Setup(_) => false,
        }
    }

    /// When it may work, where that is known.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Timestamp> {
        match self {
            Self::HeldBack { until, .. } => Some(*until),
            Self::Trouble { retry_at, .. } => *retry_at,
            _ => None,
        }
    }
}
