//! Catalog of all metrics. Tests check that this list, the code, `docs/METRICS.md`, the dashboard and the alerts agree.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Description of a metric.
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// Unit of the value; empty for flags.
    pub unit: &'static str,
    /// Label names, separated by commas.
    pub labels: &'static str,
    /// Help text.
    pub description: &'static str,
}

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// All metrics.
pub const METRICS: [Metric; 61] = [
    gauge("candlewick_build_info", "", "version, role, store, cache", "Always 1; the labels describe this process"),
    histogram(
        "candlewick_http_request_seconds",
        "seconds",
        "operation, status",
        "Time from the request to the start of the response, by operation and status class (`2xx`)",
    ),
    gauge(
        "candlewick_http_open",
        "connections",
        "kind",
        "Open connections by kind: `connection` for all; of these, `socket`, `events` and `export` (a complete range)",
    ),
    counter(
        "candlewick_http_panics_total",
        "requests",
        "operation",
        "Requests whose handler panicked; they are answered with 500",
    ),
    counter(
        "candlewick_http_accept_errors_total",
        "errors",
        "",
        "Connections that could not be accepted, usually for lack of file descriptors",
    ),
    counter(
        "candlewick_http_refused_connections_total",
        "connections",
        "",
        "Connections closed immediately because their address has reached its connection limit",
    ),
    gauge(
        "candlewick_stream_subscriptions",
        "topics",
        "door",
        "Subscribed topics of all clients, by endpoint: `stream`, `events`, `kept` (legacy sockets)",
    ),
    counter(
        "candlewick_stream_evictions_total",
        "clients",
        "reason",
        "Disconnected clients: `slow` (did not keep up), `flood` (too many rejected messages)",
    ),
    counter(
        "candlewick_stream_missed_total",
        "frames",
        "channel",
        "Frames that slow clients missed; for trades and candles the client receives a gap",
    ),
    gauge("candlewick_hub_topics", "topics", "channel", "Subscribed topics, including topics within the linger time"),
    counter("candlewick_hub_gaps_total", "gaps", "channel, reason", "Gaps in the topics of this replica"),
    gauge(
        "candlewick_exchange_state",
        "",
        "exchange, state",
        "1 for the current state of an exchange, as reported by the collector in this process",
    ),
    gauge("candlewick_markets", "markets", "exchange", "Collected markets"),
    gauge(
        "candlewick_unknown_ranges",
        "ranges",
        "exchange",
        "Unknown time ranges of collected markets that are queued to be fetched",
    ),
    counter("candlewick_gaps_total", "gaps", "exchange", "Stream interruptions"),
    counter(
        "candlewick_holes_found_total",
        "ranges",
        "exchange",
        "Unknown time ranges found by the periodic check of the coverage ledger",
    ),
    counter("candlewick_candles_fetched_total", "candles", "exchange", "Candles fetched over REST"),
    counter(
        "candlewick_candles_rejected_total",
        "candles",
        "exchange",
        "Candles of the exchange that are inconsistent or could not be parsed",
    ),
    counter("candlewick_candles_written_total", "candles", "exchange", "Candles written to the store"),
    counter("candlewick_candles_revised_total", "candles", "exchange, interval", "Closed candles whose values changed"),
    counter(
        "candlewick_candles_deleted_total",
        "candles",
        "",
        "Candles deleted because they were older than `store.retention_days`",
    ),
    counter(
        "candlewick_fill_failures_total",
        "attempts",
        "exchange",
        "Failed attempts to fetch a time range; they are retried",
    ),
    counter("candlewick_backfills_total", "backfills", "exchange, result", "Finished backfills: `done`, `failed`"),
    gauge("candlewick_writer_queue_candles", "candles", "exchange", "Candles queued for the store"),
    histogram(
        "candlewick_writer_batch_seconds",
        "seconds",
        "exchange",
        "Time to write a batch to the store, including retries",
    ),
    counter(
        "candlewick_writer_refusals_total",
        "writes",
        "exchange",
        "Writes dropped because the queue was full; their ranges stay unknown and are fetched again",
    ),
    counter(
        "candlewick_store_write_failures_total",
        "attempts",
        "exchange",
        "Failed attempts to write a batch; they are retried",
    ),
    histogram("candlewick_store_seconds", "seconds", "operation", "Duration of store calls, by operation"),
    counter("candlewick_store_errors_total", "calls", "operation", "Failed store calls, by operation"),
    counter("candlewick_listing_failures_total", "attempts", "exchange", "Failed attempts to fetch a listing"),
    counter(
        "candlewick_listing_doubts_total",
        "listings",
        "exchange",
        "Listings not used because most markets disappeared or stopped trading at once",
    ),
    counter(
        "candlewick_listing_odd_rows_total",
        "rows",
        "exchange, effect",
        "Listing rows that deviate from the documented format: the market is `left_out`, or is `without_step`",
    ),
    counter(
        "candlewick_leases_taken_total",
        "leases",
        "exchange",
        "Leases acquired: this process became the collector of the exchange",
    ),
    counter(
        "candlewick_collector_restarts_total",
        "restarts",
        "exchange",
        "Collectors that ended unexpectedly and were restarted",
    ),
    gauge("candlewick_cache_up", "", "", "1 if Redis is reachable, otherwise 0; only with Redis"),
    counter("candlewick_cache_losses_total", "losses", "", "Times that Redis became unreachable"),
    counter(
        "candlewick_cache_dropped_total",
        "events",
        "",
        "Events for other replicas that were dropped because Redis did not keep up",
    ),
    counter("candlewick_upstream_frames_total", "frames", "exchange", "Data frames received over WebSockets"),
    counter(
        "candlewick_upstream_frames_skipped_total",
        "frames",
        "exchange",
        "Frames that could not be parsed or contained an invalid row",
    ),
    counter(
        "candlewick_upstream_events_rejected_total",
        "events",
        "exchange, channel",
        "Events dropped because their exchange time is not plausible",
    ),
    gauge(
        "candlewick_exchange_clock_offset_seconds",
        "seconds",
        "exchange",
        "Exchange time minus local time; 0 if it is unknown",
    ),
    gauge(
        "candlewick_exchange_clock_doubt_seconds",
        "seconds",
        "exchange",
        "Maximum error of the clock offset, in either direction",
    ),
    counter(
        "candlewick_clock_jumps_total",
        "jumps",
        "exchange",
        "Jumps of the machine's clock (clock set, or machine suspended); the collection restarts",
    ),
    histogram(
        "candlewick_upstream_lag_seconds",
        "seconds",
        "exchange, channel",
        "Time from the exchange's timestamp of a ticker or trade to its receipt, by the estimated exchange clock",
    ),
    gauge(
        "candlewick_upstream_silence_seconds",
        "seconds",
        "exchange",
        "Time since the last data or heartbeat of the connection that is silent longest",
    ),
    gauge("candlewick_upstream_connections", "connections", "exchange, state", "WebSocket connections by state"),
    counter(
        "candlewick_upstream_connects_total",
        "connections",
        "exchange",
        "Opened connections, including reconnects",
    ),
    counter("candlewick_upstream_dial_failures_total", "attempts", "exchange", "Failed attempts to connect"),
    counter("candlewick_upstream_losses_total", "connections", "exchange", "Lost connections"),
    counter(
        "candlewick_upstream_stale_total",
        "times",
        "exchange",
        "Times that an open connection received nothing for too long",
    ),
    counter(
        "candlewick_upstream_rotations_total",
        "connections",
        "exchange, outcome",
        "Attempts to replace a connection before the exchange closes it: `ok`, `failed`",
    ),
    counter(
        "candlewick_upstream_given_up_total",
        "connections",
        "exchange",
        "Connections that ended with a permanent error and are not reopened",
    ),
    counter(
        "candlewick_upstream_refusals_total",
        "subscriptions",
        "exchange, channel",
        "Subscriptions that the exchange rejected",
    ),
    counter(
        "candlewick_upstream_requests_total",
        "requests",
        "exchange, status",
        "REST requests by status class; `none` means no response",
    ),
    histogram("candlewick_upstream_request_seconds", "seconds", "exchange", "Duration of REST requests"),
    counter("candlewick_upstream_retries_total", "requests", "exchange", "Retried REST requests"),
    gauge(
        "candlewick_upstream_budget_used_ratio",
        "ratio",
        "exchange, scope",
        "Used fraction of a rate limit of the exchange",
    ),
    gauge(
        "candlewick_upstream_breaker_open",
        "",
        "exchange, scope",
        "1 while the circuit breaker is open because the exchange demanded a pause (rate limit or ban)",
    ),
    counter(
        "candlewick_upstream_breaker_opened_total",
        "times",
        "exchange, scope",
        "Times that the circuit breaker opened",
    ),
    counter(
        "candlewick_upstream_region_closed_total",
        "responses",
        "exchange",
        "Responses that deny access from this region",
    ),
    counter("candlewick_trace_spans_total", "spans", "result", "Exported spans: `sent`, `lost`"),
];

