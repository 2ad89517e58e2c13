//! Failed exports: the error says what to do, and no partial output file remains.

use std::io::Read;
use std::process::{Command, Stdio};

use candlewick::model::{Instrument, MarketKind};

use super::*;

on_each_store! {
    killed_export_leaves_no_output_file
    full_disk_is_an_error
    closed_pipe_is_not_an_error
    missing_data_error_names_the_fix
}

/// Checks that a run failed with one line on stderr. Returns that line.
fn expect_failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(stderr.starts_with("candlewick: ") && stderr.trim_end().lines().count() == 1, "{stderr}");
    stderr
}

async fn write_all_candles(fixture: &StoreFixture) {
    fixture.write_candles(0..MINUTES, vec![claim(0, MINUTES, CoverageState::Fetched)]).await;
}

impl StoreFixture {
    /// An export in a shell that first runs `preparation`.
    fn export_after(&self, preparation: &str, extra: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{preparation}; exec \"$0\" export --exchange binance --symbol BTC/USDT \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_candlewick")).args(extra).current_dir(self.folder.path());
        command.env_clear().env("DATABASE_URL", &self.url).stdin(Stdio::null());
        command
    }
}

/// A file size limit kills the process in the middle of the first page.
async fn killed_export_leaves_no_output_file(fixture: StoreFixture) {
    write_all_candles(&fixture).await;
    let output = fixture.export_after("ulimit -f 256", &["--output", "btc.csv"]).output().unwrap();
    assert_eq!(output.status.code(), None, "killed by a signal: {output:?}");
    let files = fixture.files();
    assert!(files.len() == 1 && files[0].starts_with(".btc.csv."), "{files:?}");
    // The leftover temporary file does not disturb the next export.
    expect_success(fixture.export(&["--output", "btc.csv"]));
    assert_eq!(fixture.files()[1..], ["btc.csv", "btc.csv.coverage.json"]);
}

/// With the signal ignored, writes fail as on a full disk.
async fn full_disk_is_an_error(fixture: StoreFixture) {
    write_all_candles(&fixture).await;
    fs::write(fixture.folder.path().join("btc.csv"), "an older export").unwrap();
    for format in ["csv", "ndjson"] {
        let preparation = "trap '' XFSZ; ulimit -f 256";
        let output = fixture.export_after(preparation, &["--output", "btc.csv", "--format", format]).output().unwrap();
        let stderr = expect_failure(&output);
        assert!(stderr.contains("btc.csv cannot be written: File too large"), "{stderr}");
    }
    assert_eq!(fixture.files(), ["btc.csv"], "no temporary file is left");
    assert_eq!(fs::read_to_string(fixture.folder.path().join("btc.csv")).unwrap(), "an older export");
    if Path::new("/dev/full").exists() {
        let stderr = expect_failure(&fixture.export_after("exec >/dev/full", &[]).output().unwrap());
        assert!(stderr.contains("standard output cannot be written to: No space left on device"), "{stderr}");
    }
}

async fn closed_pipe_is_not_an_error(fixture: StoreFixture) {
    write_all_candles(&fixture).await;
    let mut child = fixture.export_after(":", &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut start = [0; 9];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    assert_eq!(&start, b"timestamp");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

async fn missing_data_error_names_the_fix(fixture: StoreFixture) {
    fixture.write_candles(0..100, vec![claim(0, 100, CoverageState::Fetched)]).await;
    for (arguments, expected) in [
        (
            &["--interval", "5m"][..],
            "the store has no 5m candles of binance BTC/USDT, only 1m; `candlewick backfill --exchange binance --symbol \
             BTC/USDT --interval 5m` fetches them",
        ),
        (&["--symbol", "BTC-EUR"], "the store has no data of binance BTC/EUR; a running service stores new candles"),
        (&["--symbol", "bitcoin"], "`bitcoin` is not a market: expected BASE/QUOTE"),
        (
            &["--since", "2023-01-01", "--until", "2023-02-01"],
            "the store has no coverage of binance BTC/USDT 1m from 2023-01-01 to 2023-02-01; it covers \
             2024-01-01 to 2024-01-01T01:40:00Z; `candlewick backfill --exchange binance --symbol BTC/USDT --interval 1m \
             --since 2023-01-01 --until 2023-02-01` fetches the range",
        ),
        (
            &["--since", "2024-02-01", "--until", "2024-01-01"],
            "--since (2024-02-01) must be before --until (2024-01-01)",
        ),
        (&["--since", "2999-01-01", "--until", "2999-02-01"], "there is no closed 1m candle from 2999-01-01"),
        (&["--output", "."], ". exists and is not a regular file"),
        (&["--output", "no/such/folder.csv"], "no/such/folder.csv cannot be written: No such file"),
        (&["--format", "parquet"], "parquet"),
    ] {
        // clap accepts an argument only once.
        let market: &[&str] = if arguments.contains(&"--symbol") { &[] } else { &["--symbol", "BTC/USDT"] };
        let all = [&["export", "--exchange", "binance"], market, arguments].concat();
        let stderr = expect_failure(&process::run(fixture.folder.path(), &all, &[("DATABASE_URL", &fixture.url)]));
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
    assert_eq!(fixture.files(), [""; 0]);

    // With a stored listing, any spelling of a market is accepted and an unknown one gets a suggestion.
    let instrument = Instrument::new(ExchangeId::BINANCE, series().symbol, "BTCUSDT");
    fixture.store.put_instruments(ExchangeId::BINANCE, MarketKind::Spot, &[instrument], minute(0)).await.unwrap();
    let export = |symbol| {
        let arguments = ["export", "--exchange", "binance", "--symbol", symbol, "--until", "2024-01-01T01:40:00Z"];
        process::run(fixture.folder.path(), &arguments, &[("DATABASE_URL", &fixture.url)])
    };
    let stderr = expect_failure(&export("BTC/USDTT"));
    assert!(
        stderr.contains("binance does not list BTC/USDTT") && stderr.contains("did you mean BTC/USDT?"),
        "{stderr}"
    );
    assert!(expect_success(export("btcusdt")).1.contains("100 candles of binance BTC/USDT 1m"));
}

#[test]
fn export_creates_no_store() {
    let folder = TempDir::new().unwrap();
    let arguments = ["export", "--exchange", "binance", "--symbol", "BTC/USDT"];
    for (url, expected) in
        [("sqlite://data/none.db", "there is no store at data/none.db"), ("sqlite://:memory:", "GET /v1/history")]
    {
        let stderr = expect_failure(&process::run(folder.path(), &arguments, &[("DATABASE_URL", url)]));
        assert!(stderr.contains(expected), "{stderr}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
