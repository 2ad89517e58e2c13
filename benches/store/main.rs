//! Throughput of the candle stores compared to a baseline in the same run. Writes: COPY (PostgreSQL) or a plain insert
//! (SQLite) of the same rows. Pages out of 10^5 and 10^7 rows: the plain query, whose rows are discarded.
//!
//! `cargo bench --bench store`. `BENCH_ROWS=100000` skips the large table.

#![expect(clippy::disallowed_methods, reason = "a bench measures system time")]

#[path = "../../tests/it/support/servers/mod.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "shared with the tests")]
mod servers;

use std::hint::black_box;
use std::time::{Duration, Instant};

use candlewick::clock::Clock;
use candlewick::model::{Candle, CoverageState, CoveredRange, ExchangeId, Interval, Series, TimeRange, Timestamp};
use candlewick::store::postgres::{Options, PostgresStore};
use candlewick::store::sqlite::SqliteStore;
use candlewick::store::{CandleStore, SeriesWrite, Take};
use futures_util::TryStreamExt;
use rust_decimal::Decimal;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows per batch.
const BATCH: i64 = 5_000;
/// Number of batches.
const BATCHES: i64 = 40;
/// Number of series per batch.
const SERIES: i64 = 10;
/// Number of page reads.
const PAGES: u32 = 200;

const COLUMNS: &str = "open_time, open, high, low, close, volume, quote_volume, trades, revision";

async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let clock = Clock::system();
    let deadline = clock.now() + Duration::from_mins(1);
    while !holds().await {
        assert!(clock.now() < deadline, "timed out waiting until {what}");
        clock.sleep(Duration::from_millis(20)).await;
    }
}

fn series(n: i64) -> Series {
    Series {
        exchange: ExchangeId::BINANCE,
        symbol: format!("C{n}/USDT").parse().expect("a symbol"),
        interval: Interval::M1,
    }
}

fn candle(minute: i64) -> Candle {
    let price = Decimal::new(6_700_000 + minute % 10_007, 2);
    Candle {
        timestamp: Timestamp::from_secs(minute * 60),
        open: price,
        high: price + Decimal::ONE,
        low: price - Decimal::ONE,
        close: price + Decimal::new(12, 2),
        volume: Decimal::new(1_234_567 + minute, 5),
        quote_volume: Some(Decimal::new(82_716_049_382 + minute, 4)),
        trades: Some(minute.unsigned_abs() % 997),
        closed: true,
        revision: 0,
    }
}

/// One batch: a range of minutes of each series, with its coverage claim.
fn batch(n: i64) -> Vec<SeriesWrite> {
    let each = BATCH / SERIES;
    let part = |index: i64| {
        let minutes = n * each..(n + 1) * each;
        let range = TimeRange::new(Timestamp::from_secs(minutes.start * 60), Timestamp::from_secs(minutes.end * 60));
        let claims = vec![CoveredRange { range, state: CoverageState::Fetched }];
        SeriesWrite { series: series(index), candles: minutes.map(candle).collect(), claims }
    };
    (0..SERIES).map(part).collect()
}

fn row(out: &mut String, id: usize, candle: &Candle) {
    use std::fmt::Write as _;
    let Candle { open, high, low, close, volume, .. } = candle;
    let (quote, trades) = (candle.quote_volume.unwrap_or_default(), candle.trades.unwrap_or_default());
    let time = candle.timestamp.millis();
    let _ = writeln!(out, "{id}\t{time}\t{open}\t{high}\t{low}\t{close}\t{volume}\t{quote}\t{trades}\t0");
}

fn rate(took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few thousands")]
    let rows = (BATCH * BATCHES) as f64;
    rows / took.as_secs_f64()
}

fn show(what: &str, measured: f64, baseline: f64, unit: &str, goal: &str) {
    println!("{what:<44} {measured:>10.0} {baseline:>10.0} {unit:<8} {:>5.2}  {goal}", measured / baseline);
}

async fn write_to(store: &dyn CandleStore, n: i64) -> Duration {
    let batch = batch(n);
    let start = Instant::now();
    store.write(&batch).await.expect("written");
    start.elapsed()
}

