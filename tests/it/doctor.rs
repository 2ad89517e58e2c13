//! `candlewick doctor` with reachable and unreachable exchanges, clock offsets and invalid configuration.

use std::time::Duration;

use candlewick::model::ExchangeId;
use candlewick::simulator::FaultKind;
use serde_json::Value;

use crate::support::Simulation;
use crate::support::process::{exchange_urls, merge_env, run};

/// Runs doctor. Returns its JSON report and exit code.
async fn run_doctor(simulation: &Simulation, extra: &[(&'static str, &'static str)]) -> (Value, Option<i32>) {
    let exchanges = exchange_urls(&simulation.address.to_string());
    let extra = extra.to_vec();
    let output = tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &["doctor", "--json"], &merge_env(&extra, &exchanges))
    });
    let output = output.await.unwrap();
    let report = serde_json::from_slice(&output.stdout);
    (report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))), output.status.code())
}

fn grade<'a>(report: &'a Value, check: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    &findings.iter().find(|finding| finding["check"] == check).unwrap()["grade"]
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_grades_each_check() {
    // The simulated exchanges report the machine's time.
    let simulation = Simulation::with_speed(1.0).await;
    let (report, code) = run_doctor(&simulation, &[]).await;
    assert_eq!((&report["grade"], code), (&"ok".into(), Some(0)), "{report}");
    assert_eq!(report["findings"].as_array().unwrap().len(), 4 + ExchangeId::all().len());

    simulation.inject_fault(ExchangeId::KRAKEN, FaultKind::Dark, Duration::from_mins(10));
    let (report, code) = run_doctor(&simulation, &[("CANDLEWICK__SERVER__LISTEN", "0.0.0.0:8000")]).await;
    assert_eq!((&report["grade"], code), (&"failed".into(), Some(2)), "{report}");
    assert_eq!((grade(&report, "kraken"), grade(&report, "binance")), (&"failed".into(), &"ok".into()));
    assert_eq!(grade(&report, "configuration"), "warning", "the service is open to the network");

    let (report, code) = run_doctor(&simulation, &[]).await;
    assert_eq!((grade(&report, "kraken"), code), (&"warning".into(), Some(1)), "the service would simulate kraken");
    simulation.simulator.set_clock_offset(ExchangeId::BYBIT, -90_000);
    let (report, _) = run_doctor(&simulation, &[]).await;
    let bybit = report["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "bybit").unwrap();
    let detail = bybit["detail"].as_str().unwrap();
    assert!(bybit["grade"] == "warning" && detail.contains(" s ahead of the exchange's clock (± 0."), "{detail}");
    simulation.simulator.set_clock_offset(ExchangeId::BYBIT, 0);
    let (report, code) = run_doctor(&simulation, &[("CANDLEWICK__DATA", "simulated")]).await;
    assert_eq!((&report["grade"], code), (&"ok".into(), Some(0)), "{report}");
    let (report, code) =
        run_doctor(&simulation, &[("CANDLEWICK__STORE__URL", "sqlite:///proc/nowhere/candles.db")]).await;
    assert_eq!((grade(&report, "store"), code), (&"failed".into(), Some(2)), "{report}");
    let (report, code) = run_doctor(&simulation, &[("CANDLEWICK__SERVER__LISSEN", "x")]).await;
    assert_eq!((grade(&report, "configuration"), code), (&"failed".into(), Some(2)), "{report}");
}
