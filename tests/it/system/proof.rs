//! What the ledger claims while an exchange's REST interface misbehaves, and afterwards.

use std::time::Duration;

use candlewick::model::{ExchangeId, Interval, TimeRange};
use candlewick::simulator::FaultKind;

use crate::support::{Service, World, markets, rows, servers, truth_rows, until};

/// The candles that are asked for: hours of them, long closed, that nothing has fetched yet.
fn past(world: &World) -> TimeRange {
    let end = Interval::H1.floor(world.clock.now() - Duration::from_hours(2));
    TimeRange::new(Interval::M1.back(end, 480), end)
}

/// Waits until all exchanges are collected.
async fn settled(service: Service) -> Service {
    until("all exchanges are live", async || {
        let states = service.ok("/v1/exchanges").await;
        states["exchanges"].as_array().unwrap().iter().all(|one| one["state"] == "live")
    })
    .await;
    service
}

/// Asks for hours of candles while `fault` lasts, and after it.
async fn holds_against(service: &Service, world: &World, fault: FaultKind, lasts: Duration) {
    let range = past(world);
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
    }
    assert!(looks > 0);
    for (exchange, symbol) in markets() {
        service.assert_whole(world, exchange, symbol, range).await;
    }
}

async fn live(world: &World) -> Service {
    settled(Service::live_with(world, "[collect]\nhistory_minutes = 10\n").await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_shorter_than_assumed_are_not_taken_for_whole() {
    let world = World::new().await;
    let service = live(&world).await;
    holds_against(&service, &world, FaultKind::ShortPage, Duration::from_mins(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_pages_prove_nothing_by_themselves() {
    let world = World::new().await;
    let service = live(&world).await;
    holds_against(&service, &world, FaultKind::EmptyPage, Duration::from_mins(8)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_pages_prove_nothing_to_postgresql_either() {
    let world = World::new().await;
    let (rest, ws) = (format!("http://{}", world.address), format!("ws://{}", world.address));
    let exchanges: String =
        ExchangeId::ALL.map(|id| format!("[exchanges.{id}]\nrest_url = \"{rest}\"\nws_url = \"{ws}\"\n")).concat();
    let database = servers::database().await;
    let toml =
        format!("data = \"live\"\n{exchanges}\n[collect]\nhistory_minutes = 10\n[store]\nurl = \"{database}\"\n");
    let service = settled(Service::on(&toml, world.clock.clone()).await).await;
    holds_against(&service, &world, FaultKind::EmptyPage, Duration::from_mins(8)).await;
    assert!(service.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_without_their_first_and_last_rows_are_completed() {
    let world = World::new().await;
    let service = live(&world).await;
    holds_against(&service, &world, FaultKind::EdgeRows, Duration::from_mins(8)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_rows_that_come_twice_the_final_one_is_kept() {
    let world = World::new().await;
    let service = live(&world).await;
    holds_against(&service, &world, FaultKind::RepeatedRow, Duration::from_mins(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_out_of_order_give_their_rows() {
    let world = World::new().await;
    let service = live(&world).await;
    holds_against(&service, &world, FaultKind::UnorderedPage, Duration::from_mins(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_spoils_no_page() {
    let world = World::new().await;
    let service = live(&world).await;
    holds_against(&service, &world, FaultKind::BadRow, Duration::from_mins(8)).await;
}