/// Interleaves COPY and batches of the store, so that other load on the machine affects both.
async fn postgres_writes(store: &PostgresStore, connection: &mut PgConnection) {
    connection.execute("CREATE TABLE bare (LIKE candles)").await.expect("a table");
    let (mut new, mut again, mut copied) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for n in 0..BATCHES {
        let mut text = String::new();
        for (id, part) in batch(n).iter().enumerate() {
            part.candles.iter().for_each(|candle| row(&mut text, id, candle));
        }
        let start = Instant::now();
        let mut copy = connection.copy_in_raw("COPY bare FROM STDIN").await.expect("COPY");
        copy.send(text.as_bytes()).await.expect("sent");
        copy.finish().await.expect("copied");
        copied += start.elapsed();
        new += write_to(store, n).await;
        again += write_to(store, n).await;
    }
    show("PostgreSQL: new rows with coverage : COPY", rate(new), rate(copied), "rows/s", "goal 0.45");
    show("PostgreSQL: the same rows again : COPY", rate(again), rate(copied), "rows/s", "");
}

async fn sqlite_writes(store: &SqliteStore, connection: &mut SqliteConnection) {
    connection
        .execute(
            "CREATE TABLE bare (series_id INTEGER, open_time INTEGER, open TEXT, high TEXT, low TEXT, close TEXT, \
             volume TEXT, quote_volume TEXT, trades INTEGER) STRICT",
        )
        .await
        .expect("a table");
    let (mut measured, mut inserted) = (Duration::ZERO, Duration::ZERO);
    for n in 0..BATCHES {
        let rows: Vec<(i64, Vec<String>, Candle)> = (0..)
            .zip(batch(n))
            .flat_map(|(id, part)| part.candles.into_iter().map(move |candle| (id, texts(&candle), candle)))
            .collect();
        let start = Instant::now();
        let mut transaction = connection.begin().await.expect("a transaction");
        // The same number of rows per statement as in the store.
        for chunk in rows.chunks(64) {
            let placeholders = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?)"; chunk.len()].join(",");
            let statement = AssertSqlSafe(format!("INSERT INTO bare VALUES {placeholders}"));
            let mut insert = sqlx::query(statement);
            for (id, texts, candle) in chunk {
                insert = insert.bind(id).bind(candle.timestamp.millis());
                for text in texts {
                    insert = insert.bind(text);
                }
                insert = insert.bind(7_i64);
            }
            insert.execute(&mut *transaction).await.expect("inserted");
        }
        transaction.commit().await.expect("committed");
        inserted += start.elapsed();
        measured += write_to(store, n).await;
    }
    show("SQLite: new rows with coverage : plain insert", rate(measured), rate(inserted), "rows/s", "");
}

fn texts(candle: &Candle) -> Vec<String> {
    let Candle { open, high, low, close, volume, .. } = candle;
    let quote = candle.quote_volume.unwrap_or_default();
    [open, high, low, close, volume, &quote].map(ToString::to_string).into()
}

/// Pages per second, with `size` candles each, spread over a series of `rows` minutes.
async fn pages(store: &dyn CandleStore, series: &Series, rows: i64, size: u32) -> f64 {
    let mut took = Duration::ZERO;
    for n in 0..PAGES {
        let range = page_range(rows, size, n);
        let start = Instant::now();
        let page = store.page(series, range, Take::First(size)).await.expect("a page");
        took += start.elapsed();
        assert_eq!(page.candles.len(), size as usize);
        black_box(page);
    }
    f64::from(PAGES) / took.as_secs_f64()
}

fn page_range(rows: i64, size: u32, n: u32) -> TimeRange {
    let offsets = rows - i64::from(size);
    let first = i64::from(n).wrapping_mul(7_919_111) % offsets.max(1);
    let end = Timestamp::from_secs((first + i64::from(size)) * 60);
    TimeRange::new(Timestamp::from_secs(first * 60), end)
}

/// The baseline: the plain query with the same driver, whose rows are discarded.
macro_rules! baseline_pages {
    ($connection:expr, $id:expr, $rows:expr, $size:expr, $statement:expr) => {{
        let mut took = Duration::ZERO;
        for n in 0..PAGES {
            let range = page_range($rows, $size, n);
            let start = Instant::now();
            let query = sqlx::query(AssertSqlSafe($statement.clone())).bind($id);
            let query = query.bind(range.start().millis()).bind(range.end().millis()).bind(i64::from($size));
            let mut found = query.fetch(&mut $connection);
            let mut count = 0;
            while let Some(row) = found.try_next().await.expect("a row") {
                black_box(row);
                count += 1;
            }
            drop(found);
            took += start.elapsed();
            assert_eq!(count, $size);
        }
        f64::from(PAGES) / took.as_secs_f64()
    }};
}

