//! Opens a store: folder, file and migrations.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::candle_limit::{self, CandleLimit};
use super::store::SqliteStore;
use crate::store::error::StoreError;
use crate::store::ids::SeriesIds;
use crate::store::sql::migrations::migrate;
use crate::store::sql::{ACQUIRE_TIMEOUT, reason};

/// Maximum number of concurrent readers.
const MAX_READERS: u32 = 4;

/// Timeout for the write lock of another process.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Number of rows buffered between the SQLite thread and the requesting task. With a small buffer most of the time is
/// spent on wake-ups.
const ROW_BUFFER: usize = 256;

/// The write-ahead log is truncated to this size, in bytes, after a checkpoint.
const WAL_SIZE_LIMIT: &str = "67108864";

/// All migrations, oldest first. A released migration is never edited.
const MIGRATIONS: [(i64, &str, &str); 5] = [
    (1, "initial", include_str!("../../../migrations/sqlite/0001_initial.sql")),
    (2, "backfills", include_str!("../../../migrations/sqlite/0002_backfills.sql")),
    (3, "api_keys", include_str!("../../../migrations/sqlite/0003_api_keys.sql")),
    (4, "instrument_status", include_str!("../../../migrations/sqlite/0004_instrument_status.sql")),
    (5, "market_kinds", include_str!("../../../migrations/sqlite/0005_market_kinds.sql")),
];

const HINT: &str = "let this user write there, or name another file in `store.url` (or DATABASE_URL)";

impl SqliteStore {
    /// Opens `sqlite://path/to.db`. Creates the folder and the file if they are missing and runs pending migrations.
    /// `sqlite::memory:` is the same as [`SqliteStore::in_memory`].
    ///
    /// # Errors
    /// [`StoreError::Open`], which names the path and says what to do.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let Some(path) = parse_path(url)? else { return Self::in_memory().await };
        ensure_writable(&path).await?;
        let open_error = |error: sqlx::Error| {
            StoreError::Open(format!("cannot open the database {}: {}; {HINT}", path.display(), reason(&error)))
        };
        let options = options().filename(&path);
        let writer_options = options
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .pragma("journal_size_limit", WAL_SIZE_LIMIT)
            .thread_name(|_| "sqlite-writer".to_owned());
        let writer = pool(1)
            .after_release(|writer, _| Box::pin(is_usable(writer)))
            .connect_with(writer_options)
            .await
            .map_err(open_error)?;
        migrate(&writer, &MIGRATIONS, &path.display().to_string(), HINT).await?;
        let reader_options =
            options.read_only(true).row_buffer_size(ROW_BUFFER).thread_name(|n| format!("sqlite-reader-{n}"));
        let readers = pool(MAX_READERS).connect_with(reader_options).await.map_err(open_error)?;
        Ok(Self { writer, readers, ids: SeriesIds::default(), candle_limit: None })
    }

    /// Opens a store in memory. Its data are lost when the value is dropped.
    ///
    /// # Errors
    /// [`StoreError::Open`] if there is not enough memory.
    pub async fn in_memory() -> Result<Self, StoreError> {
        // The database belongs to one connection. With several connections and a shared cache, reads fail during a
        // write.
        let single_connection = pool(1)
            .connect_with(options().in_memory(true).thread_name(|_| "sqlite-memory".to_owned()))
            .await
            .map_err(|error| StoreError::Open(format!("cannot open a database in memory: {}", reason(&error))))?;
        migrate(&single_connection, &MIGRATIONS, "in memory", HINT).await?;
        Ok(Self {
            writer: single_connection.clone(),
            readers: single_connection,
            ids: SeriesIds::default(),
            candle_limit: None,
        })
    }

    /// Opens a store in memory that holds at most `limit` candles. Above the limit it evicts the oldest candles of all
    /// series and their coverage, so that their time is unknown again.
    ///
    /// # Errors
    /// [`StoreError::Open`] if there is not enough memory.
    pub async fn in_memory_with_limit(limit: u64) -> Result<Self, StoreError> {
        let mut store = Self::in_memory().await?;
        candle_limit::create_index(&store.writer).await?;
        store.candle_limit = Some(CandleLimit::new(limit));
        Ok(store)
    }
}

/// The migration versions in this binary.
#[cfg(test)]
pub(super) fn versions() -> Vec<i64> {
    MIGRATIONS.iter().map(|(version, ..)| *version).collect()
}

fn options() -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(LOCK_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging()
}

/// Connections are local and do not become stale: they are not tested and have no idle timeout or maximum lifetime.
fn pool(size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // No log line for slow acquires: a timeout is an error anyway.
        .acquire_slow_threshold(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Whether a connection can start another transaction. On a full disk SQLite rolls back by itself and the driver does
/// not notice it: the connection would reject every further transaction. The pool drops such a connection.
async fn is_usable(writer: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    match writer.begin_with("BEGIN").await {
        Ok(transaction) => Ok(transaction.rollback().await.is_ok()),
        Err(_) => Ok(false),
    }
}

/// The path in a URL; `None` for a database in memory.
fn parse_path(url: &str) -> Result<Option<PathBuf>, StoreError> {
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or_default();
    if path == ":memory:" {
        return Ok(None);
    }
    if path.is_empty() || path.contains(['?', '#', '\0']) {
        let excerpt: String = url.chars().take(200).collect();
        return Err(StoreError::Open(format!(
            "`{excerpt}` names no database file; write `store.url` as sqlite://path/to.db, without parameters"
        )));
    }
    // Absolute, so that messages show where a relative path points to.
    Ok(Some(std::path::absolute(path).unwrap_or_else(|_| path.into())))
}

/// Creates the folder and the file, with a specific error: SQLite only says "unable to open database file".
async fn ensure_writable(path: &Path) -> Result<(), StoreError> {
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(|error| {
            StoreError::Open(format!("cannot create the folder {} for the database: {error}; {HINT}", folder.display()))
        })?;
    }
    let file = tokio::fs::OpenOptions::new().create(true).append(true).open(path).await;
    file.map(drop).map_err(|error| {
        StoreError::Open(format!("cannot write the database file {}: {error}; {HINT}", path.display()))
    })
}
