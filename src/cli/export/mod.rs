//! `candlewick export`: exports the closed candles of the store to a file for notebooks and backtests.
//!
//! Reads the configured store page by page, in constant memory and without network, also while a service is running.
//! Gaps are reported in the metadata of the file and in the final message.

mod args;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod partial_file;
mod report;
mod selection;

use std::io::{ErrorKind, IsTerminal, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::mpsc;

pub use args::Args;

use self::args::Format;
use self::output::Output;
use self::report::Report;
use super::progress::{ProgressGroup, ProgressLine, count};
use crate::app;
use crate::clock::Clock;
use crate::config::{Config, StoreUrl};
use crate::model::{Series, TimeRange};
use crate::store::{CandleStore, StoreError, StoredPage, Take};
use crate::upstream::install_crypto;

/// Number of candles per page.
const PAGE: u32 = 5_000;

/// Number of pages that are read ahead of the writer.
const PAGES_AHEAD: usize = 2;

/// Exports a range. Gaps are reported and are not an error.
///
/// # Errors
/// The store cannot be read or has no coverage of the range, or the file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.config.clone())?;
    install_crypto();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")?;
    let done = runtime.block_on(export(args, &config));
    // Does not wait for a page that is still being read: nothing uses it any more.
    runtime.shutdown_background();
    done
}

async fn export(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let clock = Clock::system();
    let format = args.format.unwrap_or_else(|| args.output.as_deref().map_or(Format::Csv, Format::from_path));
    output::check(format, args.output.as_deref())?;
    check_store_exists(config)?;
    let (store, _) = app::open_store(config).await?;
    let (series, range) = selection::select(&*store, args, clock.now()).await?;

    let (sender, mut pages) = mpsc::channel(PAGES_AHEAD);
    tokio::spawn(read_pages(store.clone(), series.clone(), range, sender));
    let mut report = Report::new(series, range, clock.now());
    let mut next = pages.recv().await;
    // A page without candles is the only page, so its coverage is that of the whole range.
    if let Some(Ok(page)) = &next
        && page.candles.is_empty()
        && page.coverage.ranges().is_empty()
    {
        bail!(selection::no_coverage_message(&*store, &report).await?);
    }
    let mut output = Output::new(format, args.output.as_deref(), &clock)?;
    let interrupted = shutdown_signal_for_file(args)?;
    tokio::pin!(interrupted);
    let group = ProgressGroup::new(&clock);
    // No progress if it would be mixed with the rows on the terminal.
    let has_progress = args.output.is_some() || !(stdout().is_terminal() && stderr().is_terminal());
    let line = has_progress.then(|| group.add_share(&report.series.to_string(), millis(range)));
    while let Some(page) = next {
        let page = page?;
        report.add(&page);
        match output.write(&page.candles) {
            // The reader has closed the pipe, which is not an error.
            Err(error) if args.output.is_none() && is_broken_pipe(&error) => return Ok(ExitCode::SUCCESS),
            written => written?,
        }
        show_progress(line.as_ref(), &report);
        next = tokio::select! {
            page = pages.recv() => page,
            () = &mut interrupted => bail!("interrupted: the export is incomplete{}", output.interruption_note()),
        };
    }
    match output.finish(&report) {
        Err(error) if args.output.is_none() && is_broken_pipe(&error) => return Ok(ExitCode::SUCCESS),
        written => written?,
    }
    drop(line);
    group.message(&report.summary());
    store.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Completes on a shutdown signal if a partial file must be deleted. Otherwise never: the signal then ends the process.
fn shutdown_signal_for_file(args: &Args) -> std::io::Result<impl Future<Output = ()>> {
    let signal = args.output.is_some().then(super::process::shutdown_signal).transpose()?;
    Ok(async move {
        match signal {
            Some(signal) => signal.await,
            None => std::future::pending().await,
        }
    })
}

/// Reads a range page by page until its end, or until the receiver is dropped.
async fn read_pages(
    store: Arc<dyn CandleStore>,
    series: Series,
    range: TimeRange,
    sender: mpsc::Sender<Result<StoredPage, StoreError>>,
) {
    let mut from = range.start();
    loop {
        // Reads one candle more than a page. It is not part of this page: the next page begins with it.
        let remaining = TimeRange::new(from, range.end());
        let mut page = store.page(&series, remaining, Take::First(PAGE + 1)).await;
        let more = page.as_mut().ok().filter(|page| page.candles.len() > PAGE as usize);
        let more = more.and_then(|page| page.candles.pop()).map(|candle| candle.timestamp);
        if sender.send(page).await.is_err() {
            return;
        }
        match more {
            Some(at) => from = at,
            None => return,
        }
    }
}

/// Checks that the store exists, because opening a store creates it.
fn check_store_exists(config: &Config) -> anyhow::Result<()> {
    let StoreUrl::Sqlite(url) = &config.store.parsed else { return Ok(()) };
    let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
    if path == ":memory:" {
        bail!(
            "the configured store is in the memory of the service process: request the candles from the service with \
             GET /v1/history?format=csv&start=…&end=…"
        );
    }
    if !Path::new(path).exists() {
        bail!(
            "there is no store at {path}: run the export in the service's directory, or set the store with --config, \
             CANDLEWICK__STORE__URL or DATABASE_URL"
        );
    }
    Ok(())
}

fn show_progress(line: Option<&ProgressLine>, report: &Report) {
    if let (Some(line), Some(last)) = (line, report.last) {
        let done = millis(TimeRange::new(report.range.start(), report.series.interval.next(last)));
        line.set(done, &format!("{} candles", count(report.candles)));
    }
}

fn millis(range: TimeRange) -> u64 {
    u64::try_from(range.duration().as_millis()).unwrap_or(u64::MAX)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
