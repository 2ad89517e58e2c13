//! `candlewick verify`: requests again what the coverage ledger records as empty or unavailable.
//!
//! Exchange outages or older versions of this program may have caused false claims that there was no trade. Candles
//! that the exchange returns now are stored; the other claims are confirmed.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::clock_args::ClockArgs;
use super::process::shutdown_signal;
use super::ranges::{RangeArgs, SeriesRange};
use crate::app;
use crate::clock::Clock;
use crate::collect::VerifyReport;
use crate::config::{Config, DataMode};
use crate::model::{ExchangeId, Series};
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
        bail!("with data = \"simulated\" nothing is stored, so there is nothing to verify; set data = \"live\"");
    }
    let clock = args.clock.clock();
    let series_ranges = args.ranges.series_ranges(clock.now())?;
    logs::init(logs::Format::Auto, "warn", None).map_err(anyhow::Error::msg)?;
    install_crypto();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")?;
    runtime.block_on(async {
        let interrupted = shutdown_signal()?;
        tokio::select! {
            done = verify(&config, args.ranges.exchange, series_ranges, clock) => done.map(|()| ExitCode::SUCCESS),
            () = interrupted => {
                eprintln!("interrupted; candles found so far are stored");
                Ok(ExitCode::from(130))
            }
        }
    })
}

async fn verify(
    config: &Config,
    exchange: ExchangeId,
    series_ranges: Vec<SeriesRange>,
    clock: Clock,
) -> anyhow::Result<()> {
    let (fetcher, store) = app::one_shot_fetcher(config, exchange, clock).await?;
    for SeriesRange { symbol, interval, range } in series_ranges {
        let Some(market) = fetcher.instrument(&symbol) else { bail!("{} does not list {symbol}", exchange.name()) };
        let series = Series { exchange, symbol, interval };
        let report = fetcher.verify(&series, market, range).await?;
        println!("{series}: {}", summary(&report));
    }
    fetcher.finish().await;
    store.close().await;
    Ok(())
}

fn summary(report: &VerifyReport) -> String {
    let VerifyReport { ranges, were_empty, were_unobtainable } = *report;
    let requested = format!("requested {ranges} ranges without candles again");
    match (were_empty, were_unobtainable) {
        (0, 0) => format!("{requested}; found no candles"),
        _ => format!(
            "{requested}; found {were_empty} candles recorded as empty and {were_unobtainable} recorded as unavailable"
        ),
    }
}
