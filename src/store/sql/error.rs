//! Errors of the drivers.

use std::fmt::Display;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteError;

use crate::store::error::StoreError;

/// Timeout for a free or a new connection.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// SQLite result codes of a damaged file: <https://www.sqlite.org/rescode.html>.
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_NOTADB: i32 = 26;

/// Maps a driver error.
pub fn store_error(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => corrupt(error),
        sqlx::Error::Database(inner) if is_damaged_file(&*inner) => corrupt(inner.message()),
        other => StoreError::Unavailable(reason(&other)),
    }
}

/// A stored value is invalid.
pub fn corrupt(detail: impl Display) -> StoreError {
    StoreError::Corrupt(detail.to_string())
}

/// The message of the database, without the driver's wrapper text.
pub fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(inner) => inner.message().to_owned(),
        sqlx::Error::PoolTimedOut => format!("no answer within {} s", ACQUIRE_TIMEOUT.as_secs()),
        other => other.to_string(),
    }
}

fn is_damaged_file(error: &dyn DatabaseError) -> bool {
    let Some(error) = error.try_downcast_ref::<SqliteError>() else { return false };
    // The low byte of an extended result code is the primary code.
    let code = error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default() & 0xff;
    code == SQLITE_CORRUPT || code == SQLITE_NOTADB
}
