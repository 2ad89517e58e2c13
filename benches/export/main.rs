//! Throughput and memory of `candlewick export`, compared to a baseline: reading the same rows through one cursor of
//! the same driver and discarding them. The export runs as a separate process, measured from its start to its end; its
//! peak memory is read from `/proc`.
//!
//! `cargo bench --bench export -- [ROWS]`, default 5,000,000. `--features parquet` also measures Parquet, which
//! compresses and has no throughput goal. `BENCH_KEEP=FOLDER` writes the files to that folder and does not delete them.

#![expect(clippy::disallowed_methods, reason = "a bench measures system time")]

#[path = "../../tests/it/support/servers/mod.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "shared with the tests")]
mod servers;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use candlewick::clock::Clock;
use candlewick::model::{CoverageState, CoveredRange, ExchangeId, Interval, Series, TimeRange, Timestamp};
use candlewick::store::postgres::{Options, PostgresStore};
use candlewick::store::sqlite::SqliteStore;
use candlewick::store::{CandleStore, SeriesWrite, Store};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const READ: &str = "SELECT open_time, open, high, low, close, volume, quote_volume, trades, revision FROM candles \
    WHERE series_id = 1 ORDER BY open_time";

/// Number of measurements; the best one counts.
const ROUNDS: usize = 3;

async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let clock = Clock::system();
    let deadline = clock.now() + Duration::from_mins(1);
    while !holds().await {
        assert!(clock.now() < deadline, "timed out waiting until {what}");
        clock.sleep(Duration::from_millis(20)).await;
    }
}

/// Claims coverage of `rows` minutes for the first series of a new store. The rows are inserted with SQL.
async fn claim(store: &dyn CandleStore, rows: i64) {
    let series =
        Series { exchange: ExchangeId::BINANCE, symbol: "BTC/USDT".parse().expect("a symbol"), interval: Interval::M1 };
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(rows * 60));
    let claims = vec![CoveredRange { range, state: CoverageState::Fetched }];
    store.write(&[SeriesWrite { series, candles: Vec::new(), claims }]).await.expect("claimed");
}

/// A SQL expression for both databases: a decimal string that differs from row to row.
fn digits(seed: &str, whole: u32, fraction: u32) -> String {
    format!("({whole} + {seed} % 1009) || '.' || ({fraction} + {seed} % 7919)")
}

fn values() -> [String; 6] {
    let price = |add: u32| digits("(minute * 7)", 67_000 + add, 10_001);
    [price(100), price(2_000), price(0), price(110), digits("minute", 12, 34_001), digits("minute", 827_160, 12_001)]
}

/// The baseline: reads the rows through a cursor and discards them.
macro_rules! cursor {
    ($connection:expr, $rows:expr) => {{
        let start = Instant::now();
        let mut found = sqlx::query(READ).fetch(&mut $connection);
        let mut count = 0;
        while let Some(row) = found.try_next().await.expect("a row") {
            black_box(row);
            count += 1;
        }
        drop(found);
        assert_eq!(count, $rows);
        start.elapsed()
    }};
}

/// Duration and peak memory (in kB) of an export.
async fn export(url: &str, rows: i64, output: Option<&Path>) -> (Duration, u64) {
    let until = (rows * 60_000).to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_candlewick"));
    command.args(["export", "--exchange", "binance", "--symbol", "BTC/USDT", "--since", "0", "--until", &until]);
    if let Some(path) = output {
        command.arg("--output").arg(path);
    }
    let start = Instant::now();
    let mut child = command
        .env_clear()
        .env("DATABASE_URL", url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut memory = 0;
    let status = loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        memory = memory.max(peak.unwrap_or(0));
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        Clock::system().sleep(Duration::from_millis(2)).await;
    };
    let took = start.elapsed();
    let mut stderr = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("piped"), &mut stderr).expect("text");
    assert!(status.success() && stderr.trim_end().ends_with("complete"), "{stderr}");
    (took, memory)
}

fn rate(rows: i64, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few millions")]
    let rows = rows as f64;
    rows / took.as_secs_f64()
}

fn show(what: &str, rows: i64, (took, memory): (Duration, u64), baseline: Duration) {
    let (measured, baseline) = (rate(rows, took), rate(rows, baseline));
    let megabytes = memory.div_ceil(1_024);
    let goal = if what.contains("CSV") { "goal 0.5" } else { "" };
    println!(
        "{what:<34} {measured:>10.0} {baseline:>10.0} rows/s {:>6.2}  {goal:<8} {megabytes:>5} MB  goal 100",
        measured / baseline
    );
}

#[tokio::main]
async fn main() {
    let rows: i64 = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(5_000_000);
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = std::env::var_os("BENCH_KEEP").map_or_else(|| temporary.path().to_owned(), PathBuf::from);

    let sqlite_url = format!("sqlite://{}", folder.join("candles.db").display());
    let store = SqliteStore::open(&sqlite_url).await.expect("SQLite");
    claim(&store, rows).await;
    store.close().await;
    let mut file = SqliteConnection::connect(&sqlite_url).await.expect("SQLite");
    let columns = values().join(", ");
    let fill = format!(
        "INSERT INTO candles WITH RECURSIVE minutes (minute) AS (SELECT 0 UNION ALL SELECT minute + 1 FROM minutes \
         WHERE minute + 1 < {rows}) SELECT 1, minute * 60000, {columns}, minute % 997, 0 FROM minutes"
    );
    file.execute(AssertSqlSafe(fill)).await.expect("filled");

    let postgres_url = servers::database().await;
    let options = Options { connections: 2, statement_timeout: Duration::from_mins(10) };
    let store = PostgresStore::open(&postgres_url, &options).await.expect("PostgreSQL");
    claim(&store, rows).await;
    store.close().await;
    let mut server = PgConnection::connect(&postgres_url).await.expect("PostgreSQL");
    let columns = values().map(|value| format!("({value})::numeric")).join(", ");
    let fill = format!(
        "INSERT INTO candles SELECT 1, minute * 60000, {columns}, minute % 997, 0 \
         FROM generate_series(0::bigint, {rows} - 1) AS minute"
    );
    server.execute(AssertSqlSafe(fill)).await.expect("filled");
    server.execute("VACUUM ANALYZE candles").await.expect("analysed");

    println!("{:<34} {:>10} {:>10} {:<6} {:>6}", "", "candlewick", "baseline", "", "ratio");
    let parquet = cfg!(feature = "parquet").then(|| folder.join("candles.parquet"));
    let outputs =
        [("CSV to a sink", None), ("CSV to a file", Some(folder.join("candles.csv"))), ("Parquet", parquet.clone())];
    for (name, url) in [("SQLite", &sqlite_url), ("PostgreSQL", &postgres_url)] {
        let mut baseline = Duration::MAX;
        let mut results = [(Duration::MAX, 0); 3];
        // Interleaved, so that other load on the machine affects all measurements.
        for _ in 0..ROUNDS {
            let took = if name == "SQLite" { cursor!(file, rows) } else { cursor!(server, rows) };
            baseline = baseline.min(took);
            for (best, (what, path)) in results.iter_mut().zip(&outputs) {
                if *what != "Parquet" || parquet.is_some() {
                    let (took, memory) = export(url, rows, path.as_deref()).await;
                    *best = (best.0.min(took), best.1.max(memory));
                }
            }
        }
        for (best, (what, _)) in results.into_iter().zip(&outputs).filter(|(best, _)| best.0 < Duration::MAX) {
            show(&format!("{name}: {what} : cursor"), rows, best, baseline);
        }
    }
}
