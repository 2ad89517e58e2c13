//! Tests of properties that only this backend has; the contract tests cover the rest.

use std::path::Path;

use futures_util::FutureExt;
use rust_decimal::Decimal;
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;

use super::multi_row::MultiRow;
use super::{SqliteStore, open};
use crate::model::{Candle, Coverage, CoverageState, CoveredRange, ExchangeId, Interval, Series, TimeRange, Timestamp};
use crate::store::sql::candles;
use crate::store::{CandleStore, InstrumentStore, SeriesWrite, Store, StoreError, Take};

fn series() -> Series {
    Series { exchange: ExchangeId::KRAKEN, symbol: "BTC/USD".parse().unwrap(), interval: Interval::M1 }
}

fn all_time() -> TimeRange {
    TimeRange::new(Timestamp::EPOCH, Timestamp::MAX)
}

fn batch(minutes: i64) -> [SeriesWrite; 1] {
    let candle = |minute: i64| Candle {
        timestamp: Timestamp::from_secs(minute * 60),
        open: Decimal::ONE,
        high: Decimal::ONE,
        low: Decimal::ONE,
        close: Decimal::ONE,
        volume: Decimal::new(minute, 3),
        quote_volume: None,
        trades: None,
        closed: true,
        revision: 0,
    };
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(minutes * 60));
    let claims = vec![CoveredRange { range, state: CoverageState::Observed }];
    [SeriesWrite { series: series(), candles: (0..minutes).map(candle).collect(), claims }]
}

async fn count(store: &SqliteStore) -> usize {
    store.candles(&series(), all_time(), Take::First(u32::MAX)).await.unwrap().len()
}

fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

async fn open_error(url: &str) -> String {
    match SqliteStore::open(url).await {
        Err(StoreError::Open(message)) => message,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{url} was opened"),
    }
}

#[tokio::test]
async fn open_error_is_one_line_with_path_and_setting() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "this is no database, and long enough to have a header of its own: ".repeat(20)).unwrap();
    // A file instead of the folder, a folder instead of the file, a file with other content.
    for (path, expected) in [
        (file.join("sub/candles.db"), file.join("sub")),
        (folder.path().into(), folder.path().into()),
        (file.clone(), file),
    ] {
        let message = open_error(&url(&path)).await;
        assert!(message.contains(&expected.display().to_string()), "{message}");
        assert!(message.contains("store.url"), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    for url in ["", "sqlite:", "sqlite://", "postgres://db", "sqlite://a.db?mode=ro", "sqlite://a\0b"] {
        assert!(open_error(url).await.contains("store.url"), "{url}");
    }
}

#[tokio::test]
async fn rejects_database_of_newer_version() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("candles.db");
    let store = SqliteStore::open(&url(&path)).await.unwrap();
    sqlx::query("UPDATE _sqlx_migrations SET version = 9000 + version").execute(&store.writer).await.unwrap();
    store.close().await;
    let message = open_error(&url(&path)).await;
    assert!(message.contains("another version of candlewick"), "{message}");
    assert!(message.contains(&path.display().to_string()), "{message}");
}

/// Before migration 4 an instrument was active or not; the migration adds a third status.
#[tokio::test]
async fn migration_preserves_instrument_status() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("candles.db");
    let store = SqliteStore::open(&url(&path)).await.unwrap();
    for statement in [
        "DELETE FROM _sqlx_migrations WHERE version = 4",
        "ALTER TABLE instruments ADD COLUMN active INTEGER NOT NULL DEFAULT 0 CHECK (active IN (0, 1))",
        "ALTER TABLE instruments DROP COLUMN status",
        "INSERT INTO instruments (exchange, symbol, native, active) VALUES ('kraken', 'A/USD', 'AUSD', 1), ('kraken', 'B/USD', 'BUSD', 0)",
    ] {
        sqlx::query(statement).execute(&store.writer).await.unwrap();
    }
    store.close().await;
    let store = SqliteStore::open(&url(&path)).await.unwrap();
    let instruments = store.instruments(ExchangeId::KRAKEN).await.unwrap().instruments;
    let statuses: Vec<&str> = instruments.iter().map(|one| one.status.as_str()).collect();
    assert_eq!(statuses, ["trading", "delisted"]);
}

