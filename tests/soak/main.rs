//! Hours of everything that goes wrong, on five exchanges with ten of 3,000 markets each, closes that come late or not at
//! all, and a clock that is 90 s off and jumps: afterwards every series is complete and equals the exchange's own history,
//! and before that no answer called itself complete while a candle was missing.
//!
//! `SOAK_HOURS` says for how long faults are made, in hours of the market; `make soak` makes it six, with ten kills.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "the other integration tests use the rest")]
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

use support::process::{Process, all_exchanges_at, with};
use support::{World, minutes_after, rows, servers, truth_rows, until};

/// Two minutes of the market in a second of the test.
const SPEED: f64 = 120.0;

/// Markets of each exchange, and how many of them have odd names: digits first, other scripts.
const MARKETS: usize = 10;
const ODD: usize = 3;

/// How far the program's clock is ahead, and after how many seconds it jumps to as far behind, and back.
const CLOCK_OFFSET_MS: &str = "90000";
const CLOCK_JUMPS_SECS: &str = "2700";

/// The most REST requests for a hundred minutes of a market, faults and kills included.
const MOST_REQUESTS: u64 = 50;

/// Faults, how often each befalls an exchange in a thousand of its minutes, and for how many seconds.
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

/// What is corrected without a word is found within an hour and a look.
const SETTLES: Duration = Duration::from_mins(85);

/// The world outside, the program, and what it is asked.
struct Soak {
    world: World,
    /// The same market without faults: what must be there whatever is corrected.
    plain: Simulator,
    markets: Vec<(ExchangeId, Symbol)>,
    folder: tempfile::TempDir,
    http: reqwest::Client,
    store: String,
}

impl Soak {
    async fn new(store: Option<String>) -> Self {
        let world = World::paced(SPEED).await;
        let config = SimulatorConfig { seed: 7, faults: Vec::new(), markets: MAX_MARKETS };
        let plain = Simulator::new(config, world.clock.clone());
        let of = |exchange| {
            let symbols: Vec<_> = plain.market().listings(exchange).map(|listing| listing.symbol.clone()).collect();
            let is_odd = |symbol: &&Symbol| !symbol.as_str().starts_with(|first: char| first.is_ascii_alphabetic());
            let odd: Vec<_> = symbols.iter().filter(is_odd).take(ODD).cloned().collect();
            let usual = symbols.into_iter().filter(|symbol| !odd.contains(symbol)).take(MARKETS - odd.len());
            usual.chain(odd.clone()).map(move |symbol| (exchange, symbol)).collect::<Vec<_>>()
        };
        let markets: Vec<_> = ExchangeId::ALL.into_iter().flat_map(of).collect();
        assert_eq!(markets.len(), 5 * MARKETS);
        let folder = tempfile::tempdir().unwrap();
        let toml: String = ExchangeId::ALL
            .map(|exchange| {
                let symbols =
                    markets.iter().filter(|(of, _)| *of == exchange).map(|(_, symbol)| format!("\"{symbol}\""));
                format!("[exchanges.{exchange}]\nsymbols = [{}]\n", symbols.collect::<Vec<_>>().join(","))
            })
            .concat();
        std::fs::write(folder.path().join("candlewick.toml"), toml).unwrap();
        let store = store.unwrap_or_else(|| "sqlite://candles.db".to_owned());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { world, plain, markets, folder, http, store }
    }

    fn begin(&self) -> Process {
        let simulated = all_exchanges_at(&self.world.address.to_string());
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
        Process::spawn(self.folder.path(), &clock, &with(&own, &simulated))
    }

    /// A page of candles; `None` while there is no answer.
    async fn page(
        &self,
        base: &str,
        (exchange, symbol): &(ExchangeId, Symbol),
        interval: Interval,
        range: TimeRange,
    ) -> Option<Value> {
        let (start, end) = (range.start().millis(), range.end().millis());
        let select = format!("interval={interval}&start={start}&end={end}&limit=5000");
        let url = format!("{base}/v1/history?exchange={exchange}&symbol={symbol}&{select}");
        let reply = self.http.get(url).send().await.ok()?;
        if reply.status() != 200 {
            return None;
        }
        serde_json::from_str(&reply.text().await.ok()?).ok()
    }

