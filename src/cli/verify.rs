//! `candlewick verify`: asks the exchange again for what the ledger calls empty or lost.
//!
//! An exchange in trouble, or a version of this program that believed too much, may have made the ledger claim that there
//! was no trade. What the exchange gives now is written; the rest is confirmed.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::interruption;
use super::ranges::{RangeArgs, Wanted};
use crate::app;
use crate::clock::Clock;
use crate::collect::Verified;
use crate::config::{Config, DataMode};
use crate::model::{ExchangeId, Series};
use crate::telemetry::logs;
use crate::upstream::install_crypto;

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

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.config)?;
    if config.data == DataMode::Simulated {
        bail!("with data = \"simulated\" nothing is stored, so there is nothing to verify; set data = \"live\"");
    }
    let clock = Clock::scaled(args.clock_speed);
    let wanted = args.ranges.wanted(clock.now())?;
    logs::init(logs::Format::Auto, "warn", None).map_err(anyhow::Error::msg)?;
    install_crypto();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")?;
    runtime.block_on(async {
        let ended = interruption()?;
        tokio::select! {
            done = verify(&config, args.ranges.exchange, wanted, clock) => done.map(|()| ExitCode::SUCCESS),
            () = ended => {
                eprintln!("interrupted; what was found so far is in the store");
                Ok(ExitCode::from(130))
            }
        }
    })
}

async fn verify(config: &Config, exchange: ExchangeId, wanted: Vec<Wanted>, clock: Clock) -> anyhow::Result<()> {
    let (errand, store) = app::errand(config, exchange, clock).await?;
    for Wanted { symbol, interval, range } in wanted {
        let Some(market) = errand.find(&symbol) else { bail!("{} does not list {symbol}", exchange.name()) };
        let series = Series { exchange, symbol, interval };
        let found = errand.verify(&series, market, range).await?;
        println!("{series}: {}", sentence(&found));
    }
    errand.end().await;
    store.close().await;
    Ok(())
}

fn sentence(found: &Verified) -> String {
    let Verified { ranges, were_empty, were_lost } = *found;
    let asked = format!("{ranges} ranges without candles were asked for again");
    match (were_empty, were_lost) {
        (0, 0) => format!("{asked}; nothing was found"),
        _ => format!(
            "{asked}; {were_empty} candles were found that the store called empty, and {were_lost} that it called not to \
             be had"
        ),
    }
}
