//! All metrics of ours: what `docs/METRICS.md`, dashboards and alerts rest on. Tests hold this list, the code and that page
//! together.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// A metric.
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// What is counted or measured; empty where it is yes or no.
    pub unit: &'static str,
    /// Separated by commas.
    pub labels: &'static str,
    pub meaning: &'static str,
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up.
    Counter,
    /// Up and down.
    Gauge,
    /// Values by size, and their sum.
    Histogram,
}

/// All of them.
pub const METRICS: [Metric; 61] = [
    gauge("candlewick_build_info", "", "version, role, store, cache", "Always 1; what runs here"),
    histogram(
        "candlewick_http_request_seconds",
        "seconds",
        "operation, status",
        "Time until the head of an answer stands, by operation and class of status (`2xx`)",
    ),
    gauge(
        "candlewick_http_open",
        "connections",
        "kind",
        "Open now: `connection`, and of these `socket`, `events` and `export`, which is a whole range",
    ),
    counter(
        "candlewick_http_panics_total",
        "requests",
        "operation",
        "Requests whose handler panicked: answered with 500",
    ),
    counter(
        "candlewick_http_accept_errors_total",
        "errors",
        "",
        "Connections that could not be taken, mostly for want of file handles",
    ),
    counter(
        "candlewick_http_refused_connections_total",
        "connections",
        "",
        "Connections closed at once: their address has as many as it may",
    ),
    gauge("candlewick_stream_subscriptions", "topics", "door", "Topics of all clients: `stream`, `events`, `kept`"),
    counter("candlewick_stream_evictions_total", "clients", "reason", "Clients that were cut off: `slow`, `flood`"),
    counter(
        "candlewick_stream_missed_total",
        "frames",
        "channel",
        "Frames that slow clients did not get; of trades and candles they were told",
    ),
    gauge("candlewick_hub_topics", "topics", "channel", "Topics that are listened to, with those that linger"),
    counter("candlewick_hub_gaps_total", "gaps", "channel, reason", "Gaps that reached this replica's topics"),
    gauge(
        "candlewick_exchange_state",
        "",
        "exchange, state",
        "1 for the state that an exchange is in, as the collector of this process sees it",
    ),
    gauge("candlewick_markets", "markets", "exchange", "Markets that are collected"),
    gauge(
        "candlewick_unknown_ranges",
        "ranges",
        "exchange",
        "Times of collected markets that are unknown and wait to be fetched",
    ),
    counter("candlewick_gaps_total", "gaps", "exchange", "Interruptions of streams"),
    counter(
        "candlewick_holes_found_total",
        "ranges",
        "exchange",
        "Unknown times that nobody had noticed, found by the sweep",
    ),
    counter("candlewick_candles_fetched_total", "candles", "exchange", "Candles that came by REST"),
    counter(
        "candlewick_candles_rejected_total",
        "candles",
        "exchange",
        "Candles of the exchange that contradict themselves, or could not be read",
    ),
    counter("candlewick_candles_written_total", "candles", "exchange", "Candles written to the store"),
    counter(
        "candlewick_candles_revised_total",
        "candles",
        "exchange, interval",
        "Closed candles that got other values",
    ),
    counter("candlewick_candles_deleted_total", "candles", "", "Candles older than `store.retention_days`"),
    counter(
        "candlewick_fill_failures_total",
        "tries",
        "exchange",
        "Tries to make a time known that failed, and are repeated",
    ),
    counter("candlewick_backfills_total", "backfills", "exchange, result", "Backfills that ended: `done`, `failed`"),
    gauge("candlewick_writer_queue_candles", "candles", "exchange", "Candles that wait for the store"),
    histogram(
        "candlewick_writer_batch_seconds",
        "seconds",
        "exchange",
        "Time until the store has taken a batch, with all tries",
    ),
    counter(
        "candlewick_writer_refusals_total",
        "writes",
        "exchange",
        "Writes let go because the queue was full: unknown, and fetched again",
    ),
    counter(
        "candlewick_store_write_failures_total",
        "tries",
        "exchange",
        "Batches that the store did not take, and that are tried again",
    ),
    histogram("candlewick_store_seconds", "seconds", "operation", "Time that the store takes, by what it is asked"),
    counter("candlewick_store_errors_total", "calls", "operation", "Calls that the store could not do"),
    counter("candlewick_listing_failures_total", "tries", "exchange", "Listings that could not be read"),
    counter(
        "candlewick_listing_doubts_total",
        "listings",
        "exchange",
        "Listings not used because most markets had vanished or stopped at once",
    ),
    counter(
        "candlewick_listing_odd_rows_total",
        "rows",
        "exchange, effect",
        "Rows of listings that could not be read as documented: the market is `left_out`, or is `without_step`",
    ),
    counter("candlewick_leases_taken_total", "leases", "exchange", "Times that this process became the collector"),
    counter(
        "candlewick_collector_restarts_total",
        "restarts",
        "exchange",
        "Collectors that ended unasked and were started again",
    ),
    gauge("candlewick_cache_up", "", "", "Whether Redis answers; only with Redis"),
    counter("candlewick_cache_losses_total", "losses", "", "Times that Redis stopped answering"),
    counter(
        "candlewick_cache_dropped_total",
        "events",
        "",
        "News for other replicas that were let go because Redis did not keep up",
    ),
    counter("candlewick_upstream_frames_total", "frames", "exchange", "Data frames that came over WebSockets"),
    counter(
        "candlewick_upstream_frames_skipped_total",
        "frames",
        "exchange",
        "Frames that meant nothing, or held a row that cannot be true",
    ),
    counter(
        "candlewick_upstream_events_rejected_total",
        "events",
        "exchange, channel",
        "Events left out because the exchange cannot have sent their time now",
    ),
    gauge(
        "candlewick_exchange_clock_offset_seconds",
        "seconds",
        "exchange",
        "How far the exchange's clock is ahead of the machine's; negative where it is behind, 0 where it is not known",
    ),
    gauge(
        "candlewick_exchange_clock_doubt_seconds",
        "seconds",
        "exchange",
        "How wrong the offset of the exchange's clock can be, in either direction",
    ),
    counter(
        "candlewick_clock_jumps_total",
        "jumps",
        "exchange",
        "Times that the machine's clock was set or the machine slept: collection began anew",
    ),
    histogram(
        "candlewick_upstream_lag_seconds",
        "seconds",
        "exchange, channel",
        "From the exchange's own time of a ticker or trade until it was here; their clock against ours",
    ),
    gauge(
        "candlewick_upstream_silence_seconds",
        "seconds",
        "exchange",
        "Since the last data or heartbeat of the connection that is silent longest",
    ),
    gauge("candlewick_upstream_connections", "connections", "exchange, state", "WebSocket connections by state"),
    counter(
        "candlewick_upstream_connects_total",
        "connections",
        "exchange",
        "Connections opened; what is above the first is reconnects",
    ),
    counter("candlewick_upstream_dial_failures_total", "tries", "exchange", "Connections that could not be opened"),
    counter("candlewick_upstream_losses_total", "connections", "exchange", "Connections that broke"),
    counter("candlewick_upstream_stale_total", "times", "exchange", "Times that a connection was open and silent"),
    counter(
        "candlewick_upstream_rotations_total",
        "connections",
        "exchange, outcome",
        "Connections replaced before the exchange cut them",
    ),
    counter("candlewick_upstream_given_up_total", "connections", "exchange", "Connections that ended for good"),
    counter(
        "candlewick_upstream_refusals_total",
        "subscriptions",
        "exchange, channel",
        "Subscriptions that the exchange refused",
    ),
    counter(
        "candlewick_upstream_requests_total",
        "requests",
        "exchange, status",
        "REST requests by class of status; `none` is no answer",
    ),
    histogram("candlewick_upstream_request_seconds", "seconds", "exchange", "Time of a REST request"),
    counter("candlewick_upstream_retries_total", "requests", "exchange", "REST requests that were sent again"),
    gauge(
        "candlewick_upstream_budget_used_ratio",
        "ratio",
        "exchange, scope",
        "Which part of a limit of the exchange is used now",
    ),
    gauge("candlewick_upstream_breaker_open", "", "exchange, scope", "1 while the exchange told us to stay away"),
    counter(
        "candlewick_upstream_breaker_opened_total",
        "times",
        "exchange, scope",
        "Times that the exchange told us to stay away",
    ),
    counter("candlewick_upstream_region_closed_total", "answers", "exchange", "Answers that this region may not ask"),
    counter("candlewick_trace_spans_total", "spans", "result", "Spans for the collector of traces: `sent`, `lost`"),
];

