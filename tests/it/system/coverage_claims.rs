//! Coverage claims while the REST API of an exchange returns faulty pages, and afterwards.

use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, TimeRange};
use candlewick::simulator::FaultKind;

use crate::support::{Service, Simulation, candle_rows, json_rows, markets, pause, servers, wait_until};

/// A range of closed candles that nothing has fetched yet. It ends two hours ago.
fn past(simulation: &Simulation, minutes: u32) -> TimeRange {
    let end = Interval::H1.floor(simulation.clock.now() - Duration::from_hours(2));
    TimeRange::new(Interval::M1.back(end, minutes), end)
}

/// Requests eight hours of candles during a fault and after it.
async fn assert_no_false_claims(service: &Service, simulation: &Simulation, fault: FaultKind, duration: Duration) {
    service.wait_until_live().await;
    let range = past(simulation, 480);
    for exchange in ExchangeId::all() {
        simulation.inject_fault(exchange, fault, duration);
    }
    let fault_end = simulation.clock.now() + duration;
    let mut polls = 0;
    while simulation.clock.now() < fault_end {
        for (exchange, symbol) in markets() {
            let (complete, candles) = service.minute_candles(exchange, symbol, range).await;
            let expected = candle_rows(&simulation.expected_candles(exchange, symbol, range));
            polls += 1;
            let rows = json_rows(&candles);
            assert!(rows.iter().all(|row| expected.contains(row)), "{exchange}: wrong candle: {fault:?}");
            assert!(
                !complete || rows == expected,
                "{exchange}: complete with {} of {} candles",
                rows.len(),
                expected.len()
            );
        }
        pause().await;
    }
    assert!(polls > 0);
    for (exchange, symbol) in markets() {
        service.assert_complete(simulation, exchange, symbol, range).await;
    }
}

/// Limits the history that is fetched at the start.
const HISTORY: &str = "[collect]\nhistory_minutes = 10";

/// Faults of REST pages and their durations in minutes, long enough for fills to meet the fault again.
const PAGE_FAULTS: [(FaultKind, u64); 10] = [
    (FaultKind::ShortPage, 5),
    (FaultKind::EmptyPage, 8),
    (FaultKind::EdgeRows, 8),
    (FaultKind::MissingRow, 8),
    (FaultKind::RepeatedRow, 5),
    (FaultKind::UnorderedPage, 5),
    (FaultKind::BadRow, 8),
    (FaultKind::OtherPage, 5),
    (FaultKind::PageMicroseconds, 5),
    (FaultKind::ZeroPrice, 5),
];

#[tokio::test(flavor = "multi_thread")]
async fn page_faults_cause_no_false_claims() {
    for (fault, minutes) in PAGE_FAULTS {
        let simulation = Simulation::new().await;
        let service = Service::live_with_config(&simulation, HISTORY).await;
        assert_no_false_claims(&service, &simulation, fault, Duration::from_mins(minutes)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn page_faults_cause_no_false_claims_in_postgres() {
    let simulation = Simulation::new().await;
    let database = servers::database().await;
    let toml = format!("{}\n{HISTORY}\n[store]\nurl = \"{database}\"\n", simulation.config());
    let service = Service::start_with_store(&toml, simulation.clock.clone()).await;
    assert_no_false_claims(&service, &simulation, FaultKind::EmptyPage, Duration::from_mins(8)).await;
    assert!(service.shut_down().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn off_grid_rows_are_reported_as_gap_and_refetched() {
    let simulation = Simulation::new().await;
    let service = Service::live_with_config(&simulation, HISTORY).await;
    service.wait_until_live().await;
    let range = past(&simulation, 240);
    for exchange in ExchangeId::all() {
        simulation.inject_fault(exchange, FaultKind::OffGrid, Duration::from_hours(10));
    }
    for (exchange, symbol) in markets() {
        let (start, end) = (range.start().millis(), range.end().millis());
        let path = format!("/v1/history?exchange={exchange}&symbol={symbol}&start={start}&end={end}&limit=5000");
        wait_until(&format!("the gap of {exchange} is reported"), async || {
            let page = service.get_ok(&path).await;
            assert_eq!(page["complete"], false, "{exchange}: complete with rows off the grid");
            page["gaps"].as_array().unwrap().iter().any(|gap| gap["reason"] == "off_grid")
        })
        .await;
    }
    for (exchange, symbol) in markets() {
        simulation.simulator.end_fault(exchange, FaultKind::OffGrid);
        service.assert_complete(&simulation, exchange, symbol, range).await;
    }
}