    /// An answer that calls itself complete has every candle that was traded when it was asked for.
    async fn check(&self, base: &str, random: &mut StdRng, since: Timestamp) -> bool {
        let market = self.markets.choose(random).unwrap();
        // Two processes read one clock at two moments: what has closed for one may be open for the other.
        let now = self.world.clock.now() - Duration::from_secs(10);
        let start = Interval::M1.back(now, random.random_range(1..240)).max(since);
        let range = TimeRange::new(start, Interval::M1.floor(now));
        if range.is_empty() {
            return false;
        }
        let Some(page) = self.page(base, market, Interval::M1, range).await else { return false };
        let told: BTreeSet<i64> =
            page["candles"].as_array().unwrap().iter().map(|candle| candle["timestamp"].as_i64().unwrap()).collect();
        if page["complete"] == true {
            for candle in self.plain.market().candles(market.0, &market.1, Interval::M1, range) {
                let open = candle.timestamp.millis();
                if !told.contains(&open) {
                    let around = format!("start={}&end={}", open - 300_000, open + 300_000);
                    let url = format!("{base}/v1/coverage?exchange={}&symbol={}&{around}", market.0, market.1);
                    let known = self.http.get(url).send().await.unwrap().text().await.unwrap();
                    let (when, page) = (candle.timestamp, page.to_string());
                    panic!("{market:?}: {when} is missing in an answer at {now} that is complete: {known} {page}");
                }
            }
        }
        true
    }

    /// Waits until a series is as the exchange itself tells it.
    async fn assert_whole(&self, base: &str, market: &(ExchangeId, Symbol), interval: Interval, range: TimeRange) {
        let range = interval.shrink(range);
        let truth = truth_rows(&self.world.simulator.market().candles(market.0, &market.1, interval, range));
        let deadline = self.world.clock.now() + self.world.clock.inside(Duration::from_mins(1));
        loop {
            let page = self.page(base, market, interval, range).await.unwrap_or_default();
            let told = if page["candles"].is_array() { rows(&page["candles"]) } else { Vec::new() };
            if page["complete"] == true && told == truth {
                return;
            }
            if self.world.clock.now() > deadline {
                let ours: Vec<_> = told.iter().filter(|row| !truth.contains(row)).collect();
                let theirs: Vec<_> = truth.iter().filter(|row| !told.contains(row)).collect();
                panic!("{market:?} {interval} is not whole: {} {ours:?} {theirs:?}", page["gaps"]);
            }
            self.world.pass(Duration::from_secs(30)).await;
        }
    }
}

async fn listening(process: &mut Process) -> String {
    let mut base = None;
    until("it listens", async || {
        base = process.log().iter().find_map(|line| {
            (line["message"] == "listening").then(|| format!("http://{}", line["address"].as_str().unwrap()))
        });
        base.is_some()
    })
    .await;
    base.unwrap()
}

async fn soak(store: Option<String>) {
    let hours: u32 = std::env::var("SOAK_HOURS").map_or(1, |hours| hours.parse().unwrap());
    let kills = (hours * 10 / 6).max(2);
    let soak = Soak::new(store).await;
    let mut random = StdRng::seed_from_u64(11);
    let (mut process, mut base) = (soak.begin(), String::new());
    let begin = minutes_after(soak.world.clock.now(), 1).end();
    let minutes = 60 * hours;
    let (mut answers, mut killed) = (0, 0);
    for minute in 0..minutes {
        let next = Interval::M1.next(soak.world.clock.now());
        for exchange in ExchangeId::ALL {
            for (fault, often, secs) in FAULTS {
                if random.random_range(0..1_000) < often {
                    soak.world.fault(exchange, fault, Duration::from_secs(secs));
                }
            }
        }
        if (minute + 1) * (kills + 1) / minutes > killed && killed < kills {
            process.kill();
            (process, base) = (soak.begin(), String::new());
            killed += 1;
        }
        if base.is_empty() {
            base = listening(&mut process).await;
        }
        while soak.world.clock.now() < next {
            answers += u32::from(soak.check(&base, &mut random, begin).await);
        }
    }
    // A look each ten minutes, and an answer now and then.
    let settled = soak.world.clock.now() + SETTLES;
    while soak.world.clock.now() < settled {
        soak.check(&base, &mut random, begin).await;
        soak.world.pass(Duration::from_secs(30)).await;
    }
    let range = TimeRange::new(begin, Interval::M1.back(soak.world.clock.now(), 5));
    for market in &soak.markets {
        for interval in [Interval::M1, Interval::M5, Interval::H1] {
            soak.assert_whole(&base, market, interval, range).await;
        }
    }
    assert!(answers > minutes, "it answered: {answers}");
    assert_eq!(killed, kills);
    let collected = range.duration().as_secs() / 60 * u64::try_from(MARKETS).unwrap();
    for exchange in ExchangeId::ALL {
        let stats = soak.world.simulator.stats(exchange);
        assert_eq!(stats.bans, 0, "{exchange}: {stats:?}");
        let requests = stats.rest_requests * 100 / collected;
        println!("{exchange}: {} REST requests, {requests} for a hundred minutes of a market", stats.rest_requests);
        assert!(requests < MOST_REQUESTS, "{exchange}: {requests} requests for a hundred minutes of a market");
    }
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0), "{:#?}", process.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_wrong_on_sqlite() {
    soak(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_wrong_on_postgresql() {
    soak(Some(servers::database().await)).await;
}
