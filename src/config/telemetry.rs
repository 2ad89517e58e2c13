//! `[telemetry]`: where traces go.

use secrecy::SecretString;
use serde::Deserialize;

/// Where traces go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// A collector's URL; empty is nowhere.
    pub otlp_endpoint: SecretString,
    /// Which part of the requests is traced, from 0 to 1.
    pub sample_ratio: f64,
}

impl TelemetryConfig {
    pub(super) fn check(self) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err("`telemetry.sample_ratio` is a number from 0 to 1".to_owned());
        }
        Ok(self)
    }
}
