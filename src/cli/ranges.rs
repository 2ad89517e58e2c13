//! Which ranges of which series a command is about.

use anyhow::anyhow;

use crate::market::{BackfillFields, BackfillQuery};
use crate::model::{ExchangeId, Interval, Symbol, TimeRange, Timestamp};

#[derive(Debug, clap::Args)]
pub struct RangeArgs {
    /// The exchange
    #[arg(long, value_name = "ID")]
    pub exchange: ExchangeId,

    /// The markets, with commas between them
    #[arg(long, value_name = "SYMBOLS", value_delimiter = ',', required = true)]
    symbol: Vec<Symbol>,

    /// How long a candle lasts; several with commas between them
    #[arg(long, value_name = "INTERVALS", value_delimiter = ',', default_value = "1m")]
    interval: Vec<Interval>,

    /// From when on: 2024-01-01, RFC 3339 or Unix milliseconds
    #[arg(long, value_name = "TIME")]
    since: String,

    /// Until when, exclusive [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// A range of one series.
pub struct Wanted {
    pub symbol: Symbol,
    pub interval: Interval,
    pub range: TimeRange,
}

impl Wanted {
    pub fn name(&self) -> String {
        format!("{} {}", self.symbol, self.interval)
    }

    /// How many candles fit in the range.
    pub fn candles(&self) -> u64 {
        self.interval.opens(self.range).map(|_| 1).sum()
    }
}

impl RangeArgs {
    /// The ranges of all series.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn wanted(&self, now: Timestamp) -> anyhow::Result<Vec<Wanted>> {
        let mut wanted = Vec::new();
        for interval in self.interval.iter().copied() {
            let until = self.until.as_deref();
            let fields = BackfillFields { interval: Some(interval.as_str()), since: &self.since, until };
            let BackfillQuery { range, .. } = BackfillQuery::new(fields, now)
                .map_err(|wrong| anyhow!(wrong.into_iter().map(|one| one.detail).collect::<Vec<_>>().join("; ")))?;
            wanted.extend(self.symbol.iter().map(|symbol| Wanted { symbol: symbol.clone(), interval, range }));
        }
        Ok(wanted)
    }
}
