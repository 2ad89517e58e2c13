//! Where metrics are counted: a Prometheus recorder, read by `GET /metrics`.

use std::sync::OnceLock;

use metrics::gauge;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::catalog;

/// The bounds of histograms of seconds: from what memory answers to what no client waits for.
const SECONDS: [f64; 13] = [0.000_1, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 2.5, 10.0];

/// Installs the recorder of the process; every further call gives the same one. What is counted before the first call is
/// lost. Someone has to call [`PrometheusHandle::run_upkeep`] every few seconds: until then, or until the next reading,
/// each value of a histogram is kept.
///
/// # Panics
/// Never: there are bounds for histograms.
pub fn install() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let make = || {
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS);
        let recorder = builder.expect("there are bounds").build_recorder();
        let handle = recorder.handle();
        // Where another recorder is installed already, as a host of the library may do, ours stays empty.
        drop(metrics::set_global_recorder(recorder));
        catalog::describe();
        handle
    };
    HANDLE.get_or_init(make).clone()
}

/// A process begins.
pub struct Started {
    pub version: &'static str,
    pub role: &'static str,
    pub store: &'static str,
    pub cache: &'static str,
}

impl Started {
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
    fn what_is_counted_is_shown() {
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
