//! Wrong clocks: the local clock, the clock of an exchange, and the times of single frames.

use std::collections::BTreeMap;
use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, TimeRange, Timestamp};
use candlewick::simulator::FaultKind;
use serde_json::Value;

use crate::support::process::{Process, exchange_urls, merge_env};
use crate::support::{Service, Simulation, candle_rows, json_rows, markets, minutes_after, pause, wait_until};

/// Lower than the default, so that delays of a busy machine do not look like a wrong clock.
const SPEED: f64 = 30.0;

/// The time of an exchange whose clock is `ahead_ms` ahead of the simulation's.
fn exchange_time(simulation: &Simulation, ahead_ms: i64) -> Timestamp {
    Timestamp::from_millis(simulation.clock.now().millis() + ahead_ms)
}

/// Polls four minutes while they pass and checks that every complete response has the exchange's candles. Then waits
/// until all four minutes are complete, and checks that their candles were not revised. `ahead_ms` is how far the clock
/// of each exchange is ahead of the simulation's.
async fn assert_correct_candles(simulation: &Simulation, service: &Service, ahead_ms: impl Fn(ExchangeId) -> i64) {
    service.wait_until_live().await;
    let minutes = |exchange| minutes_after(exchange_time(simulation, ahead_ms(exchange)), 4);
    let all: Vec<_> = markets().map(|(exchange, symbol)| (exchange, symbol, minutes(exchange))).collect();
    let deadline = simulation.clock.now() + Duration::from_secs(5 * 60 + 10);
    while simulation.clock.now() < deadline {
        for (exchange, symbol, range) in &all {
            let now = Interval::M1.floor(exchange_time(simulation, ahead_ms(*exchange)));
            let past = TimeRange::new(range.start(), range.end().min(now));
            if past.is_empty() {
                continue;
            }
            let (complete, candles) = service.minute_candles(*exchange, symbol, past).await;
            if complete {
                // The last candle may still be open according to the exchange time that the service estimates.
                let closed: Value =
                    candles.as_array().unwrap().iter().filter(|candle| candle["closed"] == true).cloned().collect();
                let mut expected = candle_rows(&simulation.expected_candles(*exchange, symbol, past));
                expected.truncate(expected.len() - usize::from(closed != candles));
                assert_eq!(
                    json_rows(&closed),
                    expected,
                    "{exchange}: the response for {past:?} is complete: {candles}"
                );
            }
        }
        pause().await;
    }
    for (exchange, symbol, range) in all {
        service.assert_complete(simulation, exchange, symbol, range).await;
        let (_, candles) = service.minute_candles(exchange, symbol, range).await;
        let revision = |candle: &Value| candle["revision"].as_u64().unwrap();
        let revisions: u64 = candles.as_array().unwrap().iter().map(revision).sum();
        // A trade that a busy machine reads late causes one revision; a wrong clock causes several of each candle.
        assert!(revisions <= 1, "{exchange}: candles were revised: {candles}");
    }
}

/// Checks that the reported clock offset of an exchange is `expected` (in milliseconds) within its uncertainty.
async fn assert_offset(service: &Service, exchange: ExchangeId, expected: i64) {
    let mut clock = Value::Null;
    wait_until(&format!("the clock offset of {exchange} is known"), async || {
        clock = service.get_ok(&format!("/v1/exchanges/{exchange}")).await["clock"].take();
        clock["known"] == true
    })
    .await;
    let (offset, uncertainty) = (clock["offset_ms"].as_i64().unwrap(), clock["doubt_ms"].as_i64().unwrap());
    assert!((offset - expected).abs() <= uncertainty + 100, "{exchange}: {clock} is not {expected}");
    assert!(uncertainty <= 15_000, "{exchange}: {clock}");
}

