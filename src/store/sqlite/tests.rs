//! What only this backend promises; the rest is in the contract suite.

use std::path::Path;

use futures_util::FutureExt;
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;

use super::*;
use crate::model::{CoveredRange, Interval, Knowledge};

fn series() -> Series {
    Series { exchange: ExchangeId::Kraken, symbol: "BTC/USD".parse().unwrap(), interval: Interval::M1 }
}

fn ever() -> TimeRange {
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
    let claims = vec![CoveredRange { range, state: Knowledge::Observed }];
    [SeriesWrite { series: series(), candles: (0..minutes).map(candle).collect(), claims }]
}

async fn count(store: &SqliteStore) -> usize {
    store.candles(&series(), ever(), Take::First(u32::MAX)).await.unwrap().len()
}

fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

async fn refused(url: &str) -> String {
    match SqliteStore::open(url).await {
        Err(StoreError::Open(sentence)) => sentence,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{url} was opened"),
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_said_in_one_sentence_with_its_path() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, "this is no database, and long enough to have a header of its own: ".repeat(20)).unwrap();
    // A file in place of the folder, a folder in place of the file, a file of another kind.
    for (path, shown) in [
        (file.join("sub/candles.db"), file.join("sub")),
        (home.path().into(), home.path().into()),
        (file.clone(), file),
    ] {
        let sentence = refused(&url(&path)).await;
        assert!(sentence.contains(&shown.display().to_string()), "{sentence}");
        assert!(sentence.contains("store.url"), "{sentence}");
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
    }
    for url in ["", "sqlite:", "sqlite://", "postgres://db", "sqlite://a.db?mode=ro", "sqlite://a\0b"] {
        assert!(refused(url).await.contains("store.url"), "{url}");
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("candles.db");
    let store = SqliteStore::open(&url(&path)).await.unwrap();
    sqlx::query("UPDATE _sqlx_migrations SET version = 9000 + version").execute(&store.writer).await.unwrap();
    store.close().await;
    let sentence = refused(&url(&path)).await;
    assert!(sentence.contains("another version of candlewick"), "{sentence}");
    assert!(sentence.contains(&path.display().to_string()), "{sentence}");
}

/// A database of the version before knows two states of a market; the third came with migration 4.
#[tokio::test]
async fn a_listing_of_an_older_version_keeps_its_states() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("candles.db");
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
    let listed = store.instruments(ExchangeId::Kraken).await.unwrap().instruments;
    let statuses: Vec<&str> = listed.iter().map(|one| one.status.as_str()).collect();
    assert_eq!(statuses, ["trading", "delisted"]);
}

#[tokio::test]
async fn memory_can_be_named_by_url() {
    let (one, two) = (SqliteStore::open("sqlite::memory:").await.unwrap(), SqliteStore::in_memory().await.unwrap());
    one.write(&batch(3)).await.unwrap();
    assert_eq!((count(&one).await, count(&two).await), (3, 0), "each has its own");
}

/// A killed process leaves its files as they are at that moment.
#[tokio::test]
async fn what_was_committed_survives_a_kill() {
    let home = TempDir::new().unwrap();
    let store = SqliteStore::open(&url(&home.path().join("candles.db"))).await.unwrap();
    for minutes in [10, 20, 30] {
        store.write(&batch(minutes)).await.unwrap();
        let after = TempDir::new().unwrap();
        for suffix in ["", "-wal"] {
            let name = format!("candles.db{suffix}");
            std::fs::copy(home.path().join(&name), after.path().join(&name)).unwrap();
        }
        let again = SqliteStore::open(&url(&after.path().join("candles.db"))).await.unwrap();
        assert_eq!(count(&again).await, usize::try_from(minutes).unwrap());
        let known = again.coverage(&series(), ever()).await.unwrap();
        assert_eq!(known.ranges(), batch(minutes)[0].claims);
    }
}

#[tokio::test]
async fn closing_folds_the_log_into_the_file() {
    let home = TempDir::new().unwrap();
    let store = SqliteStore::open(&url(&home.path().join("candles.db"))).await.unwrap();
    store.write(&batch(10)).await.unwrap();
    assert_eq!(count(&store).await, 10);
    store.close().await;
    let files: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["candles.db"]);
}

