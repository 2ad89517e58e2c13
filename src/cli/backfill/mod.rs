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

use super::clock_args::ClockArgs;
use super::process::shutdown_signal;
use super::progress::ProgressGroup;
use super::ranges::RangeArgs;
use super::service;
use crate::config::{Config, DataMode, Role};
use crate::telemetry::logs;
use crate::upstream::install_crypto;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    ranges: RangeArgs,

    /// Configuration file [default: candlewick.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,

    #[command(flatten)]
    clock: ClockArgs,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.config)?;
    if config.data == DataMode::Simulated {
        bail!("with data = \"simulated\" nothing is stored, so there is nothing to fetch into; set data = \"live\"");
    }
    if config.role == Role::Api {
        bail!("role = \"api\" collects nothing; run this with role = \"all\" or \"collector\"");
    }
    let clock = args.clock.clock();
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