/// Checks a service whose clock is `ahead_ms` ahead of the clocks of all exchanges.
async fn assert_tolerates_local_offset(ahead_ms: i64) {
    let simulation = Simulation::with_speed(SPEED).await;
    let service = Service::live_with_clock(&simulation, "", simulation.clock.shifted(ahead_ms)).await;
    assert_correct_candles(&simulation, &service, |_| 0).await;
    for exchange in ExchangeId::all() {
        assert_offset(&service, exchange, -ahead_ms).await;
    }
    assert!(service.shut_down().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn local_clock_90_s_ahead_closes_no_candle_early() {
    assert_tolerates_local_offset(90_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_clock_5_min_ahead_claims_no_future_data() {
    assert_tolerates_local_offset(300_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_clock_180_s_behind_misses_no_candle() {
    assert_tolerates_local_offset(-180_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_offset_is_tracked_per_exchange() {
    let offsets = [-90_000, -300_000, 180_000, 45_000, -1_500].into_iter().cycle();
    let offsets: BTreeMap<ExchangeId, i64> = ExchangeId::all().zip(offsets).collect();
    let ahead_ms = |exchange| offsets[&exchange];
    let simulation = Simulation::with_speed(SPEED).await;
    for exchange in ExchangeId::all() {
        simulation.simulator.set_clock_offset(exchange, ahead_ms(exchange));
    }
    let service = Service::live(&simulation).await;
    assert_correct_candles(&simulation, &service, ahead_ms).await;
    for exchange in ExchangeId::all() {
        assert_offset(&service, exchange, ahead_ms(exchange)).await;
    }
    // Without `end`, the newest candle is the one that is open at the exchange's time.
    let newest = service.get_ok("/v1/history?exchange=coinbase&symbol=BTC/USD&limit=1").await;
    let newest = newest["candles"][0]["timestamp"].as_i64().unwrap();
    assert!(newest > simulation.clock.now().millis(), "{newest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn program_measures_offset_of_wrong_local_clock() {
    let simulation = Simulation::with_speed(60.0).await;
    let folder = tempfile::tempdir().unwrap();
    let exchanges = exchange_urls(&simulation.address.to_string());
    let own = [
        ("CANDLEWICK__DATA", "live"),
        ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0"),
        ("CANDLEWICK__LOG__FORMAT", "json"),
    ];
    let arguments = ["serve", "--clock-speed", "60", "--clock-offset", "-180000"];
    let mut process = Process::spawn(folder.path(), &arguments, &merge_env(&own, &exchanges));
    let base = format!("http://{}", process.address().await);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut state = Value::Null;
    wait_until("the clock offset of Binance is known", async || {
        let Ok(response) = http.get(format!("{base}/v1/exchanges/binance")).send().await else { return false };
        state = serde_json::from_str(&response.text().await.unwrap_or_default()).unwrap_or_default();
        state["clock"]["known"] == true
    })
    .await;
    let offset = state["clock"]["offset_ms"].as_i64().unwrap();
    assert!((offset - 180_000).abs() < 15_000, "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_step_causes_gap_that_is_repaired() {
    let simulation = Simulation::with_speed(SPEED).await;
    let clock = simulation.clock.shifted(0);
    let service = Service::live_with_clock(&simulation, "", clock.clone()).await;
    let before = minutes_after(simulation.clock.now(), 1);
    simulation.clock.sleep_until(before.end()).await;
    clock.step(95_000);
    let after = minutes_after(simulation.clock.now(), 2);
    simulation.clock.sleep_until(after.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in markets() {
        let range = TimeRange::new(before.start(), after.end());
        service.assert_complete(&simulation, exchange, symbol, range).await;
        assert_offset(&service, exchange, -95_000).await;
    }
    let metrics = service.get("/metrics").await.1;
    assert!(metrics.as_str().unwrap().contains("candlewick_clock_jumps_total{exchange=\"kraken\"}"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_response_is_complete_without_newest_candles_after_clock_is_set_back() {
    let simulation = Simulation::with_speed(SPEED).await;
    let clock = simulation.clock.shifted(0);
    let service = Service::live_with_clock(&simulation, "", clock.clone()).await;
    let before = minutes_after(simulation.clock.now(), 1);
    simulation.clock.sleep_until(before.end() + Duration::from_secs(55)).await;
    for (exchange, symbol) in markets() {
        service.assert_complete(&simulation, exchange, symbol, before).await;
    }
    clock.step(-180_000);
    let deadline = simulation.clock.now() + Duration::from_mins(2);
    while simulation.clock.now() < deadline {
        for (exchange, symbol) in markets() {
            // Closed for at least 10 s: more than the uncertainty of the exchange's time.
            let closed = Interval::M1.floor(simulation.clock.now() - Duration::from_secs(10));
            let range = TimeRange::new(before.start(), closed);
            let (complete, candles) = service.minute_candles(exchange, symbol, range).await;
            if complete {
                let expected = candle_rows(&simulation.expected_candles(exchange, symbol, range));
                assert_eq!(json_rows(&candles), expected, "{exchange}: the response for {range:?} is complete");
            }
        }
        pause().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn microsecond_timestamps_have_no_lasting_effect() {
    let simulation = Simulation::with_speed(SPEED).await;
    let service = Service::live(&simulation).await;
    let before = minutes_after(simulation.clock.now(), 1);
    simulation.clock.sleep_until(before.start() + Duration::from_secs(20)).await;
    for exchange in ExchangeId::all() {
        simulation.inject_fault(exchange, FaultKind::Microseconds, Duration::from_secs(3));
    }
    simulation.sleep(Duration::from_secs(2)).await;
    for (exchange, symbol) in markets() {
        let since = simulation.clock.now();
        wait_until(&format!("{exchange} sends a new ticker"), async || {
            let (status, ticker) = service.get(&format!("/v1/ticker?exchange={exchange}&symbol={symbol}")).await;
            if status != 200 {
                return false;
            }
            // The fault does not affect the times of Kraken and Coinbase, which are text.
            let timestamp = ticker["timestamp"].as_i64().unwrap();
            assert!(timestamp < simulation.clock.now().millis() + 60_000, "{ticker}");
            timestamp > since.millis()
        })
        .await;
    }
    let after = minutes_after(simulation.clock.now(), 1);
    simulation.clock.sleep_until(after.end() + Duration::from_secs(3)).await;
    for (exchange, symbol) in markets() {
        service.assert_complete(&simulation, exchange, symbol, TimeRange::new(before.start(), after.end())).await;
    }
}