#[tokio::test]
async fn memory_url_opens_separate_stores() {
    let (one, two) = (SqliteStore::open("sqlite::memory:").await.unwrap(), SqliteStore::in_memory().await.unwrap());
    one.write(&batch(3)).await.unwrap();
    assert_eq!((count(&one).await, count(&two).await), (3, 0), "each store has its own data");
}

/// A copy of the files simulates a killed process.
#[tokio::test]
async fn committed_data_survive_kill() {
    let folder = TempDir::new().unwrap();
    let store = SqliteStore::open(&url(&folder.path().join("candles.db"))).await.unwrap();
    for minutes in [10, 20, 30] {
        store.write(&batch(minutes)).await.unwrap();
        let copy = TempDir::new().unwrap();
        for suffix in ["", "-wal"] {
            let name = format!("candles.db{suffix}");
            std::fs::copy(folder.path().join(&name), copy.path().join(&name)).unwrap();
        }
        let reopened = SqliteStore::open(&url(&copy.path().join("candles.db"))).await.unwrap();
        assert_eq!(count(&reopened).await, usize::try_from(minutes).unwrap());
        let known = reopened.coverage(&series(), all_time()).await.unwrap();
        assert_eq!(known.ranges(), batch(minutes)[0].claims);
    }
}

#[tokio::test]
async fn close_checkpoints_the_write_ahead_log() {
    let folder = TempDir::new().unwrap();
    let store = SqliteStore::open(&url(&folder.path().join("candles.db"))).await.unwrap();
    store.write(&batch(10)).await.unwrap();
    assert_eq!(count(&store).await, 10);
    store.close().await;
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["candles.db"]);
}

#[tokio::test]
async fn invalid_values_are_reported_as_corrupt() {
    for (damage, word) in [
        ("UPDATE candles SET high = 'much' WHERE open_time = 0", "much"),
        ("UPDATE candles SET close = '' WHERE open_time = 0", "kraken:BTC/USD:1m"),
        ("UPDATE candles SET trades = -1 WHERE open_time = 0", "kraken:BTC/USD:1m"),
        ("UPDATE candles SET revision = 5000000000 WHERE open_time = 0", "kraken:BTC/USD:1m"),
    ] {
        let store = SqliteStore::in_memory().await.unwrap();
        store.write(&batch(3)).await.unwrap();
        sqlx::query(damage).execute(&store.writer).await.unwrap();
        match store.candles(&series(), all_time(), Take::Last(9)).await {
            Err(StoreError::Corrupt(detail)) => assert!(detail.contains(word), "{detail}"),
            other => panic!("{damage}: {other:?}"),
        }
        let rest = TimeRange::new(Timestamp::from_secs(60), Timestamp::MAX);
        assert_eq!(
            store.candles(&series(), rest, Take::Last(9)).await.unwrap().len(),
            2,
            "the other candles are readable"
        );
    }
    let store = SqliteStore::in_memory().await.unwrap();
    store.write(&batch(3)).await.unwrap();
    sqlx::query("UPDATE coverage SET state = 'guessed'").execute(&store.writer).await.unwrap();
    let coverage = store.coverage(&series(), all_time()).await;
    assert!(matches!(coverage, Err(StoreError::Corrupt(detail)) if detail.contains("guessed")));
    sqlx::query(
        "INSERT INTO instruments (exchange, symbol, native, status) VALUES ('kraken', 'BTC', 'BTC', 'trading')",
    )
    .execute(&store.writer)
    .await
    .unwrap();
    let listing = store.instruments(ExchangeId::KRAKEN).await;
    assert!(matches!(listing, Err(StoreError::Corrupt(detail)) if detail.contains("BTC")));
}

/// A write that is cancelled at any point is stored completely or not at all, and the next write works.
#[tokio::test]
async fn cancelled_write_is_atomic() {
    let store = SqliteStore::in_memory().await.unwrap();
    for polls in 1..40 {
        {
            let batch = batch(200);
            let mut write = std::pin::pin!(store.write(&batch));
            for _ in 0..polls {
                if write.as_mut().now_or_never().is_some() {
                    break;
                }
                // Lets the database thread run.
                std::thread::yield_now();
                tokio::task::yield_now().await;
            }
        }
        let rows = count(&store).await;
        assert!(rows == 0 || rows == 200, "{rows} rows");
        let known = store.coverage(&series(), all_time()).await.unwrap();
        assert_eq!(known.ranges().len(), usize::from(rows == 200));
    }
    store.write(&batch(200)).await.unwrap();
    assert_eq!(count(&store).await, 200);
}

