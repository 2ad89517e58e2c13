//! `candlewick backfill`: fetches ranges of candles into the store.
//!
//! If the configured service runs on this machine, it runs the backfill (`remote`), so that one process keeps the
//! exchange's rate limits. Otherwise this process fetches (`local`). Ranges that the coverage ledger knows are not
//! fetched again, so that the same command resumes after an interruption.

mod local;
mod remote;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::progress::ProgressGroup;
use super::ranges::{RangeArgs, SeriesRange};
use super::{service, shutdown_signal};
use crate::clock::Clock;
use crate::config::{Config, DataMode, Role};
use crate::model::{BudgetState, Coverage, ExchangeId, TimeRange};
use crate::telemetry::logs;
use crate::upstream::install_crypto;

/// Number of series fetched concurrently within one rate-limit budget.
const CONCURRENT_SERIES: usize = 4;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    ranges: RangeArgs,

    /// Configuration file [default: candlewick.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,

    /// Run a time-lapse: the factor by which the clock is faster than the system clock
    #[arg(long, hide = true, value_name = "FACTOR", default_value_t = 1.0, value_parser = super::parse_clock_speed)]
    clock_speed: f64,
}

/// Result for one series: a summary, or the reason of a failure.
type Outcome = Result<String, String>;

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.config)?;
    if config.data == DataMode::Simulated {
        bail!("with data = \"simulated\" nothing is stored, so there is nothing to fetch into; set data = \"live\"");
    }
    if config.role == Role::Api {
        bail!("role = \"api\" collects nothing; run this with role = \"all\" or \"collector\"");
    }
    let clock = Clock::scaled(args.clock_speed);
    let series_ranges = args.ranges.series_ranges(clock.now())?;
    // Logs warnings, and the collector's informational messages that explain waits. Progress lines show the rest.
    logs::init(logs::Format::Auto, "warn,candlewick::telemetry::collect=info", None).map_err(anyhow::Error::msg)?;
    install_crypto();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")?;
    runtime.block_on(async {
        let interrupted = shutdown_signal()?;
        let group = ProgressGroup::new(&clock);
        let address = service::address(&config);
        let submitted = remote::submit(address, args.ranges.exchange, &series_ranges, &group);
        let work = async {
            match submitted? {
                Some(jobs) => anyhow::Ok(remote::follow(address, jobs, &series_ranges, &group, &clock).await),
                None => local::fetch(&config, args.ranges.exchange, &series_ranges, &group, &clock).await,
            }
        };
        let outcomes = tokio::select! {
            outcomes = work => outcomes?,
            () = interrupted => {
                eprintln!("interrupted; run the same command again to resume");
                return Ok(ExitCode::from(130));
            }
        };
        let mut succeeded = true;
        for (series_range, outcome) in series_ranges.iter().zip(outcomes) {
            match outcome {
                Ok(summary) => println!("{} {}: {summary}", args.ranges.exchange, series_range.label()),
                Err(reason) => {
                    succeeded = false;
                    eprintln!("candlewick: {} {}: {reason}", args.ranges.exchange, series_range.label());
                }
            }
        }
        Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Describes the coverage of a range after it was fetched.
fn summary(series_range: &SeriesRange, coverage: &Coverage) -> String {
    let SeriesRange { interval, range, .. } = series_range;
    let (start, end) = (range.start(), range.end());
    if coverage.is_complete(*range) {
        return format!("complete from {start} to {end}");
    }
    let count = |ranges: &mut dyn Iterator<Item = TimeRange>| {
        ranges.map(|range| interval.open_times(range).count()).sum::<usize>()
    };
    let unavailable = coverage.ranges().iter().filter(|claim| claim.state.is_unobtainable());
    let unavailable = count(&mut unavailable.map(|claim| claim.range));
    let unknown = count(&mut coverage.unknown_ranges(*range).into_iter());
    let missing = [(unavailable, "are unavailable from the exchange"), (unknown, "are not stored yet")];
    let missing =
        missing.iter().filter(|(count, _)| *count > 0).map(|(count, reason)| format!("{count} candles {reason}"));
    format!("from {start} to {end}: {}", missing.collect::<Vec<_>>().join(", "))
}

/// The highest used share of the exchange's rate limits.
fn budget_usage(exchange: ExchangeId, budgets: &[BudgetState]) -> String {
    let share = |budget: &BudgetState| u64::from(budget.used) * 100 / u64::from(budget.limit.max(1));
    match budgets.iter().map(share).max() {
        Some(share) => format!("{exchange} {share} % of its limit"),
        None => String::new(),
    }
}