const fn metric(kind: Kind, [name, unit, labels, description]: [&'static str; 4]) -> Metric {
    Metric { name, kind, unit, labels, description }
}

const fn counter(name: &'static str, unit: &'static str, labels: &'static str, meaning: &'static str) -> Metric {
    metric(Kind::Counter, [name, unit, labels, meaning])
}

const fn gauge(name: &'static str, unit: &'static str, labels: &'static str, meaning: &'static str) -> Metric {
    metric(Kind::Gauge, [name, unit, labels, meaning])
}

const fn histogram(name: &'static str, unit: &'static str, labels: &'static str, meaning: &'static str) -> Metric {
    metric(Kind::Histogram, [name, unit, labels, meaning])
}

/// Registers the descriptions with the recorder, for `/metrics`.
pub fn describe() {
    for metric in &METRICS {
        let (name, description) = (metric.name, metric.description);
        match metric.kind {
            Kind::Counter => describe_counter!(name, description),
            Kind::Gauge => describe_gauge!(name, description),
            Kind::Histogram => describe_histogram!(name, description),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};

    use super::*;

    /// Adds all Rust files below `folder` to `files`.
    fn find_sources(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                find_sources(&path, files);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                files.push(path);
            }
        }
    }

    /// The metrics that the code records: macro and labels per name.
    fn recorded() -> BTreeMap<String, BTreeSet<(&'static str, Vec<String>)>> {
        let mut files = Vec::new();
        find_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        let mut found: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
        for file in files {
            let text = std::fs::read_to_string(file).unwrap();
            for kind in ["counter", "gauge", "histogram"] {
                for call in text.split(&format!("{kind}!(")).skip(1) {
                    let call = &call[..end(call)];
                    let texts: Vec<&str> = call.split('"').skip(1).step_by(2).collect();
                    let Some(name) = texts.first().filter(|name| name.starts_with("candlewick_")) else { continue };
                    // A label name precedes its arrow.
                    let labels = call.match_indices("=>").map(|(at, _)| {
                        call[..at].trim_end().trim_end_matches('"').rsplit('"').next().unwrap().to_owned()
                    });
                    found.entry((*name).to_owned()).or_default().insert((kind, labels.collect()));
                }
            }
        }
        found.retain(|name, _| !name.starts_with("candlewick_test"));
        found
    }

    /// Position of the macro's closing parenthesis.
    fn end(call: &str) -> usize {
        let mut depth = 1;
        let closes = |(_, c): &(usize, char)| {
            depth += i32::from(*c == '(') - i32::from(*c == ')');
            depth == 0
        };
        call.char_indices().find(closes).map_or(call.len(), |(at, _)| at)
    }

    #[test]
    fn catalog_matches_recorded_metrics() {
        let listed: BTreeMap<String, BTreeSet<_>> = METRICS
            .iter()
            .map(|metric| {
                let kind = match metric.kind {
                    Kind::Counter => "counter",
                    Kind::Gauge => "gauge",
                    Kind::Histogram => "histogram",
                };
                let labels = metric.labels.split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
                (metric.name.to_owned(), BTreeSet::from([(kind, labels)]))
            })
            .collect();
        assert_eq!(listed.len(), METRICS.len(), "duplicate name");
        for (name, calls) in recorded() {
            assert_eq!(listed.get(&name), Some(&calls), "{name}");
        }
        let unused: Vec<_> = listed.keys().filter(|name| !recorded().contains_key(*name)).collect();
        assert!(unused.is_empty(), "{unused:?}");
    }

    #[test]
    fn alerts_and_dashboard_use_existing_metrics() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        let files = ["observability/alerts.yml", "observability/grafana/dashboards/candlewick.json"];
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        for file in files {
            let text = read(file);
            let names = text.split(|c| !is_name(c)).filter(|word| word.starts_with("candlewick_"));
            let mut seen = 0;
            for name in names {
                let parts = ["_bucket", "_count", "_sum"];
                let family = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
                assert!(METRICS.iter().any(|metric| metric.name == family), "{file} uses {name}");
                seen += 1;
            }
            assert!(seen > 10, "{file}");
        }
        // Every alert has a runbook section and a test.
        let (alerts, operations, tests) =
            (read(files[0]), read("docs/OPERATIONS.md"), read("observability/alerts_test.yml"));
        for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
            assert!(operations.contains(&format!("\n### {alert}\n")), "{alert} has no runbook");
            assert!(alerts.contains(&format!("#{}\n", alert.to_lowercase())), "{alert} does not link its runbook");
            assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
        }
    }

    #[test]
    fn names_match_kinds_and_units() {
        for Metric { name, kind, unit, description, labels } in &METRICS {
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), *unit == "seconds", "{name}");
            assert!(*kind != Kind::Histogram || *unit == "seconds", "{name}");
            assert!(!description.is_empty() && !description.ends_with('.') && !labels.contains("symbol"), "{name}");
        }
    }

    #[test]
    fn documentation_matches_catalog() {
        let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md")).unwrap();
        let documented: Vec<&str> = page.lines().filter(|line| line.starts_with("| `candlewick_")).collect();
        let listed: Vec<String> = METRICS
            .iter()
            .map(|Metric { name, kind, unit, labels, description }| {
                let kind = format!("{kind:?}").to_lowercase();
                format!("| `{name}` | {kind} | {unit} | {labels} | {description} |")
            })
            .collect();
        assert_eq!(documented, listed, "docs/METRICS.md must have these rows:\n{}", listed.join("\n"));
    }
}
