//! `[collect]`: how much is collected and kept waiting.

use serde::Deserialize;

/// How much is collected and kept waiting.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectConfig {
    /// So many latest 1m candles are made whole on start and after an interruption.
    pub history_minutes: u32,
    /// Holes of collected markets that are not older than so many days are found and closed.
    pub repair_days: u32,
    /// So many days of each configured market's 1m candles are fetched in the background.
    pub backfill_days: u32,
    /// How old an exchange's listing gets before it is read again, in minutes.
    pub listing_minutes: u32,
    /// The most candles that wait for the store.
    pub write_queue: usize,
    /// The most markets of one exchange that are collected because someone asked.
    pub on_demand_symbols: usize,
}

impl CollectConfig {
    pub(super) fn check(self) -> Result<Self, String> {
        if !(1..=100_000).contains(&self.history_minutes) {
            return Err("`collect.history_minutes` is a number from 1 to 100000".to_owned());
        }
        if !(1..=3_650).contains(&self.repair_days) {
            return Err("`collect.repair_days` is a number from 1 to 3650".to_owned());
        }
        if self.backfill_days > 7_300 {
            return Err("`collect.backfill_days` is a number up to 7300, 0 for none".to_owned());
        }
        if !(1..=1_440).contains(&self.listing_minutes) {
            return Err("`collect.listing_minutes` is a number from 1 to 1440".to_owned());
        }
        if self.write_queue < 1_000 {
            return Err("`collect.write_queue` must be at least 1000".to_owned());
        }
        Ok(self)
    }
}
