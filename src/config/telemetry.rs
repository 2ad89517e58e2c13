//! `[telemetry]`: export of traces.

use secrecy::SecretString;
use serde::Deserialize;

/// The `[telemetry]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// URL of an OpenTelemetry collector; empty disables tracing.
    pub otlp_endpoint: SecretString,
    /// Fraction of the requests to trace, from 0 to 1.
    pub sample_ratio: f64,
}

impl TelemetryConfig {
    pub(super) fn check(self) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err("`telemetry.sample_ratio` must be a number from 0 to 1".to_owned());
        }
        Ok(self)
    }
}
