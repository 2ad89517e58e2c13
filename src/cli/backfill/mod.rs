//! `candlewick backfill`: fetches ranges of candles into the store.
//!
//! Where the service of this configuration runs on this machine, it is asked to do it (`asked`), so that one process keeps
//! to the exchange's limits; else it is done here (`here`). What the ledger knows is not fetched again: after an
//! interruption the same command goes on where it was.

mod asked;
mod here;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::progress::Group;
use super::ranges::{RangeArgs, Wanted};
use super::{interruption, service};
use crate::clock::Clock;
use crate::config::{Config, DataMode, Role};
use crate::model::{BudgetState, Coverage, ExchangeId, TimeRange};
use crate::telemetry::logs;
use crate::upstream::install_crypto;

/// How many series are fetched at a time, inside of one budget.
const AT_A_TIME: usize = 4;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    ranges: RangeArgs,

    /// The configuration file [default: candlewick.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,

    /// Run a time-lapse: so many times as fast as the machine's clock
    #[arg(long, hide = true, value_name = "FACTOR", default_value_t = 1.0, value_parser = super::clock_speed)]
    clock_speed: f64,
}

/// How it ended for one series, and whether well.
type Outcome = Result<String, String>;

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.config)?;
    if config.data == DataMode::Simulated {
        bail!("with data = \"simulated\" nothing is kept, so there is nothing to fetch into; set data = \"live\"");
    }
    if config.role == Role::Api {
        bail!("role = \"api\" collects nothing; run this with role = \"all\" or \"collector\"");
    }
    let clock = Clock::scaled(args.clock_speed);
    let wanted = args.ranges.wanted(clock.now())?;
    // What goes wrong meanwhile is worth a line, and what it is waited for; what goes well is in the progress.
    logs::init(logs::Format::Auto, "warn,candlewick::telemetry::collect=info", None).map_err(anyhow::Error::msg)?;
    install_crypto();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")?;
    runtime.block_on(async {
        let ended = interruption()?;
        let group = Group::new(&clock);
        let address = service::address(&config);
        let taken = asked::begin(address, args.ranges.exchange, &wanted, &group);
        let work = async {
            match taken? {
                Some(jobs) => anyhow::Ok(asked::follow(address, jobs, &wanted, &group, &clock).await),
                None => here::fetch(&config, args.ranges.exchange, &wanted, &group, &clock).await,
            }
        };
        let outcomes = tokio::select! {
            outcomes = work => outcomes?,
            () = ended => {
                eprintln!("interrupted; the same command goes on where it was");
                return Ok(ExitCode::from(130));
            }
        };
        let mut well = true;
        for (wanted, outcome) in wanted.iter().zip(outcomes) {
            match outcome {
                Ok(said) => println!("{} {}: {said}", args.ranges.exchange, wanted.name()),
                Err(why) => {
                    well = false;
                    eprintln!("candlewick: {} {}: {why}", args.ranges.exchange, wanted.name());
                }
            }
        }
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// What is known of a range that was fetched as far as it can be.
fn summary(wanted: &Wanted, coverage: &Coverage) -> String {
    let Wanted { interval, range, .. } = wanted;
    let (start, end) = (range.start(), range.end());
    if coverage.completes(*range) {
        return format!("complete from {start} to {end}");
    }
    let count =
        |ranges: &mut dyn Iterator<Item = TimeRange>| ranges.map(|range| interval.opens(range).count()).sum::<usize>();
    let lost = coverage.ranges().iter().filter(|known| known.state.is_lost());
    let lost = count(&mut lost.map(|known| known.range));
    let unknown = count(&mut coverage.unknown(*range).into_iter());
    let missing = [(lost, "cannot be had from the exchange"), (unknown, "are not there yet")];
    let missing = missing.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} candles {why}"));
    format!("from {start} to {end}: {}", missing.collect::<Vec<_>>().join(", "))
}

/// The most that is used of any of an exchange's limits.
fn used(exchange: ExchangeId, budgets: &[BudgetState]) -> String {
    let share = |budget: &BudgetState| u64::from(budget.used) * 100 / u64::from(budget.limit.max(1));
    match budgets.iter().map(share).max() {
        Some(share) => format!("{exchange} {share} % of its limit"),
        None => String::new(),
    }
}
