//! `candlewick export`: the closed candles of the store as a file for notebooks and backtests.
//!
//! It reads the configured store page after page, in constant memory, without a network and also beside a running
//! service. What is missing is said: in the file's metadata, and in the last sentence.

mod find;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod report;

use std::io::{ErrorKind, IsTerminal, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::mpsc;

use self::output::Output;
use self::report::Report;
use super::progress::{Group, Line, count};
use crate::app;
use crate::clock::Clock;
use crate::config::{Config, StoreUrl};
use crate::model::{ExchangeId, Interval, Series, TimeRange, Timestamp};
use crate::store::{CandleStore, StoreError, StoredPage, Take};
use crate::upstream::install_crypto;

/// How many candles are read at once.
const PAGE: u32 = 5_000;

/// How many pages may wait to be written.
const AHEAD: usize = 2;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose candles: binance, kraken, coinbase, okx, bybit
    #[arg(long)]
    exchange: ExchangeId,
    /// The market: BTC/USDT, BTC-USDT, or the exchange's own id
    #[arg(long)]
    symbol: String,
    /// How long a candle lasts; 1m is a minute, 1M a month
    #[arg(long, default_value = "1m")]
    interval: Interval,
    /// The first open time: a date such as 2024-01-01 (UTC), RFC 3339, or Unix milliseconds [default: the first that is known]
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    since: Option<Timestamp>,
    /// Where the range ends, exclusive [default: now]
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    until: Option<Timestamp>,
    /// How candles are written [default: what the file's name ends with, else csv]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The file to write [default: standard output]. It appears when it is whole
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The configuration file, whose store is read [default: candlewick.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,
}

/// How candles are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Comma-separated, with a line of names; as `GET /v1/history?format=csv`
    Csv,
    /// A JSON object a line; as `GET /v1/history?format=ndjson`
    Ndjson,
    /// Apache Parquet, where it was built in
    Parquet,
}

impl Format {
    fn of(path: &Path) -> Self {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("ndjson" | "jsonl") => Self::Ndjson,
            Some("parquet") => Self::Parquet,
            _ => Self::Csv,
        }
    }
}

/// Exports a range. Gaps in it are told, and no failure.
///
/// # Errors
/// A store that cannot be read, a range of which it has nothing, a file that cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.config.clone())?;
    install_crypto();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")?;
    let done = runtime.block_on(export(args, &config));
    // A page that is still being read has no reader any more.
    runtime.shutdown_background();
    done
}

async fn export(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let clock = Clock::system();
    let format = args.format.unwrap_or_else(|| args.output.as_deref().map_or(Format::Csv, Format::of));
    output::check(format, args.output.as_deref())?;
    in_a_file(config)?;
    let (store, _) = app::open_store(config).await?;
    let (series, range) = find::find(&*store, args, clock.now()).await?;

    let (told, mut pages) = mpsc::channel(AHEAD);
    tokio::spawn(read(Arc::clone(&store), series.clone(), range, told));
    let mut report = Report::new(series, range, clock.now());
    let mut next = pages.recv().await;
    // Without a candle the first page is the only one, and speaks of all of the range.
    if let Some(Ok(page)) = &next
        && page.candles.is_empty()
        && page.coverage.ranges().is_empty()
    {
        bail!(find::nothing(&*store, &report).await?);
    }
    let mut output = Output::new(format, args.output.as_deref(), &clock)?;
    let ended = interruption(args)?;
    tokio::pin!(ended);
    let group = Group::new(&clock);
    // Rows on the terminal and a bar between them would be read by nobody.
    let shown = args.output.is_some() || !(stdout().is_terminal() && stderr().is_terminal());
    let line = shown.then(|| group.add_share(&report.series.to_string(), millis(range)));
    while let Some(page) = next {
        let page = page?;
        report.add(&page);
        match output.write(&page.candles) {
            // Whoever reads has seen enough.
            Err(error) if args.output.is_none() && broken_pipe(&error) => return Ok(ExitCode::SUCCESS),
            written => written?,
        }
        show(line.as_ref(), &report);
        next = tokio::select! {
            page = pages.recv() => page,
            () = &mut ended => bail!("interrupted: the export is not whole{}", output.left()),
        };
    }
    match output.finish(&report) {
        Err(error) if args.output.is_none() && broken_pipe(&error) => return Ok(ExitCode::SUCCESS),
        written => written?,
    }
    drop(line);
    group.say(&report.sentence());
    store.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Ready when the process is asked to end while there is a file to clear away; else that ends it as it ends any.
fn interruption(args: &Args) -> std::io::Result<impl Future<Output = ()>> {
    let asked = args.output.is_some().then(super::interruption).transpose()?;
    Ok(async move {
        match asked {
            Some(asked) => asked.await,
            None => std::future::pending().await,
        }
    })
}

/// Reads a range by its key, page after page, until it is over or nobody takes them.
async fn read(
    store: Arc<dyn CandleStore>,
    series: Series,
    range: TimeRange,
    told: mpsc::Sender<Result<StoredPage, StoreError>>,
) {
    let mut from = range.start();
    loop {
        // The ledger of a full page ends before its last candle, with which the next page begins.
        let asked = TimeRange::new(from, range.end());
        let mut page = store.page(&series, asked, Take::First(PAGE + 1)).await;
        let more = page.as_mut().ok().filter(|page| page.candles.len() > PAGE as usize);
        let more = more.and_then(|page| page.candles.pop()).map(|candle| candle.timestamp);
        if told.send(page).await.is_err() {
            return;
        }
        match more {
            Some(at) => from = at,
            None => return,
        }
    }
}

/// Opening a store makes it where it is not: an export wants one that is there.
fn in_a_file(config: &Config) -> anyhow::Result<()> {
    let StoreUrl::Sqlite(url) = &config.store.parsed else { return Ok(()) };
    let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
    if path == ":memory:" {
        bail!(
            "the store of this configuration lives in the memory of its process: ask the service, \
             GET /v1/history?format=csv&start=…&end=…"
        );
    }
    if !Path::new(path).exists() {
        bail!(
            "there is no store at {path}: start from where the service does, or name it with --config, \
             CANDLEWICK__STORE__URL or DATABASE_URL"
        );
    }
    Ok(())
}

fn show(line: Option<&Line>, report: &Report) {
    if let (Some(line), Some(last)) = (line, report.last) {
        let done = millis(TimeRange::new(report.range.start(), report.series.interval.next(last)));
        line.set(done, &format!("{} candles", count(report.candles)));
    }
}

fn millis(range: TimeRange) -> u64 {
    u64::try_from(range.duration().as_millis()).unwrap_or(u64::MAX)
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
