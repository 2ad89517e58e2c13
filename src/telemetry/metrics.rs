//! Prometheus recorder, read by `GET /metrics`.

use std::sync::OnceLock;

use metrics::gauge;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::catalog;

/// Bucket bounds of histograms, in seconds: from a response from memory to beyond client timeouts.
const BUCKETS: [f64; 13] = [0.000_1, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 2.5, 10.0];

/// Installs the recorder of the process. Further calls return the same recorder. Values recorded before the first call
/// are lost. The caller must call [`PrometheusHandle::run_upkeep`] every few seconds: until then, or until the next
/// scrape, histograms store every single value.
///
/// # Panics
/// Never: the bucket bounds are not empty.
pub fn install() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let create = || {
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &BUCKETS);
        let recorder = builder.expect("bucket bounds are not empty").build_recorder();
        let handle = recorder.handle();
        // If a user of the library has already installed another recorder, this one stays empty.
        drop(metrics::set_global_recorder(recorder));
        catalog::describe();
        handle
    };
    HANDLE.get_or_init(create).clone()
}

/// The process starts.
pub struct ProcessStarted {
    pub version: &'static str,
    pub role: &'static str,
    pub store: &'static str,
    pub cache: &'static str,
}

impl ProcessStarted {
    pub fn emit(&self) {
        let Self { version, role, store, cache } = *self;
        gauge!("candlewick_build_info", "version" => version, "role" => role, "store" => store, "cache" => cache)
            .set(1);
        tracing::info!(version, role, store, cache, "starting");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_recorded_metrics() {
        let handle = install();
        metrics::counter!("candlewick_test_total", "kind" => "a").increment(2);
        metrics::histogram!("candlewick_test_seconds").record(0.002);
        let text = install().render();
        assert!(text.contains("candlewick_test_total{kind=\"a\"} 2"), "{text}");
        assert!(text.contains("candlewick_test_seconds_bucket{le=\"0.001\"} 0"), "{text}");
        assert!(text.contains("candlewick_test_seconds_bucket{le=\"0.0025\"} 1"), "{text}");
        handle.run_upkeep();
    }
}