const fn metric(kind: Kind, [name, unit, labels, meaning]: [&'static str; 4]) -> Metric {
    Metric { name, kind, unit, labels, meaning }
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

/// Tells the recorder what each is, for whoever reads `/metrics`.
pub fn describe() {
    for metric in &METRICS {
        let (name, meaning) = (metric.name, metric.meaning);
        match metric.kind {
            Kind::Counter => describe_counter!(name, meaning),
            Kind::Gauge => describe_gauge!(name, meaning),
            Kind::Histogram => describe_histogram!(name, meaning),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};

    use super::*;

    fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                into.push(path);
            }
        }
    }

    /// What the code counts: the macro and the labels of each name.
    fn counted() -> BTreeMap<String, BTreeSet<(&'static str, Vec<String>)>> {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        let mut found: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
        for file in files {
            let text = std::fs::read_to_string(file).unwrap();
            for kind in ["counter", "gauge", "histogram"] {
                for call in text.split(&format!("{kind}!(")).skip(1) {
                    let call = &call[..end(call)];
                    let texts: Vec<&str> = call.split('"').skip(1).step_by(2).collect();
                    let Some(name) = texts.first().filter(|name| name.starts_with("candlewick_")) else { continue };
                    // A label's name stands before its arrow.
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

    /// Where the macro's closing parenthesis stands.
    fn end(call: &str) -> usize {
        let mut depth = 1;
        let closes = |(_, c): &(usize, char)| {
            depth += i32::from(*c == '(') - i32::from(*c == ')');
            depth == 0
        };
        call.char_indices().find(closes).map_or(call.len(), |(at, _)| at)
    }

    #[test]
    fn every_metric_that_is_counted_is_in_the_list_as_it_is() {
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
        assert_eq!(listed.len(), METRICS.len(), "a name stands there twice");
        for (name, calls) in counted() {
            assert_eq!(listed.get(&name), Some(&calls), "{name}");
        }
        let uncounted: Vec<_> = listed.keys().filter(|name| !counted().contains_key(*name)).collect();
        assert!(uncounted.is_empty(), "{uncounted:?}");
    }

    #[test]
    fn alerts_and_dashboard_rest_on_what_is_counted() {
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
                assert!(METRICS.iter().any(|metric| metric.name == family), "{file} asks for {name}");
                seen += 1;
            }
            assert!(seen > 10, "{file}");
        }
        // What is alerted has its paragraph, and its test.
        let (alerts, operations, tests) =
            (read(files[0]), read("docs/OPERATIONS.md"), read("observability/alerts_test.yml"));
        for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
            assert!(operations.contains(&format!("\n### {alert}\n")), "{alert} has no runbook");
            assert!(alerts.contains(&format!("#{}\n", alert.to_lowercase())), "{alert} names no runbook");
            assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
        }
    }

    #[test]
    fn names_say_their_units() {
        for Metric { name, kind, unit, meaning, labels } in &METRICS {
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), *unit == "seconds", "{name}");
            assert!(*kind != Kind::Histogram || *unit == "seconds", "{name}");
            assert!(!meaning.is_empty() && !meaning.ends_with('.') && !labels.contains("symbol"), "{name}");
        }
    }

    #[test]
    fn the_page_says_the_same() {
        let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md")).unwrap();
        let told: Vec<&str> = page.lines().filter(|line| line.starts_with("| `candlewick_")).collect();
        let listed: Vec<String> = METRICS
            .iter()
            .map(|Metric { name, kind, unit, labels, meaning }| {
                let kind = format!("{kind:?}").to_lowercase();
                format!("| `{name}` | {kind} | {unit} | {labels} | {meaning} |")
            })
            .collect();
        assert_eq!(told, listed, "docs/METRICS.md has these rows:\n{}", listed.join("\n"));
    }
}
