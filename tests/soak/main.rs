//! Hours of all faults and repeated kills, on five exchanges with ten of 3,000 markets each. Closing frames are late or
//! missing, and the local clock is 90 s off and jumps. During the run, no complete response may lack a candle.
//! Afterwards every series must be complete and equal the exchange's history.
//!
//! `SOAK_HOURS` is the duration of the faults in hours of simulated time; `make soak` sets it to six, with ten kills.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "the integration tests use the rest")]
mod support;

mod load;

use std::collections::BTreeSet;
use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, Symbol, TimeRange, Timestamp};
use candlewick::simulator::{FaultKind, MAX_MARKETS, Simulator, SimulatorConfig};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use support::process::{Process, exchange_urls, merge_env};
use support::{Simulation, candle_rows, json_rows, minutes_after, servers, wait_until};

/// Two minutes of simulated time take one second.
const SPEED: f64 = 120.0;

/// Collected markets per exchange.
const MARKETS: usize = 10;
/// Of these, markets with unusual symbols: leading digits, other scripts.
const UNUSUAL_MARKETS: usize = 3;

/// Initial offset of the program's clock.
const CLOCK_OFFSET_MS: &str = "90000";
/// Interval between clock jumps. Each jump changes the sign of the offset.
const CLOCK_JUMPS_SECS: &str = "2700";

/// Maximum number of REST requests per 100 minutes of a market, including those after faults and kills.
const MAX_REQUESTS: u64 = 50;

/// Faults, their probability per minute and exchange in per mille, and their duration in seconds.
const FAULTS: [(FaultKind, u32, u64); 13] = [
    (FaultKind::SkipCandle, 10, 0),
    (FaultKind::Drop, 20, 0),
    (FaultKind::Http429, 10, 20),
    (FaultKind::CorrectCandle, 20, 0),
    (FaultKind::LateTrade, 20, 0),
    (FaultKind::Dark, 5, 180),
    (FaultKind::Duplicate, 10, 30),
    (FaultKind::EmptyPage, 10, 0),
    (FaultKind::ShortPage, 10, 60),
    (FaultKind::EdgeRows, 10, 60),
    (FaultKind::MissingRow, 10, 60),
    (FaultKind::BadRow, 10, 60),
    (FaultKind::Firewall403, 3, 0),
];

/// Silent corrections are found within an hour and one run of the reconciler.
const SETTLE_TIME: Duration = Duration::from_mins(85);

/// The simulated exchanges and the settings of the program.
struct Soak {
    simulation: Simulation,
    /// The same markets without faults: the candles that must exist regardless of corrections.
    without_faults: Simulator,
    markets: Vec<(ExchangeId, Symbol)>,
    folder: tempfile::TempDir,
    http: reqwest::Client,
    store: String,
}

impl Soak {
    async fn new(store: Option<String>) -> Self {
        let simulation = Simulation::with_speed(SPEED).await;
        let config = SimulatorConfig { seed: 7, faults: Vec::new(), markets: MAX_MARKETS };
        let without_faults = Simulator::new(config, simulation.clock.clone());
        let select = |exchange| {
            let symbols: Vec<_> =
                without_faults.market().listings(exchange).map(|listing| listing.symbol.clone()).collect();
            let is_unusual = |symbol: &&Symbol| !symbol.as_str().starts_with(|first: char| first.is_ascii_alphabetic());
            let unusual: Vec<_> = symbols.iter().filter(is_unusual).take(UNUSUAL_MARKETS).cloned().collect();
            let usual = symbols.into_iter().filter(|symbol| !unusual.contains(symbol)).take(MARKETS - unusual.len());
            usual.chain(unusual.clone()).map(move |symbol| (exchange, symbol)).collect::<Vec<_>>()
        };
        let markets: Vec<_> = ExchangeId::all().flat_map(select).collect();
        assert_eq!(markets.len(), ExchangeId::all().len() * MARKETS);
        let folder = tempfile::tempdir().unwrap();
        let sections: Vec<_> = ExchangeId::all()
            .map(|exchange| {
                let symbols =
                    markets.iter().filter(|(id, _)| *id == exchange).map(|(_, symbol)| format!("\"{symbol}\""));
                format!("[exchanges.{exchange}]\nsymbols = [{}]\n", symbols.collect::<Vec<_>>().join(","))
            })
            .collect();
        let toml = sections.concat();
        std::fs::write(folder.path().join("candlewick.toml"), toml).unwrap();
        let store = store.unwrap_or_else(|| "sqlite://candles.db".to_owned());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { simulation, without_faults, markets, folder, http, store }
    }