#[tokio::test]
async fn what_cannot_be_understood_is_corrupt() {
    for (damage, word) in [
        ("UPDATE candles SET high = 'much' WHERE open_time = 0", "much"),
        ("UPDATE candles SET close = '' WHERE open_time = 0", "kraken:BTC/USD:1m"),
        ("UPDATE candles SET trades = -1 WHERE open_time = 0", "kraken:BTC/USD:1m"),
        ("UPDATE candles SET revision = 5000000000 WHERE open_time = 0", "kraken:BTC/USD:1m"),
    ] {
        let store = SqliteStore::in_memory().await.unwrap();
        store.write(&batch(3)).await.unwrap();
        sqlx::query(damage).execute(&store.writer).await.unwrap();
        match store.candles(&series(), ever(), Take::Last(9)).await {
            Err(StoreError::Corrupt(what)) => assert!(what.contains(word), "{what}"),
            other => panic!("{damage}: {other:?}"),
        }
        let rest = TimeRange::new(Timestamp::from_secs(60), Timestamp::MAX);
        assert_eq!(store.candles(&series(), rest, Take::Last(9)).await.unwrap().len(), 2, "the rest is still there");
    }
    let store = SqliteStore::in_memory().await.unwrap();
    store.write(&batch(3)).await.unwrap();
    sqlx::query("UPDATE coverage SET state = 'guessed'").execute(&store.writer).await.unwrap();
    assert!(
        matches!(store.coverage(&series(), ever()).await, Err(StoreError::Corrupt(what)) if what.contains("guessed"))
    );
    sqlx::query(
        "INSERT INTO instruments (exchange, symbol, native, status) VALUES ('kraken', 'BTC', 'BTC', 'trading')",
    )
    .execute(&store.writer)
    .await
    .unwrap();
    let listing = store.instruments(ExchangeId::Kraken).await;
    assert!(matches!(listing, Err(StoreError::Corrupt(what)) if what.contains("BTC")));
}

/// Stopped at any point a write leaves all of itself or nothing, and the next one works.
#[tokio::test]
async fn a_write_that_is_cancelled_leaves_nothing_half_done() {
    let store = SqliteStore::in_memory().await.unwrap();
    for polls in 1..40 {
        {
            let batch = batch(200);
            let mut write = std::pin::pin!(store.write(&batch));
            for _ in 0..polls {
                if write.as_mut().now_or_never().is_some() {
                    break;
                }
                // Lets the database's own thread get on.
                std::thread::yield_now();
                tokio::task::yield_now().await;
            }
        }
        let rows = count(&store).await;
        assert!(rows == 0 || rows == 200, "{rows} rows");
        let known = store.coverage(&series(), ever()).await.unwrap();
        assert_eq!(known.ranges().len(), usize::from(rows == 200));
    }
    store.write(&batch(200)).await.unwrap();
    assert_eq!(count(&store).await, 200);
}

/// Reading would hide it if neighbours of the same state stood in rows of their own.
#[tokio::test]
async fn the_ledger_takes_no_more_rows_than_it_must() {
    let store = SqliteStore::in_memory().await.unwrap();
    let mut model = Coverage::default();
    for (start, end, state) in [
        (0, 10, Knowledge::Observed),
        (10, 20, Knowledge::Derived),
        (10, 20, Knowledge::Observed),
        (30, 40, Knowledge::Fetched),
        (20, 30, Knowledge::Observed),
        (5, 35, Knowledge::Empty),
        (0, 30, Knowledge::Fetched),
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
async fn readers_do_not_wait_for_a_writer() {
    let home = TempDir::new().unwrap();
    let store = SqliteStore::open(&url(&home.path().join("candles.db"))).await.unwrap();
    store.write(&batch(3)).await.unwrap();
    let mut writing = store.writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
    sqlx::query("DELETE FROM candles").execute(&mut *writing).await.unwrap();
    assert_eq!(count(&store).await, 3);
    store.ping().await.unwrap();
    writing.rollback().await.unwrap();
}

#[tokio::test]
async fn the_questions_use_the_primary_key() {
    let store = SqliteStore::in_memory().await.unwrap();
    for statement in [read::FIRST, read::LAST, read::RANGES] {
        let explain = format!("EXPLAIN QUERY PLAN {statement}");
        let mut plan = sqlx::query_as::<_, (i64, i64, i64, String)>(AssertSqlSafe(explain));
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
fn every_migration_of_the_folder_is_embedded_in_order() {
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
fn a_page_of_rows_takes_few_round_trips() {
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
async fn what_sqlite_undoes_by_itself_does_not_stop_the_writer() {
    let home = TempDir::new().unwrap();
    let store = SqliteStore::open(&url(&home.path().join("candles.db"))).await.unwrap();
    let mut writer = store.writer.acquire().await.unwrap();
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
    // As SQLite does where the disk is full; the driver is not told.
    sqlx::query("ROLLBACK").execute(&mut *transaction).await.unwrap();
    drop(transaction);
    drop(writer);
    store.write(&batch(10)).await.unwrap();
    assert_eq!(store.candles(&series(), ever(), Take::First(u32::MAX)).await.unwrap(), batch(10)[0].candles);
}
