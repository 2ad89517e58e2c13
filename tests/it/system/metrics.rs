//! What a running service tells Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use candlewick::telemetry::catalog::METRICS;

use crate::support::{Service, World, until};

/// The families of a page: their kinds.
fn families(page: &str) -> BTreeMap<&str, &str> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split_once(' '));
    types.filter(|(name, _)| name.starts_with("candlewick_") && !name.starts_with("candlewick_test")).collect()
}

#[tokio::test]
async fn metrics_are_what_their_page_says() {
    let world = World::new().await;
    let service = Service::live(&world).await;
    // What every service has counted after its first minutes.
    let soon = [
        "candlewick_build_info",
        "candlewick_exchange_state",
        "candlewick_markets",
        "candlewick_unknown_ranges",
        "candlewick_writer_queue_candles",
        "candlewick_writer_batch_seconds",
        "candlewick_store_seconds",
        "candlewick_candles_written_total",
        "candlewick_leases_taken_total",
        "candlewick_http_request_seconds",
        "candlewick_http_open",
        "candlewick_upstream_frames_total",
        "candlewick_upstream_lag_seconds",
        "candlewick_upstream_silence_seconds",
        "candlewick_upstream_connections",
        "candlewick_upstream_connects_total",
        "candlewick_upstream_requests_total",
        "candlewick_upstream_request_seconds",
        "candlewick_upstream_budget_used_ratio",
        "candlewick_upstream_breaker_open",
    ];
    let mut page = String::new();
    until("all that is counted soon is there", async || {
        page = service.http.get(format!("{}/metrics", service.base)).send().await.unwrap().text().await.unwrap();
        let there = families(&page);
        soon.iter().all(|name| there.contains_key(name))
    })
    .await;
    let told = |name: &str| page.lines().any(|line| line.starts_with(&format!("# HELP {name} ")));
    let listed: BTreeMap<&str, String> =
        METRICS.iter().map(|metric| (metric.name, format!("{:?}", metric.kind).to_lowercase())).collect();
    for (name, kind) in families(&page) {
        assert_eq!(listed.get(name).map(String::as_str), Some(kind), "{name}");
        assert!(told(name), "{name} has no help");
    }
    for name in ["process_resident_memory_bytes", "process_open_fds"] {
        assert!(page.contains(&format!("\n{name} ")), "{name}");
    }
    let live = "candlewick_exchange_state{exchange=\"binance\",state=\"live\"} 1";
    assert!(page.contains(live), "{page}");
    let symbols: BTreeSet<&str> = page.lines().filter(|line| line.contains("BTC")).collect();
    assert!(symbols.is_empty(), "{symbols:?}");
    check_with_promtool(&page);
}

/// As Prometheus itself judges it, where its tool is there.
fn check_with_promtool(page: &str) {
    let started =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = started else {
        eprintln!("promtool is not here: what it would say of /metrics is not known");
        return;
    };
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
