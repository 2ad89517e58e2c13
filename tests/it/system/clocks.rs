//! Clocks that are wrong: the machine's, an exchange's, and the times in single frames.

use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, TimeRange, Timestamp};
use candlewick::simulator::FaultKind;
use serde_json::Value;

use crate::support::process::{Process, all_exchanges_at, with};
use crate::support::{Service, World, markets, minutes_after, pause, rows, truth_rows, until};

/// Slower than most tests: a busy machine must not look like a wrong clock.
const PACE: f64 = 30.0;

/// What time it is at an exchange whose clock is `ahead` of the world's.
fn there(world: &World, ahead: i64) -> Timestamp {
    Timestamp::from_millis(world.clock.now().millis() + ahead)
}

/// Looks for four minutes: whatever is called complete is what really was traded. Then all of it is there,
/// and was never told otherwise. `ahead` is how far each exchange's clock is ahead of the world's.
async fn tells_the_truth(world: &World, service: &Service, ahead: impl Fn(ExchangeId) -> i64) {
    service.until_live().await;
    let begin = |exchange| minutes_after(there(world, ahead(exchange)), 4);
    let all: Vec<_> = markets().map(|(exchange, symbol)| (exchange, symbol, begin(exchange))).collect();
    let ends = world.clock.now() + Duration::from_secs(5 * 60 + 10);
    while world.clock.now() < ends {
        for (exchange, symbol, range) in &all {
            let now = Interval::M1.floor(there(world, ahead(*exchange)));
            let past = TimeRange::new(range.start(), range.end().min(now));
            if past.is_empty() {
                continue;
            }
            let (complete, told) = service.minutes(*exchange, symbol, past).await;
            if complete {
                // What is open, as far as the service knows what time it is there, may be told as it stands.
                let closed: Value =
                    told.as_array().unwrap().iter().filter(|candle| candle["closed"] == true).cloned().collect();
                let mut truth = truth_rows(&world.truth(*exchange, symbol, past));
                truth.truncate(truth.len() - usize::from(closed != told));
                assert_eq!(rows(&closed), truth, "{exchange} says that {past:?} is complete: {told}");
            }
        }
        pause().await;
    }
    for (exchange, symbol, range) in all {
        service.assert_whole(world, exchange, symbol, range).await;
        let (_, told) = service.minutes(exchange, symbol, range).await;
        let revision = |candle: &Value| candle["revision"].as_u64().unwrap();
        let revised: u64 = told.as_array().unwrap().iter().map(revision).sum();
        // A trade that a busy machine reads late is a revision; a wrong clock makes several of each candle.
        assert!(revised <= 1, "{exchange} was told otherwise first: {told}");
    }
}

/// The offset of an exchange's clock that the service tells is `expected`, within its doubt.
async fn tells_offset(service: &Service, exchange: ExchangeId, expected: i64) {
    let mut told = Value::Null;
    until(&format!("{exchange}'s clock is known"), async || {
        told = service.ok(&format!("/v1/exchanges/{exchange}")).await["clock"].take();
        told["known"] == true
    })
    .await;
    let (offset, doubt) = (told["offset_ms"].as_i64().unwrap(), told["doubt_ms"].as_i64().unwrap());
    assert!((offset - expected).abs() <= doubt + 100, "{exchange}: {told} is not {expected}");
    assert!(doubt <= 15_000, "{exchange}: {told}");
}

