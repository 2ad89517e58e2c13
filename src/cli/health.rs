//! `candlewick health`: asks the service on this machine whether it is ready, for container platforms without a shell.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::service;
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file that the service runs with [default: candlewick.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let address = service::address(&Config::load(args.config)?);
    let (status, body) =
        service::ask(address, "/readyz", None).with_context(|| format!("nothing answers at {address}"))?;
    println!("{body}");
    Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