/// Claims coverage of `rows` minutes. The caller inserts the rows with SQL.
async fn claim(store: &dyn CandleStore, series: &Series, rows: i64) {
    let range = TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(rows * 60));
    let claims = vec![CoveredRange { range, state: CoverageState::Fetched }];
    store.write(&[SeriesWrite { series: series.clone(), candles: Vec::new(), claims }]).await.expect("claimed");
}

#[tokio::main]
async fn main() {
    let large: i64 = std::env::var("BENCH_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(10_000_000);
    let url = servers::database().await;
    let options = Options { connections: 2, statement_timeout: Duration::from_mins(10) };
    let postgres = PostgresStore::open(&url, &options).await.expect("PostgreSQL");
    let mut postgres_connection = PgConnection::connect(&url).await.expect("PostgreSQL");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("candles.db");
    let sqlite_url = format!("sqlite://{}", path.display());
    let sqlite = SqliteStore::open(&sqlite_url).await.expect("SQLite");
    let mut sqlite_connection = SqliteConnection::connect(&sqlite_url).await.expect("SQLite");

    println!("{:<44} {:>10} {:>10} {:<8} {:>5}", "", "candlewick", "baseline", "", "ratio");
    postgres_writes(&postgres, &mut postgres_connection).await;
    sqlite_writes(&sqlite, &mut sqlite_connection).await;

    let select = |one: &str, two: &str, three: &str, four: &str| {
        format!(
            "SELECT {COLUMNS} FROM candles WHERE series_id = {one} AND open_time >= {two} AND open_time < {three} \
             ORDER BY open_time LIMIT {four}"
        )
    };
    let (dollars, marks) = (select("$1", "$2", "$3", "$4"), select("?", "?", "?", "?"));
    let mut small_rates = Vec::new();
    for (name, rows) in [("LARGE5/USDT", 100_000), ("LARGE7/USDT", large)] {
        let series = Series { symbol: name.parse().expect("a symbol"), ..series(0) };
        claim(&postgres, &series, rows).await;
        claim(&sqlite, &series, rows).await;
        let id = format!("(SELECT id FROM series WHERE symbol = '{name}')");
        let values = "67000.01, 67001.01, 66999.01, 67000.13, 12.34567, 827160.4938, 42, 0";
        let into_postgres = format!(
            "INSERT INTO candles SELECT {id}, minute * 60000, {values} FROM generate_series(0::bigint, {rows} - 1) AS minute"
        );
        postgres_connection.execute(AssertSqlSafe(into_postgres)).await.expect("filled");
        postgres_connection.execute("ANALYZE candles").await.expect("analysed");
        let quoted = "'67000.01', '67001.01', '66999.01', '67000.13', '12.34567', '827160.4938', 42, 0";
        let into_sqlite = format!(
            "INSERT INTO candles WITH RECURSIVE minutes (minute) AS (SELECT 0 UNION ALL SELECT minute + 1 FROM minutes \
             WHERE minute + 1 < {rows}) SELECT {id}, minute * 60000, {quoted} FROM minutes"
        );
        sqlite_connection.execute(AssertSqlSafe(into_sqlite)).await.expect("filled");
        let select_id = format!("SELECT {id}");
        let postgres_id: i64 = sqlx::query_scalar(AssertSqlSafe(select_id.clone()))
            .fetch_one(&mut postgres_connection)
            .await
            .expect("an id");
        let sqlite_id: i64 =
            sqlx::query_scalar(AssertSqlSafe(select_id)).fetch_one(&mut sqlite_connection).await.expect("an id");
        for size in [500_u32, 5_000] {
            let baseline = baseline_pages!(postgres_connection, postgres_id, rows, size, dollars);
            let measured = pages(&postgres, &series, rows, size).await;
            show(&format!("PostgreSQL: {size} of {rows} : plain query"), measured, baseline, "pages/s", "goal 0.6");
            small_rates.push(("PostgreSQL", size, measured));
            let baseline = baseline_pages!(sqlite_connection, sqlite_id, rows, size, marks);
            let measured = pages(&sqlite, &series, rows, size).await;
            show(&format!("SQLite: {size} of {rows} : plain query"), measured, baseline, "pages/s", "goal 0.6");
            small_rates.push(("SQLite", size, measured));
        }
    }
    for (kind, size, small) in &small_rates[..4] {
        let large = small_rates[4..].iter().find(|(other, pages, _)| other == kind && pages == size);
        let factor = large.map_or(0.0, |(_, _, large)| small / large);
        println!("{kind}: a page of {size} out of 100 times as many rows takes {factor:.2} times as long (goal 1.3)");
    }
}