/// A service whose machine's clock is `millis` ahead of all exchanges'.
async fn on_a_machine_that_is(millis: i64) {
    let world = World::paced(PACE).await;
    let service = Service::live_by(&world, "", world.clock.shifted(millis)).await;
    tells_the_truth(&world, &service, |_| 0).await;
    for exchange in ExchangeId::ALL {
        tells_offset(&service, exchange, -millis).await;
    }
    assert!(service.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_90_seconds_ahead_closes_nothing_early() {
    on_a_machine_that_is(90_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_five_minutes_ahead_claims_nothing_that_is_to_come() {
    on_a_machine_that_is(300_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_180_seconds_behind_misses_nothing() {
    on_a_machine_that_is(-180_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_exchange_has_a_clock_of_its_own() {
    let ahead = |exchange| match exchange {
        ExchangeId::Binance => -90_000,
        ExchangeId::Kraken => -300_000,
        ExchangeId::Coinbase => 180_000,
        ExchangeId::Okx => 45_000,
        ExchangeId::Bybit => -1_500,
    };
    let world = World::paced(PACE).await;
    for exchange in ExchangeId::ALL {
        world.simulator.set_clock_offset(exchange, ahead(exchange));
    }
    let service = Service::live(&world).await;
    tells_the_truth(&world, &service, ahead).await;
    for exchange in ExchangeId::ALL {
        tells_offset(&service, exchange, ahead(exchange)).await;
    }
    // Without an end the newest candle is the one that is open at the exchange.
    let newest = service.ok("/v1/history?exchange=coinbase&symbol=BTC/USD&limit=1").await;
    let newest = newest["candles"][0]["timestamp"].as_i64().unwrap();
    assert!(newest > world.clock.now().millis(), "{newest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_runs_on_a_machine_whose_clock_is_wrong() {
    let world = World::paced(60.0).await;
    let folder = tempfile::tempdir().unwrap();
    let exchanges = all_exchanges_at(&world.address.to_string());
    let own = [
        ("CANDLEWICK__DATA", "live"),
        ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0"),
        ("CANDLEWICK__LOG__FORMAT", "json"),
    ];
    let arguments = ["serve", "--clock-speed", "60", "--clock-offset", "-180000"];
    let mut process = Process::spawn(folder.path(), &arguments, &with(&own, &exchanges));
    let base = format!("http://{}", process.address().await);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut told = Value::Null;
    until("the program knows what time it is at Binance", async || {
        let Ok(reply) = http.get(format!("{base}/v1/exchanges/binance")).send().await else { return false };
        told = serde_json::from_str(&reply.text().await.unwrap_or_default()).unwrap_or_default();
        told["clock"]["known"] == true
    })
    .await;
    let offset = told["clock"]["offset_ms"].as_i64().unwrap();
    assert!((offset - 180_000).abs() < 15_000, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn setting_the_clock_is_a_gap_that_is_repaired() {
    let world = World::paced(PACE).await;
    let clock = world.clock.shifted(0);
    let service = Service::live_by(&world, "", clock.clone()).await;
    let before = minutes_after(world.clock.now(), 1);
    world.clock.sleep_until(before.end()).await;
    clock.step(95_000);
    let after = minutes_after(world.clock.now(), 2);
    world.clock.sleep_until(after.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in markets() {
        let range = TimeRange::new(before.start(), after.end());
        service.assert_whole(&world, exchange, symbol, range).await;
        tells_offset(&service, exchange, -95_000).await;
    }
    let metrics = service.get("/metrics").await.1;
    assert!(metrics.as_str().unwrap().contains("candlewick_clock_jumps_total{exchange=\"kraken\"}"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_in_microseconds_does_not_stay() {
    let world = World::paced(PACE).await;
    let service = Service::live(&world).await;
    let begin = minutes_after(world.clock.now(), 1);
    world.clock.sleep_until(begin.start() + Duration::from_secs(20)).await;
    for exchange in ExchangeId::ALL {
        world.fault(exchange, FaultKind::Microseconds, Duration::from_secs(3));
    }
    world.pass(Duration::from_secs(2)).await;
    for (exchange, symbol) in markets() {
        let asked = world.clock.now();
        until(&format!("{exchange}'s ticker goes on"), async || {
            let (status, ticker) = service.get(&format!("/v1/ticker?exchange={exchange}&symbol={symbol}")).await;
            if status != 200 {
                return false;
            }
            // Kraken's and Coinbase's times are texts.
            let at = ticker["timestamp"].as_i64().unwrap();
            assert!(at < world.clock.now().millis() + 60_000, "{ticker}");
            at > asked.millis()
        })
        .await;
    }
    let after = minutes_after(world.clock.now(), 1);
    world.clock.sleep_until(after.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in markets() {
        service.assert_whole(&world, exchange, symbol, TimeRange::new(begin.start(), after.end())).await;
    }
}
