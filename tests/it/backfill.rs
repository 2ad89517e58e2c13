//! `candlewick backfill`: killed and begun again, done here or by the service that runs, and refused.

use std::process::Output;

use candlewick::model::{ExchangeId, Interval, TimeRange};

use crate::support::process::{Process, all_exchanges_at, run, with};
use crate::support::{World, until};

const PAGES: u32 = 40;

struct Place {
    world: World,
    folder: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        Self { world: World::paced(1.0).await, folder: tempfile::tempdir().unwrap() }
    }

    fn environment(&self, listen: &str) -> Vec<(String, String)> {
        let mut environment = all_exchanges_at(&self.world.address.to_string());
        environment.push(("CANDLEWICK__DATA".to_owned(), "live".to_owned()));
        environment.push(("CANDLEWICK__SERVER__LISTEN".to_owned(), listen.to_owned()));
        environment
    }

    /// Runs the command to its end, where nothing of ours stands still meanwhile.
    async fn backfill(&self, listen: &str, arguments: &[&str]) -> Output {
        let (folder, environment) = (self.folder.path().to_owned(), self.environment(listen));
        let arguments: Vec<String> = ["backfill"].iter().chain(arguments).map(|one| (*one).to_owned()).collect();
        let running = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            run(&folder, &arguments, &with(&[], &environment))
        });
        running.await.unwrap()
    }

    fn range(&self) -> TimeRange {
        let end = Interval::H1.floor(self.world.clock.now());
        TimeRange::new(Interval::M1.back(end, PAGES * 1_000), end)
    }

    fn asked(&self) -> u64 {
        self.world.simulator.stats(ExchangeId::Binance).rest_requests
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_one_goes_on_where_it_was() {
    let place = Place::new().await;
    let range = place.range();
    let (since, end) = (range.start().to_string(), range.end().to_string());
    let arguments = ["--exchange", "binance", "--symbol", "BTC/USDT", "--since", &since, "--until", &end];
    let nobody = "127.0.0.1:1";
    let environment = place.environment(nobody);
    let command: Vec<&str> = ["backfill"].iter().chain(&arguments).copied().collect();
    let mut killed = Process::spawn(place.folder.path(), &command, &with(&[], &environment));
    until("some pages are fetched", async || place.asked() > 5).await;
    killed.kill();
    let before = place.asked();
    assert!(before < u64::from(PAGES), "it was killed in the middle: {before}");
    let done = place.backfill(nobody, &arguments).await;
    assert!(done.status.success() && text(&done).contains("binance BTC/USDT 1m: complete"), "{}", text(&done));
    // Each time the listing and the exchange's time; the page that was on its way; and one more, since pages overlap by a
    // candle on each side.
    let all = place.asked();
    assert!(all <= u64::from(PAGES) + 6, "what was there was fetched again: {before}, {all}");
    let again = place.backfill(nobody, &arguments).await;
    assert!(again.status.success() && text(&again).contains("complete"), "{}", text(&again));
    assert!(place.asked() <= all + 2, "nothing is left to fetch: the listing and the time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_runs_is_asked() {
    let place = Place::new().await;
    let own = place.environment("127.0.0.1:0");
    let mut service = Process::spawn(place.folder.path(), &[], &with(&[], &own));
    let listen = service.address().await.to_string();
    service.logged("ready").await;
    let since = Interval::M1.back(place.world.clock.now(), 5_000).to_string();
    let arguments = ["--exchange", "binance", "--symbol", "ETH/USDT,SOL/USDT", "--interval", "5m", "--since", &since];
    let done = place.backfill(&listen, &arguments).await;
    let said = text(&done);
    assert!(done.status.success() && said.contains(&format!("the service at {listen} fetches")), "{said}");
    assert!(said.contains("binance ETH/USDT 5m: complete") && said.contains("binance SOL/USDT 5m: complete"), "{said}");
    let refused = place.backfill(&listen, &["--exchange", "binance", "--symbol", "NOT/THERE", "--since", &since]).await;
    assert!(!refused.status.success() && text(&refused).contains("binance does not list"), "{}", text(&refused));
    service.signal("TERM");
    assert_eq!(service.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused() {
    let place = Place::new().await;
    for (arguments, sentence) in [
        (&["--exchange", "binance", "--symbol", "BTC/USDT", "--since", "2999-01-01"][..], "lies in the future"),
        (&["--exchange", "binance", "--symbol", "BTC/USDX", "--since", "2025-01-01"], "did you mean BTC/USD"),
        (&["--exchange", "binance", "--symbol", "BTC/USDT", "--since", "soon"], "`since` is not a time"),
        (&["--exchange", "mtgox", "--symbol", "BTC/USDT", "--since", "2025-01-01"], "known are binance"),
        (&["--exchange", "binance", "--symbol", "BTC/USDT", "--since", "2025-01-01", "--interval", "7m"], "7m"),
    ] {
        let refused = place.backfill("127.0.0.1:1", arguments).await;
        assert!(!refused.status.success() && text(&refused).contains(sentence), "{}", text(&refused));
    }
}