    fn start(&self) -> Process {
        let exchanges = exchange_urls(&self.simulation.address.to_string());
        let own = [
            ("CANDLEWICK__DATA", "live"),
            ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0"),
            ("DATABASE_URL", &self.store),
        ];
        let clock = [
            "--clock-speed",
            &SPEED.to_string(),
            "--clock-offset",
            CLOCK_OFFSET_MS,
            "--clock-jumps-after",
            CLOCK_JUMPS_SECS,
        ];
        Process::spawn(self.folder.path(), &clock, &merge_env(&own, &exchanges))
    }

    /// A page of candles, or `None` without a response of status 200.
    async fn page(
        &self,
        base: &str,
        (exchange, symbol): &(ExchangeId, Symbol),
        interval: Interval,
        range: TimeRange,
    ) -> Option<Value> {
        let (start, end) = (range.start().millis(), range.end().millis());
        let query = format!("interval={interval}&start={start}&end={end}&limit=5000");
        let url = format!("{base}/v1/history?exchange={exchange}&symbol={symbol}&{query}");
        let response = self.http.get(url).send().await.ok()?;
        if response.status() != 200 {
            return None;
        }
        serde_json::from_str(&response.text().await.ok()?).ok()
    }

    /// Requests a random range and checks that a complete response has every candle. Returns whether there was a
    /// response.
    async fn check_random_range(&self, base: &str, random: &mut StdRng, since: Timestamp) -> bool {
        let market = self.markets.choose(random).unwrap();
        // The two processes read their clocks at different times, so a candle may be closed in one and open in the
        // other.
        let now = self.simulation.clock.now() - Duration::from_secs(10);
        let start = Interval::M1.back(now, random.random_range(1..240)).max(since);
        let range = TimeRange::new(start, Interval::M1.floor(now));
        if range.is_empty() {
            return false;
        }
        let Some(page) = self.page(base, market, Interval::M1, range).await else { return false };
        let open_times: BTreeSet<i64> =
            page["candles"].as_array().unwrap().iter().map(|candle| candle["timestamp"].as_i64().unwrap()).collect();
        if page["complete"] == true {
            for candle in self.without_faults.market().candles(market.0, &market.1, Interval::M1, range) {
                let open = candle.timestamp.millis();
                if !open_times.contains(&open) {
                    let around = format!("start={}&end={}", open - 300_000, open + 300_000);
                    let url = format!("{base}/v1/coverage?exchange={}&symbol={}&{around}", market.0, market.1);
                    let coverage = self.http.get(url).send().await.unwrap().text().await.unwrap();
                    let (time, page) = (candle.timestamp, page.to_string());
                    panic!("{market:?}: a complete response at {now} lacks the candle of {time}: {coverage} {page}");
                }
            }
        }
        true
    }

