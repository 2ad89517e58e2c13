//! `[collect]`: extent of data collection.

use serde::Deserialize;

/// The `[collect]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectConfig {
    /// Number of latest 1m candles to complete at start and after a stream interruption.
    pub history_minutes: u32,
    /// Maximum age of gaps that are repaired, in days.
    pub repair_days: u32,
    /// Days of 1m candles to fetch in the background for each configured market; 0 for none.
    pub backfill_days: u32,
    /// Interval between fetches of an exchange's listing, in minutes.
    pub listing_minutes: u32,
    /// Maximum number of candles queued for the store.
    pub write_queue: usize,
    /// Maximum number of markets collected on demand per exchange.
    pub on_demand_symbols: usize,
}

impl CollectConfig {
    pub(super) fn check(self) -> Result<Self, String> {
        if !(1..=100_000).contains(&self.history_minutes) {
            return Err("`collect.history_minutes` must be a number from 1 to 100000".to_owned());
        }
        if !(1..=3_650).contains(&self.repair_days) {
            return Err("`collect.repair_days` must be a number from 1 to 3650".to_owned());
        }
        if self.backfill_days > 7_300 {
            return Err("`collect.backfill_days` must be a number from 0 (none) to 7300".to_owned());
        }
        if !(1..=1_440).contains(&self.listing_minutes) {
            return Err("`collect.listing_minutes` must be a number from 1 to 1440".to_owned());
        }
        if self.write_queue < 1_000 {
            return Err("`collect.write_queue` must be at least 1000".to_owned());
        }
        Ok(self)
    }
}
