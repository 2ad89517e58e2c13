//! `candlewick health`: checks whether the service on this machine is ready, for container platforms without a shell.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::service;
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file of the service [default: candlewick.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let address = service::address(&Config::load(args.config)?);
    let (status, body) =
        service::request(address, "/readyz", None).with_context(|| format!("no response from {address}"))?;
    println!("{body}");
    Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
