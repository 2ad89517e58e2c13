//! `candlewick export`, run as a process, on each store.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use candlewick::model::{Candle, CoverageState, CoveredRange, ExchangeId, Interval, Series, TimeRange, Timestamp};
use candlewick::store::postgres::{Options, PostgresStore};
use candlewick::store::sqlite::SqliteStore;
use candlewick::store::{SeriesWrite, Store};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{process, servers};

/// 2024-01-01T00:00:00Z, in minutes.
const START_MINUTE: i64 = 28_401_120;

/// Minutes of the market: two full pages of an export and part of a third.
const MINUTES: i64 = 10_500;

/// A store that stays open during the export, as in a running service, and a folder to run in.
struct StoreFixture {
    store: Arc<dyn Store>,
    url: String,
    folder: TempDir,
}

async fn sqlite() -> StoreFixture {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite://{}/candles.db", folder.path().display());
    StoreFixture { store: Arc::new(SqliteStore::open(&url).await.unwrap()), url, folder }
}

async fn postgres() -> StoreFixture {
    let url = servers::database().await;
    let options = Options { connections: 2, statement_timeout: Duration::from_secs(30) };
    StoreFixture {
        store: Arc::new(PostgresStore::open(&url, &options).await.unwrap()),
        url,
        folder: TempDir::new().unwrap(),
    }
}

macro_rules! on_each_store {
    ($($case:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test] async fn $case() { super::$case(super::sqlite().await).await; })*
        }
        mod on_postgres {
            $(#[tokio::test] async fn $case() { super::$case(super::postgres().await).await; })*
        }
    };
}

mod failures;
#[cfg(feature = "parquet")]
mod parquet;

on_each_store! {
    exports_every_row_once
    writes_coverage_file_next_to_output
    exports_requested_range
    exports_markets_with_unusual_symbols
}

fn series() -> Series {
    Series { exchange: ExchangeId::BINANCE, symbol: "BTC/USDT".parse().unwrap(), interval: Interval::M1 }
}

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_secs((START_MINUTE + minute) * 60)
}

fn claim(start: i64, end: i64, state: CoverageState) -> CoveredRange {
    CoveredRange { range: TimeRange::new(minute(start), minute(end)), state }
}

fn candle(n: i64) -> Candle {
    let price = Decimal::new(4_200_000 + n * 7 % 1_000, 2).normalize();
    Candle {
        timestamp: minute(n),
        open: price,
        high: price + Decimal::ONE,
        low: price - Decimal::ONE,
        close: price,
        volume: Decimal::new(n + 1, 8).normalize(),
        quote_volume: (n % 3 > 0).then(|| (price * Decimal::new(n, 8)).normalize()),
        trades: (n % 4 > 0).then_some(n.unsigned_abs()),
        closed: true,
        revision: 0,
    }
}

/// The expected CSV line of a candle, formatted independently of the program.
fn csv_line(candle: &Candle) -> String {
    let Candle { open, high, low, close, volume, .. } = candle;
    let quote = candle.quote_volume.map(|volume| volume.to_string()).unwrap_or_default();
    let trades = candle.trades.map(|count| count.to_string()).unwrap_or_default();
    let (at, revision) = (candle.timestamp.millis(), candle.revision);
    format!("{at},{open},{high},{low},{close},{volume},{quote},{trades},true,{revision}")
}

impl StoreFixture {
    /// Writes the candles of these minutes, and the claims.
    async fn write_candles(&self, minutes: impl Iterator<Item = i64>, claims: Vec<CoveredRange>) {
        let candles = minutes.map(candle).collect();
        self.store.write(&[SeriesWrite { series: series(), candles, claims }]).await.unwrap();
    }

    fn export(&self, extra: &[&str]) -> Output {
        let arguments = ["export", "--exchange", "binance", "--symbol", "BTC/USDT"];
        process::run(self.folder.path(), &[&arguments, extra].concat(), &[("DATABASE_URL", &self.url)])
    }

