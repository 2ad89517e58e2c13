//! `candlewick backfill`: resumed after a kill, run by the command or by a running service, and rejected.

use std::process::Output;

use candlewick::model::{ExchangeId, Interval, TimeRange};

use crate::support::process::{Process, exchange_urls, merge_env, run};
use crate::support::{Simulation, wait_until};

const PAGES: u32 = 40;

struct Fixture {
    simulation: Simulation,
    folder: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        Self { simulation: Simulation::with_speed(1.0).await, folder: tempfile::tempdir().unwrap() }
    }

    fn environment(&self, listen: &str) -> Vec<(String, String)> {
        let mut environment = exchange_urls(&self.simulation.address.to_string());
        environment.push(("CANDLEWICK__DATA".to_owned(), "live".to_owned()));
        environment.push(("CANDLEWICK__SERVER__LISTEN".to_owned(), listen.to_owned()));
        environment
    }

    /// Runs the command to its end without blocking the runtime.
    async fn backfill(&self, listen: &str, arguments: &[&str]) -> Output {
        let (folder, environment) = (self.folder.path().to_owned(), self.environment(listen));
        let arguments: Vec<String> = ["backfill"].iter().chain(arguments).map(|one| (*one).to_owned()).collect();
        let task = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            run(&folder, &arguments, &merge_env(&[], &environment))
        });
        task.await.unwrap()
    }

    fn range(&self) -> TimeRange {
        let end = Interval::H1.floor(self.simulation.clock.now());
        TimeRange::new(Interval::M1.back(end, PAGES * 1_000), end)
    }

    fn request_count(&self) -> u64 {
        self.simulation.simulator.stats(ExchangeId::BINANCE).rest_requests
    }
}

fn combined_output(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_backfill_resumes_where_it_stopped() {
    let fixture = Fixture::new().await;
    let range = fixture.range();
    let (since, end) = (range.start().to_string(), range.end().to_string());
    let arguments = ["--exchange", "binance", "--symbol", "BTC/USDT", "--since", &since, "--until", &end];
    let no_service = "127.0.0.1:1";
    let environment = fixture.environment(no_service);
    let command: Vec<&str> = ["backfill"].iter().chain(&arguments).copied().collect();
    let mut killed = Process::spawn(fixture.folder.path(), &command, &merge_env(&[], &environment));
    wait_until("some pages are fetched", async || fixture.request_count() > 5).await;
    killed.kill();
    let before = fixture.request_count();
    assert!(before < u64::from(PAGES), "the backfill was killed too late: {before}");
    let completed = fixture.backfill(no_service, &arguments).await;
    assert!(
        completed.status.success() && combined_output(&completed).contains("binance BTC/USDT 1m: complete"),
        "{}",
        combined_output(&completed)
    );
    // Each run also reads the listing and the server time. The interrupted page is fetched again. Pages overlap by one
    // candle on each side, which adds a page.
    let total = fixture.request_count();
    assert!(total <= u64::from(PAGES) + 6, "stored pages were fetched again: {before}, {total}");
    let repeated = fixture.backfill(no_service, &arguments).await;
    assert!(
        repeated.status.success() && combined_output(&repeated).contains("complete"),
        "{}",
        combined_output(&repeated)
    );
    assert!(fixture.request_count() <= total + 2, "only the listing and the server time are read");
}

#[tokio::test(flavor = "multi_thread")]
async fn running_service_performs_backfill() {
    let fixture = Fixture::new().await;
    let environment = fixture.environment("127.0.0.1:0");
    let mut service = Process::spawn(fixture.folder.path(), &[], &merge_env(&[], &environment));
    let listen = service.address().await.to_string();
    service.wait_for_log("ready").await;
    let since = Interval::M1.back(fixture.simulation.clock.now(), 5_000).to_string();
    let arguments = ["--exchange", "binance", "--symbol", "ETH/USDT,SOL/USDT", "--interval", "5m", "--since", &since];
    let completed = fixture.backfill(&listen, &arguments).await;
    let output = combined_output(&completed);
    assert!(
        completed.status.success() && output.contains(&format!("the service at {listen} runs the backfill")),
        "{output}"
    );
    assert!(
        output.contains("binance ETH/USDT 5m: complete") && output.contains("binance SOL/USDT 5m: complete"),
        "{output}"
    );
    let rejected =
        fixture.backfill(&listen, &["--exchange", "binance", "--symbol", "NOT/THERE", "--since", &since]).await;
    assert!(
        !rejected.status.success() && combined_output(&rejected).contains("binance does not list"),
        "{}",
        combined_output(&rejected)
    );
    service.signal("TERM");
    assert_eq!(service.wait_for_exit().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_invalid_arguments() {
    let fixture = Fixture::new().await;
    for (arguments, message) in [
        (&["--exchange", "binance", "--symbol", "BTC/USDT", "--since", "2999-01-01"][..], "is in the future"),
        (&["--exchange", "binance", "--symbol", "BTC/USDX", "--since", "2025-01-01"], "did you mean BTC/USD"),
        (&["--exchange", "binance", "--symbol", "BTC/USDT", "--since", "soon"], "`since` is not a time"),
        (&["--exchange", "mtgox", "--symbol", "BTC/USDT", "--since", "2025-01-01"], "expected one of binance"),
        (&["--exchange", "binance", "--symbol", "BTC/USDT", "--since", "2025-01-01", "--interval", "7m"], "7m"),
    ] {
        let rejected = fixture.backfill("127.0.0.1:1", arguments).await;
        assert!(
            !rejected.status.success() && combined_output(&rejected).contains(message),
            "{}",
            combined_output(&rejected)
        );
    }
}
