//! `candlewick migrate`: creates or upgrades the store's tables.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::app;
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file [default: candlewick.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.config)?;
    super::process::runtime()?.block_on(async {
        let (store, kind) = app::open_store(&config).await?;
        store.close().await;
        println!("the {kind} store is up to date");
        Ok(ExitCode::SUCCESS)
    })
}