    /// Files in the folder, without those of the store.
    fn files(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with("candles.db"));
        names.sort();
        names
    }
}

/// Checks that a run succeeded. Returns its stdout and stderr.
fn expect_success(output: Output) -> (String, String) {
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    (String::from_utf8(output.stdout).unwrap(), stderr)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

async fn exports_every_row_once(fixture: StoreFixture) {
    // Every seventh minute has no trades.
    let traded = || (0..MINUTES).filter(|n| n % 7 != 3);
    fixture.write_candles(traded(), vec![claim(0, MINUTES, CoverageState::Fetched)]).await;
    let until = minute(MINUTES).to_string();
    let (csv, stderr) = expect_success(fixture.export(&["--until", &until]));
    let mut expected = vec!["timestamp,open,high,low,close,volume,quote_volume,trades,closed,revision".to_owned()];
    expected.extend(traded().map(|n| csv_line(&candle(n))));
    assert_eq!(csv.lines().collect::<Vec<_>>(), expected);
    assert!(csv.ends_with('\n'));
    assert_eq!(
        stderr,
        "candlewick: 9,000 candles of binance BTC/USDT 1m from 2024-01-01 to 2024-01-08T07:00:00Z, complete\n"
    );

    let (ndjson, _) = expect_success(fixture.export(&["--until", &until, "--format", "ndjson"]));
    assert_eq!(ndjson.lines().count(), traded().count());
    let first = r#"{"timestamp":1704067200000,"open":42000,"high":42001,"low":41999,"close":42000,"volume":0.00000001,"quote_volume":null,"trades":null,"closed":true,"revision":0}"#;
    assert_eq!(ndjson.lines().next(), Some(first));

    // Ranges that end at a page boundary, and one minute around it.
    for minutes in [5_000, 5_001, 5_002] {
        let all = (0..minutes).filter(|n| n % 7 != 3).count();
        let (csv, _) = expect_success(fixture.export(&["--until", &minute(minutes).to_string()]));
        assert_eq!(csv.lines().count(), all + 1, "{minutes}");
    }
    let end_of_rows = |rows: i64| minute(rows * 7 / 6);
    for rows in [4_998, 5_004] {
        let (csv, _) = expect_success(fixture.export(&["--until", &end_of_rows(rows).to_string()]));
        assert_eq!(csv.lines().count() - 1, usize::try_from(rows).unwrap());
    }
}

async fn writes_coverage_file_next_to_output(fixture: StoreFixture) {
    let claims = vec![
        claim(0, 6_000, CoverageState::Fetched),
        claim(6_000, 6_060, CoverageState::Unavailable),
        claim(6_060, 7_000, CoverageState::Observed),
        claim(7_100, 7_200, CoverageState::Empty),
        claim(7_200, MINUTES, CoverageState::Fetched),
    ];
    let has_candle = |n: &i64| !(6_000..6_060).contains(n) && !(7_000..7_200).contains(n);
    fixture.write_candles((0..MINUTES).filter(has_candle), claims).await;
    let until = minute(MINUTES + 10).to_string();
    let (stdout, stderr) = expect_success(fixture.export(&["--until", &until, "--output", "btc.csv"]));
    assert_eq!(stdout, "");
    assert_eq!(fixture.files(), ["btc.csv", "btc.csv.coverage.json"]);
    assert_eq!(fs::read_to_string(fixture.folder.path().join("btc.csv")).unwrap().lines().count(), 10_500 - 260 + 1);

    let mut coverage = read_json(&fixture.folder.path().join("btc.csv.coverage.json"));
    assert!(coverage["created_at"].take().as_i64() > Some(1_704_067_200_000));
    let range = |start: i64, end: i64, key: &str, value: &str| json!({"start": minute(start).millis(), "end": minute(end).millis(), key: value});
    assert_eq!(
        coverage,
        json!({
            "exchange": "binance", "symbol": "BTC/USDT", "interval": "1m", "version": env!("CARGO_PKG_VERSION"),
            "start": minute(0).millis(), "end": minute(MINUTES + 10).millis(), "candles": 10_240, "created_at": null,
            "complete": false,
            "ranges": [
                range(0, 6_000, "state", "fetched"),
                range(6_000, 6_060, "state", "unavailable"),
                range(6_060, 7_000, "state", "observed"),
                range(7_100, 7_200, "state", "empty"),
                range(7_200, MINUTES, "state", "fetched"),
            ],
            "gaps": [
                range(6_000, 6_060, "reason", "unavailable"),
                range(7_000, 7_100, "reason", "unknown"),
                range(MINUTES, MINUTES + 10, "reason", "unknown"),
            ],
        })
    );
    assert_eq!(
        stderr,
        "candlewick: 10,240 candles of binance BTC/USDT 1m from 2024-01-01 to 2024-01-08T07:10:00Z, with 3 gaps: \
         2024-01-05T04:00:00Z to 2024-01-05T05:00:00Z (not available from the exchange), \
         2024-01-05T20:40:00Z to 2024-01-05T22:20:00Z, 2024-01-08T07:00:00Z to 2024-01-08T07:10:00Z\n\
         candlewick: to fetch the missing candles: candlewick backfill --exchange binance --symbol BTC/USDT --interval 1m \
         --since 2024-01-05T20:40:00Z --until 2024-01-08T07:10:00Z\n"
    );
}

async fn exports_markets_with_unusual_symbols(fixture: StoreFixture) {
    for symbol in ["1000SATS/USDT", "币安人生/USDT", "AAPLx/USDT"] {
        let series = Series { symbol: symbol.parse().unwrap(), ..series() };
        let claims = vec![claim(0, 10, CoverageState::Fetched)];
        fixture.store.write(&[SeriesWrite { series, candles: (0..10).map(candle).collect(), claims }]).await.unwrap();
        let until = minute(10).to_string();
        let arguments = ["export", "--exchange", "binance", "--symbol", symbol, "--until", &until];
        let (csv, stderr) =
            expect_success(process::run(fixture.folder.path(), &arguments, &[("DATABASE_URL", &fixture.url)]));
        assert_eq!(csv.lines().count(), 11, "{stderr}");
        assert!(stderr.contains(&format!("binance {} 1m", symbol.to_uppercase())), "{stderr}");
    }
}

async fn exports_requested_range(fixture: StoreFixture) {
    fixture.write_candles(0..4_000, vec![claim(0, 4_000, CoverageState::Fetched)]).await;
    let day: Vec<&str> = vec!["--since", "2024-01-02", "--until", "2024-01-02T01:00:00Z"];
    let (csv, stderr) = expect_success(fixture.export(&day));
    let expected: Vec<String> = (1_440..1_500).map(|n| csv_line(&candle(n))).collect();
    assert_eq!(csv.lines().skip(1).collect::<Vec<_>>(), expected);
    assert!(stderr.contains("60 candles") && stderr.ends_with("complete\n"), "{stderr}");

    // A range known to be empty is complete and exports no candles.
    fixture.write_candles(0..0, vec![claim(-600, 0, CoverageState::Empty)]).await;
    let (csv, stderr) = expect_success(fixture.export(&["--since", "2023-12-31T20:00:00Z", "--until", "2024-01-01"]));
    assert_eq!(csv.lines().count(), 1);
    assert!(stderr.contains(" 0 candles") && stderr.ends_with("complete\n"), "{stderr}");
    // By default an export starts at the first candle.
    let (csv, stderr) = expect_success(fixture.export(&["--until", "2024-01-02", "--output", "day.ndjson"]));
    assert_eq!(csv, "");
    assert!(
        stderr.contains("1,440 candles of binance BTC/USDT 1m from 2024-01-01 to 2024-01-02, complete"),
        "{stderr}"
    );
    assert!(fs::read_to_string(fixture.folder.path().join("day.ndjson")).unwrap().starts_with("{\"timestamp\":"));
}
