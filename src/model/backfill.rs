//! A range of a series that someone wants to be known.

use std::fmt;
use std::str::FromStr;

use super::{Series, TimeRange, Timestamp};

/// A backfill that was asked for. What of it is done says the ledger, so that one which was interrupted goes on where it
/// was, and nothing is fetched twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// Lower-case letters and digits.
    pub id: String,
    pub series: Series,
    pub range: TimeRange,
    pub state: BackfillState,
    /// Why it failed.
    pub detail: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// How far a backfill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackfillState {
    /// No collector has begun.
    Waiting,
    /// A collector works on it, or will again after an interruption.
    Running,
    /// All that the exchange gives is there.
    Done,
    /// It cannot be done; [`Backfill::detail`] says why.
    Failed,
}

impl BackfillState {
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Running, Self::Done, Self::Failed];

    /// The name in JSON and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Whether there is something left to do.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }
}

impl fmt::Display for BackfillState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no state of a backfill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a state of a backfill")]
pub struct UnknownBackfillState;

impl FromStr for BackfillState {
    type Err = UnknownBackfillState;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(UnknownBackfillState)
    }
}
