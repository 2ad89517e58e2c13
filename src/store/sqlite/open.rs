//! Opening a store: its folder, its file, its tables.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlSafeStr, SqliteConnection, SqlitePool};

use super::SqliteStore;
use crate::store::StoreError;
use crate::store::ids::SeriesIds;

/// How many can read at once.
const READERS: u32 = 4;

/// How long to wait for another process that writes, or for a free connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many rows may wait between the thread that reads and the task that asked: with few, most of the time goes into
/// waking each other up.
const ROWS_AHEAD: usize = 256;

/// The log is cut back to this size after it was folded into the file.
const LOG_BYTES: &str = "67108864";

/// Every version of the tables, oldest first. What was released is never edited.
const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "initial", include_str!("../../../migrations/sqlite/0001_initial.sql")),
    (2, "backfills", include_str!("../../../migrations/sqlite/0002_backfills.sql")),
    (3, "api_keys", include_str!("../../../migrations/sqlite/0003_api_keys.sql")),
    (4, "instrument_status", include_str!("../../../migrations/sqlite/0004_instrument_status.sql")),
];

const REMEDY: &str = "let this user write there, or name another file in `store.url` (or DATABASE_URL)";

pub(super) async fn at(url: &str) -> Result<SqliteStore, StoreError> {
    let Some(path) = file_of(url)? else { return in_memory().await };
    make_writable(&path).await?;
    let explain = |error: sqlx::Error| {
        StoreError::Open(format!("cannot open the database {}: {}; {REMEDY}", path.display(), reason(&error)))
    };
    let options = options().filename(&path);
    let writing = options
        .clone()
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("journal_size_limit", LOG_BYTES)
        .thread_name(|_| "sqlite-writer".to_owned());
    let writer =
        pool(1).after_release(|writer, _| Box::pin(is_clean(writer))).connect_with(writing).await.map_err(explain)?;
    migrate(&writer, &path.display().to_string()).await?;
    let reading = options.read_only(true).row_buffer_size(ROWS_AHEAD).thread_name(|n| format!("sqlite-reader-{n}"));
    let readers = pool(READERS).connect_with(reading).await.map_err(explain)?;
    Ok(SqliteStore { writer, readers, ids: SeriesIds::default(), bound: None })
}

pub(super) async fn in_memory() -> Result<SqliteStore, StoreError> {
    // The database is its only connection: with a cache shared by several, readers fail where a writer is at work.
    let only = pool(1)
        .connect_with(options().in_memory(true).thread_name(|_| "sqlite-memory".to_owned()))
        .await
        .map_err(|error| StoreError::Open(format!("cannot open a database in memory: {}", reason(&error))))?;
    migrate(&only, "in memory").await?;
    Ok(SqliteStore { writer: only.clone(), readers: only, ids: SeriesIds::default(), bound: None })
}

/// The versions that this binary knows.
#[cfg(test)]
pub(super) fn versions() -> Vec<i64> {
    MIGRATIONS.iter().map(|(version, ..)| *version).collect()
}

fn options() -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(PATIENCE)
        .foreign_keys(true)
        .disable_statement_logging()
}

/// Connections are local and do not go stale: they are neither tested, nor given up when idle or old.
fn pool(size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(size)
        .acquire_timeout(PATIENCE)
        // Who waits in vain gets an error; who waits a while is no news.
        .acquire_slow_threshold(PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Whether a connection can begin anew. Where the disk is full SQLite undoes a transaction by itself, which the driver does
/// not notice: it would refuse every other one. Such a connection is given up.
async fn is_clean(writer: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    match writer.begin_with("BEGIN").await {
        Ok(nothing) => Ok(nothing.rollback().await.is_ok()),
        Err(_) => Ok(false),
    }
}

/// The file that a URL names; `None` for memory.
fn file_of(url: &str) -> Result<Option<PathBuf>, StoreError> {
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or_default();
    if path == ":memory:" {
        return Ok(None);
    }
    if path.is_empty() || path.contains(['?', '#', '\0']) {
        let shown: String = url.chars().take(200).collect();
        return Err(StoreError::Open(format!(
            "`{shown}` names no database file; write `store.url` as sqlite://path/to.db, without parameters"
        )));
    }
    // In messages a person should see where a relative path leads.
    Ok(Some(std::path::absolute(path).unwrap_or_else(|_| path.into())))
}

/// SQLite says only "unable to open database file": find out by hand what is wrong.
async fn make_writable(path: &Path) -> Result<(), StoreError> {
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(|error| {
            StoreError::Open(format!("cannot make the folder {} for the database: {error}; {REMEDY}", folder.display()))
        })?;
    }
    let file = tokio::fs::OpenOptions::new().create(true).append(true).open(path).await;
    file.map(drop).map_err(|error| {
        StoreError::Open(format!("cannot write the database file {}: {error}; {REMEDY}", path.display()))
    })
}

async fn migrate(writer: &SqlitePool, place: &str) -> Result<(), StoreError> {
    let known = MIGRATIONS.map(|(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(known.to_vec()).run(writer).await.map_err(|error| {
        StoreError::Open(match error {
            MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) => format!(
                "the database {place} was made by another version of candlewick ({error}); \
                 run that version, or name another file in `store.url`"
            ),
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                format!("cannot set up the database {place}: {}; {REMEDY}", reason(&error))
            }
            _ => format!("cannot set up the database {place}: {error}; {REMEDY}"),
        })
    })
}

/// The database's own words, without the driver's.
fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(inside) => inside.message().to_owned(),
        _ => error.to_string(),
    }
}
