//! Closing frames that are late or missing, and REST APIs that lag their streams.

use std::collections::BTreeMap;
use std::time::Duration;

use candlewick::exchanges::MinuteCandles;
use candlewick::model::{ExchangeId, Interval, Symbol, TimeRange};
use candlewick::simulator::FaultKind;

use crate::support::{Service, Simulation, adapter, candle_rows, json_rows, markets, minutes_after, pause, wait_until};

/// Lower than the default, so that delays of a busy machine do not look like a missing closing frame.
const SPEED: f64 = 15.0;

/// Whether the candle frames of an exchange have a flag for closed candles.
fn is_flagged(exchange: ExchangeId) -> bool {
    adapter(exchange).profile().minute_candles == MinuteCandles::Flagged
}

/// Number of REST requests that each exchange has received.
fn request_counts(simulation: &Simulation) -> BTreeMap<ExchangeId, u64> {
    ExchangeId::all().map(|exchange| (exchange, simulation.simulator.stats(exchange).rest_requests)).collect()
}

/// Waits until the REST requests made at start have completed.
async fn wait_until_idle(simulation: &Simulation, service: &Service) {
    service.wait_until_live().await;
    // The reconciler runs one minute after the start, and then every ten minutes.
    simulation.sleep(Duration::from_secs(90)).await;
    let mut before = request_counts(simulation);
    wait_until("there are no more REST requests", async || {
        simulation.sleep(Duration::from_secs(15)).await;
        let now = request_counts(simulation);
        std::mem::replace(&mut before, now.clone()) == now
    })
    .await;
}

