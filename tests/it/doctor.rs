//! `candlewick doctor` beside exchanges that answer, are dark, or are not configured well.

use std::time::Duration;

use candlewick::model::ExchangeId;
use candlewick::simulator::FaultKind;
use serde_json::Value;

use crate::support::World;
use crate::support::process::{all_exchanges_at, run, with};

/// What doctor finds, and its exit code.
async fn examine(world: &World, more: &[(&'static str, &'static str)]) -> (Value, Option<i32>) {
    let exchanges = all_exchanges_at(&world.address.to_string());
    let more = more.to_vec();
    let output = tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &["doctor", "--json"], &with(&more, &exchanges))
    });
    let output = output.await.unwrap();
    let told = serde_json::from_slice(&output.stdout);
    (told.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))), output.status.code())
}

fn grade<'a>(told: &'a Value, check: &str) -> &'a Value {
    let findings = told["findings"].as_array().unwrap();
    &findings.iter().find(|finding| finding["check"] == check).unwrap()["grade"]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_how_everything_is() {
    // Its exchanges show the machine's own time.
    let world = World::paced(1.0).await;
    let (told, code) = examine(&world, &[]).await;
    assert_eq!((&told["grade"], code), (&"ok".into(), Some(0)), "{told}");
    assert_eq!(told["findings"].as_array().unwrap().len(), 4 + ExchangeId::ALL.len());

    world.fault(ExchangeId::Kraken, FaultKind::Dark, Duration::from_mins(10));
    let (told, code) = examine(&world, &[("CANDLEWICK__SERVER__LISTEN", "0.0.0.0:8000")]).await;
    assert_eq!((&told["grade"], code), (&"failed".into(), Some(2)), "{told}");
    assert_eq!((grade(&told, "kraken"), grade(&told, "binance")), (&"failed".into(), &"ok".into()));
    assert_eq!(grade(&told, "configuration"), "warning", "it is open to the network");

    let (told, code) = examine(&world, &[]).await;
    assert_eq!((grade(&told, "kraken"), code), (&"warning".into(), Some(1)), "it would be simulated");
    world.simulator.set_clock_offset(ExchangeId::Bybit, -90_000);
    let (told, _) = examine(&world, &[]).await;
    let bybit = told["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "bybit").unwrap();
    let detail = bybit["detail"].as_str().unwrap();
    assert!(bybit["grade"] == "warning" && detail.contains(" s ahead of the exchange's (give or take 0."), "{detail}");
    world.simulator.set_clock_offset(ExchangeId::Bybit, 0);
    let (told, code) = examine(&world, &[("CANDLEWICK__DATA", "simulated")]).await;
    assert_eq!((&told["grade"], code), (&"ok".into(), Some(0)), "{told}");
    let (told, code) = examine(&world, &[("CANDLEWICK__STORE__URL", "sqlite:///proc/nowhere/candles.db")]).await;
    assert_eq!((grade(&told, "store"), code), (&"failed".into(), Some(2)), "{told}");
    let (told, code) = examine(&world, &[("CANDLEWICK__SERVER__LISSEN", "x")]).await;
    assert_eq!((grade(&told, "configuration"), code), (&"failed".into(), Some(2)), "{told}");
}
