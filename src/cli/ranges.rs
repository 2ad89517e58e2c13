//! Arguments that select time ranges of series.

use anyhow::anyhow;

use crate::market::{BackfillParams, BackfillQuery};
use crate::model::{ExchangeId, Interval, Symbol, TimeRange, Timestamp};

#[derive(Debug, clap::Args)]
pub struct RangeArgs {
    /// Exchange id
    #[arg(long, value_name = "ID")]
    pub exchange: ExchangeId,

    /// Markets, separated by commas
    #[arg(long, value_name = "SYMBOLS", value_delimiter = ',', required = true)]
    symbol: Vec<Symbol>,

    /// Candle intervals, separated by commas
    #[arg(long, value_name = "INTERVALS", value_delimiter = ',', default_value = "1m")]
    interval: Vec<Interval>,

    /// Start of the range: 2024-01-01, RFC 3339 or Unix milliseconds
    #[arg(long, value_name = "TIME")]
    since: String,

    /// End of the range, exclusive [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// A time range of one series.
pub struct SeriesRange {
    pub symbol: Symbol,
    pub interval: Interval,
    pub range: TimeRange,
}

/// Result of fetching a [`SeriesRange`]: a summary, or the reason of a failure.
pub type Outcome = Result<String, String>;

impl SeriesRange {
    pub fn label(&self) -> String {
        format!("{} {}", self.symbol, self.interval)
    }

    /// Number of candles in the range, closed or not.
    pub fn candle_count(&self) -> u64 {
        self.interval.open_times(self.range).map(|_| 1).sum()
    }
}

impl RangeArgs {
    /// The range of each series.
    ///
    /// # Errors
    /// The range is invalid; the message has all reasons.
    pub fn series_ranges(&self, now: Timestamp) -> anyhow::Result<Vec<SeriesRange>> {
        let mut series_ranges = Vec::new();
        for interval in self.interval.iter().copied() {
            let until = self.until.as_deref();
            let fields = BackfillParams { interval: Some(interval.as_str()), since: &self.since, until };
            let BackfillQuery { range, .. } = BackfillQuery::new(fields, now)
                .map_err(|errors| anyhow!(errors.into_iter().map(|one| one.detail).collect::<Vec<_>>().join("; ")))?;
            series_ranges.extend(self.symbol.iter().map(|symbol| SeriesRange {
                symbol: symbol.clone(),
                interval,
                range,
            }));
        }
        Ok(series_ranges)
    }
}