    /// Waits until a series is complete and equals the exchange's.
    async fn assert_complete(&self, base: &str, market: &(ExchangeId, Symbol), interval: Interval, range: TimeRange) {
        let range = interval.whole_candles(range);
        let expected = candle_rows(&self.simulation.simulator.market().candles(market.0, &market.1, interval, range));
        let deadline = self.simulation.clock.now() + self.simulation.clock.to_clock_time(Duration::from_mins(1));
        loop {
            let page = self.page(base, market, interval, range).await.unwrap_or_default();
            let actual = if page["candles"].is_array() { json_rows(&page["candles"]) } else { Vec::new() };
            if page["complete"] == true && actual == expected {
                return;
            }
            if self.simulation.clock.now() > deadline {
                let wrong: Vec<_> = actual.iter().filter(|row| !expected.contains(row)).collect();
                let missing: Vec<_> = expected.iter().filter(|row| !actual.contains(row)).collect();
                panic!(
                    "{market:?} {interval} is not complete: gaps {}, wrong {wrong:?}, missing {missing:?}",
                    page["gaps"]
                );
            }
            self.simulation.sleep(Duration::from_secs(30)).await;
        }
    }
}

/// Waits until the program listens and returns its base URL.
async fn base_url(process: &mut Process) -> String {
    let mut base = None;
    wait_until("the service listens", async || {
        base = process.log().iter().find_map(|line| {
            (line["message"] == "listening").then(|| format!("http://{}", line["address"].as_str().unwrap()))
        });
        base.is_some()
    })
    .await;
    base.unwrap()
}

async fn run_soak(store: Option<String>) {
    let hours: u32 = std::env::var("SOAK_HOURS").map_or(1, |hours| hours.parse().unwrap());
    let kills = (hours * 10 / 6).max(2);
    let soak = Soak::new(store).await;
    let mut random = StdRng::seed_from_u64(11);
    let (mut process, mut base) = (soak.start(), String::new());
    let start = minutes_after(soak.simulation.clock.now(), 1).end();
    let minutes = 60 * hours;
    let (mut responses, mut killed) = (0, 0);
    for minute in 0..minutes {
        let next = Interval::M1.next(soak.simulation.clock.now());
        for exchange in ExchangeId::all() {
            for (fault, per_mille, secs) in FAULTS {
                if random.random_range(0..1_000) < per_mille {
                    soak.simulation.inject_fault(exchange, fault, Duration::from_secs(secs));
                }
            }
        }
        if (minute + 1) * (kills + 1) / minutes > killed && killed < kills {
            process.kill();
            (process, base) = (soak.start(), String::new());
            killed += 1;
        }
        if base.is_empty() {
            base = base_url(&mut process).await;
        }
        while soak.simulation.clock.now() < next {
            responses += u32::from(soak.check_random_range(&base, &mut random, start).await);
        }
    }
    let settled_at = soak.simulation.clock.now() + SETTLE_TIME;
    while soak.simulation.clock.now() < settled_at {
        soak.check_random_range(&base, &mut random, start).await;
        soak.simulation.sleep(Duration::from_secs(30)).await;
    }
    let range = TimeRange::new(start, Interval::M1.back(soak.simulation.clock.now(), 5));
    for market in &soak.markets {
        for interval in [Interval::M1, Interval::M5, Interval::H1] {
            soak.assert_complete(&base, market, interval, range).await;
        }
    }
    assert!(responses > minutes, "there are only {responses} responses");
    assert_eq!(killed, kills);
    let collected = range.duration().as_secs() / 60 * u64::try_from(MARKETS).unwrap();
    for exchange in ExchangeId::all() {
        let stats = soak.simulation.simulator.stats(exchange);
        assert_eq!(stats.bans, 0, "{exchange}: {stats:?}");
        let requests = stats.rest_requests * 100 / collected;
        println!("{exchange}: {} REST requests, {requests} per 100 minutes of a market", stats.rest_requests);
        assert!(requests < MAX_REQUESTS, "{exchange}: {requests} requests per 100 minutes of a market");
    }
    process.signal("TERM");
    assert_eq!(process.wait_for_exit().await, Some(0), "{:#?}", process.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn series_are_complete_after_all_faults_on_sqlite() {
    run_soak(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn series_are_complete_after_all_faults_on_postgres() {
    run_soak(Some(servers::database().await)).await;
}
