//! The command line: one file a subcommand.

mod backfill;
mod decode;
mod doctor;
mod export;
mod health;
mod keys;
mod migrate;
mod openapi;
pub mod progress;
mod ranges;
mod record;
mod serve;
mod service;
mod simulate;
mod verify;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::upstream::install_crypto;

#[derive(Debug, Parser)]
#[command(name = "candlewick", version, about, long_about = None, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Collect, keep and serve (the default)
    Serve(serve::Args),
    /// Serve simulated exchanges: their native dialects on one port, seeded prices, scripted faults
    Simulate(simulate::Args),
    /// Fetch ranges of candles into the store
    Backfill(backfill::Args),
    /// Ask the exchange again for what the store calls empty or not to be had, and print what was found
    Verify(verify::Args),
    /// Record an exchange's raw traffic as JSON lines, in files of a bounded size
    Record(record::Args),
    /// Show what exchange payloads mean, without network or store
    Decode(decode::Args),
    /// Write the store's candles to a file: CSV, NDJSON or Parquet
    Export(export::Args),
    /// Make the store's tables, or bring them to this version
    Migrate(migrate::Args),
    /// Make, list and revoke API keys
    Keys(keys::Args),
    /// Look at everything that a service needs, and say what is wrong
    Doctor(doctor::Args),
    /// Ask the service on this machine whether it is ready
    Health(health::Args),
    /// Print the OpenAPI document of the HTTP interface
    Openapi(openapi::Args),
    /// Print the AsyncAPI document of the streams
    Asyncapi,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Simulate(args)) => simulate::run(args),
        Some(Command::Backfill(args)) => backfill::run(args),
        Some(Command::Verify(args)) => verify::run(args),
        Some(Command::Record(args)) => record::run(args),
        Some(Command::Decode(args)) => decode::run(args),
        Some(Command::Export(args)) => export::run(&args),
        Some(Command::Migrate(args)) => migrate::run(args),
        Some(Command::Doctor(args)) => doctor::run(args),
        Some(Command::Keys(args)) => keys::run(args),
        Some(Command::Health(args)) => health::run(args),
        Some(Command::Openapi(args)) => openapi::run(&args),
        Some(Command::Asyncapi) => openapi::run_asyncapi(),
        Some(Command::Serve(args)) => serve::run(args),
        None => serve::run(cli.serve),
    };
    result.unwrap_or_else(|error| {
        eprintln!("candlewick: {error:#}");
        ExitCode::FAILURE
    })
}

/// What a command that asks a few things runs on.
fn runtime() -> anyhow::Result<Runtime> {
    install_crypto();
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")
}

/// Reads a time-lapse's factor.
fn clock_speed(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|speed| (1.0..=3_600.0).contains(speed))
        .ok_or_else(|| "a number from 1 to 3600".to_owned())
}

/// Ready when the process is asked to end; listens from now on.
#[cfg(unix)]
fn interruption() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ready when the process is asked to end.
#[cfg(not(unix))]
fn interruption() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without a handler Ctrl-C ends the process anyway.
        let _ = tokio::signal::ctrl_c().await;
    })
}