/// Counts rows, because reading joins adjacent ranges of the same state and would hide separate rows.
#[tokio::test]
async fn adjacent_ranges_of_same_state_share_a_row() {
    let store = SqliteStore::in_memory().await.unwrap();
    let mut model = Coverage::default();
    for (start, end, state) in [
        (0, 10, CoverageState::Observed),
        (10, 20, CoverageState::Derived),
        (10, 20, CoverageState::Observed),
        (30, 40, CoverageState::Fetched),
        (20, 30, CoverageState::Observed),
        (5, 35, CoverageState::Empty),
        (0, 30, CoverageState::Fetched),
    ] {
        let range = TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end));
        let claim = CoveredRange { range, state };
        model.add(claim);
        store.write(&[SeriesWrite { series: series(), candles: Vec::new(), claims: vec![claim] }]).await.unwrap();
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM coverage").fetch_one(&store.readers).await.unwrap();
        assert_eq!(usize::try_from(rows).unwrap(), model.ranges().len(), "after {claim:?}");
    }
}

#[tokio::test]
async fn readers_do_not_wait_for_writer() {
    let folder = TempDir::new().unwrap();
    let store = SqliteStore::open(&url(&folder.path().join("candles.db"))).await.unwrap();
    store.write(&batch(3)).await.unwrap();
    let mut transaction = store.writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
    sqlx::query("DELETE FROM candles").execute(&mut *transaction).await.unwrap();
    assert_eq!(count(&store).await, 3);
    store.ping().await.unwrap();
    transaction.rollback().await.unwrap();
}

#[tokio::test]
async fn queries_use_the_primary_key() {
    let store = SqliteStore::in_memory().await.unwrap();
    for statement in [candles::FIRST, candles::LAST, candles::RANGES] {
        let statement_text = format!("EXPLAIN QUERY PLAN {statement}");
        let mut plan = sqlx::query_as::<_, (i64, i64, i64, String)>(AssertSqlSafe(statement_text));
        for value in [1, 0, 100, 10] {
            plan = plan.bind(value);
        }
        let steps: Vec<String> = plan.fetch_all(&store.writer).await.unwrap().into_iter().map(|step| step.3).collect();
        assert!(steps.iter().any(|step| step.contains("SEARCH")), "{steps:?}");
        let slow =
            steps.iter().find(|step| step.starts_with("SCAN") && !step.contains("CONSTANT") || step.contains("TEMP"));
        assert_eq!(slow, None, "{statement}: {steps:?}");
    }
}

#[test]
fn migrations_match_the_folder_in_order() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
    let mut files: Vec<i64> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.split_once('_').unwrap().0.parse().unwrap())
        .collect();
    files.sort_unstable();
    assert_eq!(files, open::versions());
}

#[test]
fn multi_row_statement_needs_few_round_trips() {
    let statements = MultiRow::new("INSERT INTO t", "(?)", "RETURNING 1");
    let rows: Vec<i64> = (0..1_000).collect();
    let chunks: Vec<_> = statements.chunks(&rows).map(|(statement, chunk)| (statement.0, chunk)).collect();
    assert!(chunks.len() < 20, "{}", chunks.len());
    for (statement, chunk) in &chunks {
        assert_eq!(statement.matches('?').count(), chunk.len());
    }
    assert_eq!(chunks.iter().flat_map(|(_, chunk)| *chunk).copied().collect::<Vec<_>>(), rows);
    assert_eq!(statements.chunks::<i64>(&[]).count(), 0);
}

#[tokio::test]
async fn writer_works_after_rollback_by_sqlite() {
    let folder = TempDir::new().unwrap();
    let store = SqliteStore::open(&url(&folder.path().join("candles.db"))).await.unwrap();
    let mut writer = store.writer.acquire().await.unwrap();
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
    // As SQLite does on a full disk, without the driver noticing.
    sqlx::query("ROLLBACK").execute(&mut *transaction).await.unwrap();
    drop(transaction);
    drop(writer);
    store.write(&batch(10)).await.unwrap();
    assert_eq!(store.candles(&series(), all_time(), Take::First(u32::MAX)).await.unwrap(), batch(10)[0].candles);
}