async fn coverage_states(service: &Service, exchange: ExchangeId, symbol: &str, range: TimeRange) -> String {
    let (start, end) = (range.start().millis(), range.end().millis());
    let path = format!("/v1/coverage?exchange={exchange}&symbol={symbol}&interval=1m&start={start}&end={end}");
    service.get_ok(&path).await["ranges"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn late_close_is_observed_without_rest_request() {
    let simulation = Simulation::with_speed(SPEED).await;
    let service = Service::live(&simulation).await;
    wait_until_idle(&simulation, &service).await;
    let range = minutes_after(simulation.clock.now(), 3);
    simulation.clock.sleep_until(range.start() + Duration::from_secs(20)).await;
    let flagged = || ExchangeId::all().filter(|exchange| is_flagged(*exchange));
    let requests = || flagged().map(|exchange| simulation.simulator.stats(exchange).rest_requests).collect::<Vec<_>>();
    let before = requests();
    for exchange in flagged() {
        simulation.inject_fault(exchange, FaultKind::LateClose, range.duration());
    }
    simulation.clock.sleep_until(range.end() + Duration::from_secs(17)).await;
    assert_eq!(requests(), before, "there are no REST requests");
    for (exchange, symbol) in markets().filter(|(exchange, _)| is_flagged(*exchange)) {
        service.assert_complete(&simulation, exchange, symbol, range).await;
        let states = coverage_states(&service, exchange, symbol, range).await;
        assert!(states.contains("observed") && !states.contains("fetched"), "{exchange}: {states}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_closes_need_few_rest_requests() {
    let simulation = Simulation::with_speed(SPEED).await;
    for exchange in ExchangeId::all().filter(|exchange| is_flagged(*exchange)) {
        simulation.inject_fault(exchange, FaultKind::NoClose, Duration::from_hours(1));
    }
    // The market of each exchange with the fewest minutes with trades.
    let past =
        TimeRange::new(Interval::M1.back(simulation.clock.now(), 300), Interval::M1.floor(simulation.clock.now()));
    let traded_minutes = |exchange, symbol: &str, range| {
        let expected = simulation.expected_candles(exchange, symbol, range);
        expected.iter().filter(|candle| !candle.volume.is_zero()).count()
    };
    let quietest: BTreeMap<ExchangeId, Symbol> = ExchangeId::all()
        .map(|exchange| {
            let symbols = simulation.simulator.market().listings(exchange).map(|listing| listing.symbol.clone());
            (exchange, symbols.min_by_key(|symbol| traded_minutes(exchange, symbol.as_str(), past)).unwrap())
        })
        .collect();
    let (rest, ws) = (format!("http://{}", simulation.address), format!("ws://{}", simulation.address));
    let exchanges = quietest.iter().map(|(id, symbol)| {
        format!("[exchanges.{id}]\nrest_url = \"{rest}\"\nws_url = \"{ws}\"\nsymbols = [\"{symbol}\"]\n")
    });
    let service =
        Service::start(&format!("data = \"live\"\n{}", exchanges.collect::<String>()), simulation.clock.clone()).await;
    wait_until_idle(&simulation, &service).await;
    let before = request_counts(&simulation);
    // Seven minutes, and more until one market has at least three without trades.
    let (mut range, mut minutes) = (minutes_after(simulation.clock.now(), 7), 7);
    let figures = loop {
        simulation.clock.sleep_until(range.end() + Duration::from_secs(25)).await;
        let figures = quietest.iter().map(|(&exchange, symbol)| {
            let traded = traded_minutes(exchange, symbol.as_str(), range);
            let requests = simulation.simulator.stats(exchange).rest_requests - before[&exchange];
            (exchange, minutes - traded, requests)
        });
        let figures: Vec<_> = figures.collect();
        if figures.iter().any(|(_, quiet, _)| *quiet > 2) || minutes == 17 {
            break figures;
        }
        (range, minutes) = (TimeRange::new(range.start(), Interval::M1.next(range.end())), minutes + 1);
    };
    println!("exchange, minutes without trades out of {minutes}, REST requests: {figures:?}");
    for &(exchange, quiet, requests) in &figures {
        // Without batches there would be one request per minute without trades. A batch has five minutes; at most one
        // more falls into this time. One request may read the exchange's time. Three may confirm that minutes at the
        // start of the history are empty, which happens only once.
        assert!(
            requests <= minutes as u64 / 5 + 1 + 1 + 3,
            "{exchange} received {requests} requests for {quiet} minutes without trades: {figures:?}"
        );
        service.assert_complete(&simulation, exchange, quietest[&exchange].as_str(), range).await;
    }
    assert!(figures.iter().any(|(_, quiet, _)| *quiet > 2), "some minutes have no trades: {figures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lagging_rest_candle_is_not_final() {
    let simulation = Simulation::with_speed(SPEED).await;
    let service = Service::live(&simulation).await;
    let range = minutes_after(simulation.clock.now(), 5);
    let (exchange, symbol) = (ExchangeId::COINBASE, "BTC/USD");
    simulation.inject_fault(exchange, FaultKind::RestLag, Duration::from_mins(10));
    simulation.clock.sleep_until(range.start() + Duration::from_secs(40)).await;
    // The minute of each disconnect is fetched by REST.
    for _ in 0..4 {
        simulation.inject_fault(exchange, FaultKind::Drop, Duration::ZERO);
        let next_drop = Interval::M1.next(simulation.clock.now()) + Duration::from_secs(40);
        while simulation.clock.now() < next_drop {
            let past = TimeRange::new(range.start(), range.end().min(Interval::M1.floor(simulation.clock.now())));
            if past.is_empty() {
                pause().await;
                continue;
            }
            let (complete, candles) = service.minute_candles(exchange, symbol, past).await;
            if complete {
                assert_eq!(json_rows(&candles), candle_rows(&simulation.expected_candles(exchange, symbol, past)));
            }
            pause().await;
        }
    }
    service.assert_complete(&simulation, exchange, symbol, range).await;
    let (_, candles) = service.minute_candles(exchange, symbol, range).await;
    assert!(candles.as_array().unwrap().iter().all(|candle| candle["revision"] == 0), "{candles}");
}
