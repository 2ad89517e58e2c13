//! What cannot be exported is said in a sentence that says what to do, and what fails leaves nothing that looks whole.

use std::io::Read;
use std::process::{Command, Stdio};

use candlewick::model::{Instrument, InstrumentStatus};

use super::*;

on_each_store! {
    a_killed_export_leaves_no_file
    a_full_disk_is_an_error
    who_stops_reading_is_not_told_off
    what_the_store_does_not_have_is_said
}

/// What a run that must fail said.
fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(said.starts_with("candlewick: ") && said.trim_end().lines().count() == 1, "{said}");
    said
}

async fn many(kept: &Kept) {
    kept.keep(0..MINUTES, vec![claim(0, MINUTES, Knowledge::Fetched)]).await;
}

impl Kept {
    /// An export in a shell that does this before.
    fn after(&self, preparation: &str, more: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{preparation}; exec \"$0\" export --exchange binance --symbol BTC/USDT \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_candlewick")).args(more).current_dir(self.home.path());
        command.env_clear().env("DATABASE_URL", &self.url).stdin(Stdio::null());
        command
    }
}

/// The limit on the size of a file kills who passes it: in the middle of the first page.
async fn a_killed_export_leaves_no_file(kept: Kept) {
    many(&kept).await;
    let output = kept.after("ulimit -f 256", &["--output", "btc.csv"]).output().unwrap();
    assert_eq!(output.status.code(), None, "a signal ended it: {output:?}");
    let left = kept.files();
    assert!(left.len() == 1 && left[0].starts_with(".btc.csv."), "{left:?}");
    // The next one is not disturbed by what is left.
    succeeded(kept.export(&["--output", "btc.csv"]));
    assert_eq!(kept.files()[1..], ["btc.csv", "btc.csv.coverage.json"]);
}

/// Where the signal is ignored, writing fails as it does on a full disk.
async fn a_full_disk_is_an_error(kept: Kept) {
    many(&kept).await;
    fs::write(kept.home.path().join("btc.csv"), "the one of yesterday").unwrap();
    for format in ["csv", "ndjson"] {
        let shell = "trap '' XFSZ; ulimit -f 256";
        let output = kept.after(shell, &["--output", "btc.csv", "--format", format]).output().unwrap();
        let said = failed(&output);
        assert!(said.contains("btc.csv cannot be written: File too large"), "{said}");
    }
    assert_eq!(kept.files(), ["btc.csv"], "nothing else is left");
    assert_eq!(fs::read_to_string(kept.home.path().join("btc.csv")).unwrap(), "the one of yesterday");
    if Path::new("/dev/full").exists() {
        let said = failed(&kept.after("exec >/dev/full", &[]).output().unwrap());
        assert!(said.contains("standard output cannot be written to: No space left on device"), "{said}");
    }
}

async fn who_stops_reading_is_not_told_off(kept: Kept) {
    many(&kept).await;
    let mut child = kept.after(":", &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut begin = [0; 9];
    child.stdout.take().unwrap().read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"timestamp");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

async fn what_the_store_does_not_have_is_said(kept: Kept) {
    kept.keep(0..100, vec![claim(0, 100, Knowledge::Fetched)]).await;
    for (arguments, expected) in [
        (
            &["--interval", "5m"][..],
            "the store has no candles of 5m of binance BTC/USDT, but of 1m; `candlewick backfill --exchange binance --symbol \
             BTC/USDT --interval 5m` fetches them",
        ),
        (&["--symbol", "BTC-EUR"], "the store has nothing of binance BTC/EUR; a service that collects it fills"),
        (&["--symbol", "bitcoin"], "`bitcoin` is no market: a symbol is written BASE/QUOTE"),
        (
            &["--since", "2023-01-01", "--until", "2023-02-01"],
            "the store knows nothing of binance BTC/USDT 1m from 2023-01-01 to 2023-02-01; what it has lies between \
             2024-01-01 and 2024-01-01T01:40:00Z; `candlewick backfill --exchange binance --symbol BTC/USDT --interval 1m \
             --since 2023-01-01 --until 2023-02-01` fetches it",
        ),
        (
            &["--since", "2024-02-01", "--until", "2024-01-01"],
            "--since (2024-02-01) must lie before --until (2024-01-01)",
        ),
        (&["--since", "2999-01-01", "--until", "2999-02-01"], "no candle of 1m opens and closes from 2999-01-01"),
        (&["--output", "."], ". is there and no ordinary file"),
        (&["--output", "no/such/folder.csv"], "no/such/folder.csv cannot be written: No such file"),
        (&["--format", "parquet"], "parquet"),
    ] {
        // The last word counts: clap takes an argument once.
        let market: &[&str] = if arguments.contains(&"--symbol") { &[] } else { &["--symbol", "BTC/USDT"] };
        let all = [&["export", "--exchange", "binance"], market, arguments].concat();
        let said = failed(&process::run(kept.home.path(), &all, &[("DATABASE_URL", &kept.url)]));
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    assert_eq!(kept.files(), [""; 0]);

    // Where the listing is known, a market may have any of its spellings, and a wrong one is told what is near.
    let listed = Instrument {
        exchange: ExchangeId::Binance,
        symbol: series().symbol,
        native: "BTCUSDT".to_owned(),
        stream_native: None,
        price_step: None,
        amount_step: None,
        status: InstrumentStatus::Trading,
    };
    kept.store.put_instruments(ExchangeId::Binance, &[listed], minute(0)).await.unwrap();
    let asked = |symbol| {
        let arguments = ["export", "--exchange", "binance", "--symbol", symbol, "--until", "2024-01-01T01:40:00Z"];
        process::run(kept.home.path(), &arguments, &[("DATABASE_URL", &kept.url)])
    };
    let said = failed(&asked("BTC/USDTT"));
    assert!(said.contains("binance lists no BTC/USDTT") && said.contains("did you mean BTC/USDT?"), "{said}");
    assert!(succeeded(asked("btcusdt")).1.contains("100 candles of binance BTC/USDT 1m"));
}

#[test]
fn an_export_makes_no_store() {
    let home = TempDir::new().unwrap();
    let asked = ["export", "--exchange", "binance", "--symbol", "BTC/USDT"];
    for (url, expected) in
        [("sqlite://data/none.db", "there is no store at data/none.db"), ("sqlite://:memory:", "GET /v1/history")]
    {
        let said = failed(&process::run(home.path(), &asked, &[("DATABASE_URL", url)]));
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}
