//! What the ledger claims while an exchange's REST interface misbehaves, and afterwards.

use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, TimeRange};
use candlewick::simulator::FaultKind;

use crate::support::{Service, World, markets, pause, rows, servers, truth_rows, until};

/// The candles that are asked for: hours of them, long closed, that nothing has fetched yet.
fn past(world: &World, minutes: u32) -> TimeRange {
    let end = Interval::H1.floor(world.clock.now() - Duration::from_hours(2));
    TimeRange::new(Interval::M1.back(end, minutes), end)
}

/// Asks for hours of candles while `fault` lasts, and after it.
async fn holds_against(service: &Service, world: &World, fault: FaultKind, lasts: Duration) {
    service.until_live().await;
    let range = past(world, 480);
    for exchange in ExchangeId::ALL {
        world.fault(exchange, fault, lasts);
    }
    let over = world.clock.now() + lasts;
    let mut looks = 0;
    while world.clock.now() < over {
        for (exchange, symbol) in markets() {
            let (complete, told) = service.minutes(exchange, symbol, range).await;
            let truth = truth_rows(&world.truth(exchange, symbol, range));
            looks += 1;
            let told = rows(&told);
            assert!(told.iter().all(|row| truth.contains(row)), "{exchange} told a candle that is not true: {fault:?}");
            assert!(!complete || told == truth, "{exchange} calls {} of {} complete", told.len(), truth.len());
        }
        pause().await;
    }
    assert!(looks > 0);
    for (exchange, symbol) in markets() {
        service.assert_whole(world, exchange, symbol, range).await;
    }
}

/// Little is known before the fault.
const HISTORY: &str = "[collect]\nhistory_minutes = 10";

/// Faults of pages, and for how many minutes each befalls all exchanges: long enough that a fill meets them again.
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
async fn page_faults_prove_nothing() {
    for (fault, minutes) in PAGE_FAULTS {
        let world = World::new().await;
        let service = Service::live_with(&world, HISTORY).await;
        holds_against(&service, &world, fault, Duration::from_mins(minutes)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn page_faults_prove_nothing_to_postgresql_either() {
    let world = World::new().await;
    let database = servers::database().await;
    let toml = format!("{}\n{HISTORY}\n[store]\nurl = \"{database}\"\n", world.config());
    let service = Service::on(&toml, world.clock.clone()).await;
    holds_against(&service, &world, FaultKind::EmptyPage, Duration::from_mins(8)).await;
    assert!(service.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_off_the_grid_are_named_and_asked_for_again() {
    let world = World::new().await;
    let service = Service::live_with(&world, HISTORY).await;
    service.until_live().await;
    let range = past(&world, 240);
    for exchange in ExchangeId::ALL {
        world.fault(exchange, FaultKind::OffGrid, Duration::from_hours(10));
    }
    for (exchange, symbol) in markets() {
        let (start, end) = (range.start().millis(), range.end().millis());
        let path = format!("/v1/history?exchange={exchange}&symbol={symbol}&start={start}&end={end}&limit=5000");
        until(&format!("the gap of {exchange} is named"), async || {
            let page = service.ok(&path).await;
            assert_eq!(page["complete"], false, "{exchange} calls rows off the grid complete");
            page["gaps"].as_array().unwrap().iter().any(|gap| gap["reason"] == "off_grid")
        })
        .await;
    }
    for (exchange, symbol) in markets() {
        world.simulator.end_fault(exchange, FaultKind::OffGrid);
        service.assert_whole(&world, exchange, symbol, range).await;
    }
}
