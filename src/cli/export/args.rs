//! Arguments of `candlewick export`.

use std::path::{Path, PathBuf};

use crate::cli::exchange_arg::exchange_help;
use crate::model::{ExchangeId, Interval, Timestamp};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, help = exchange_help("Exchange"))]
    pub exchange: ExchangeId,
    /// Market: BTC/USDT, BTC-USDT, or the exchange's own id
    #[arg(long)]
    pub symbol: String,
    /// Candle interval; 1m is a minute, 1M a month
    #[arg(long, default_value = "1m")]
    pub interval: Interval,
    /// Start of the range: 2024-01-01 (UTC), RFC 3339 or Unix milliseconds [default: the first stored candle]
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    pub since: Option<Timestamp>,
    /// End of the range, exclusive [default: now]
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    pub until: Option<Timestamp>,
    /// File format [default: from the file name extension, otherwise csv]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Output file, which appears only once it is complete [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Configuration file, whose store is read [default: candlewick.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    pub config: Option<PathBuf>,
}

/// File formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated values with a header, like `GET /v1/history?format=csv`
    Csv,
    /// One JSON object per line, like `GET /v1/history?format=ndjson`
    Ndjson,
    /// Apache Parquet, if the binary was built with it
    Parquet,
}

impl Format {
    /// The format that the extension of a file name stands for; CSV for an unknown one.
    pub fn from_path(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("ndjson" | "jsonl") => Self::Ndjson,
            Some("parquet") => Self::Parquet,
            _ => Self::Csv,
        }
    }
}
