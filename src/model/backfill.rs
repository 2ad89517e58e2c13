//! Backfills: requests to fetch a range of a candle series.

use std::fmt;
use std::str::FromStr;

use super::{Series, TimeRange, Timestamp};

/// A requested backfill. The coverage ledger records its progress, so an interrupted backfill resumes and fetches
/// nothing twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// Lower-case letters and digits.
    pub id: String,
    pub series: Series,
    pub range: TimeRange,
    pub state: BackfillState,
    /// Reason of a failure.
    pub detail: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// State of a backfill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackfillState {
    /// No collector has started it.
    Waiting,
    /// A collector works on it, or continues after an interruption.
    Running,
    /// Everything that the exchange provides is stored.
    Done,
    /// It is impossible; [`Backfill::detail`] holds the reason.
    Failed,
}

impl BackfillState {
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Running, Self::Done, Self::Failed];

    /// Name in JSON and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Whether work remains.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }
}

impl fmt::Display for BackfillState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a backfill state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of waiting, running, done, failed")]
pub struct UnknownBackfillState;

impl FromStr for BackfillState {
    type Err = UnknownBackfillState;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(UnknownBackfillState)
    }
}
