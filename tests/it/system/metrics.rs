//! The metrics of a running service.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use candlewick::telemetry::catalog::METRICS;

use crate::support::{Service, Simulation, wait_until};

/// Names and types of the metric families of a page.
fn families(page: &str) -> BTreeMap<&str, &str> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split_once(' '));
    types.filter(|(name, _)| name.starts_with("candlewick_") && !name.starts_with("candlewick_test")).collect()
}

#[tokio::test]
async fn metrics_match_catalog() {
    let simulation = Simulation::new().await;
    let service = Service::live(&simulation).await;
    // Metrics that every service exports within its first minutes.
    let expected = [
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
    wait_until("all expected metrics are exported", async || {
        page = service.http.get(format!("{}/metrics", service.base_url)).send().await.unwrap().text().await.unwrap();
        let exported = families(&page);
        expected.iter().all(|name| exported.contains_key(name))
    })
    .await;
    let has_help = |name: &str| page.lines().any(|line| line.starts_with(&format!("# HELP {name} ")));
    let catalog: BTreeMap<&str, String> =
        METRICS.iter().map(|metric| (metric.name, format!("{:?}", metric.kind).to_lowercase())).collect();
    for (name, kind) in families(&page) {
        assert_eq!(catalog.get(name).map(String::as_str), Some(kind), "{name}");
        assert!(has_help(name), "{name} has no help");
    }
    for name in ["process_resident_memory_bytes", "process_open_fds"] {
        assert!(page.contains(&format!("\n{name} ")), "{name}");
    }
    let live = "candlewick_exchange_state{exchange=\"binance\",state=\"live\"} 1";
    assert!(page.contains(live), "{page}");
    let with_symbols: BTreeSet<&str> = page.lines().filter(|line| line.contains("BTC")).collect();
    assert!(with_symbols.is_empty(), "{with_symbols:?}");
    check_with_promtool(&page);
}

/// Checks the page with Prometheus' own tool if it is installed.
fn check_with_promtool(page: &str) {
    let spawned =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = spawned else {
        eprintln!("promtool is not installed: skipped its check of /metrics");
        return;
    };
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
