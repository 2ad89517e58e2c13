//! The command line. Each subcommand has its own module.

mod backfill;
mod clock_args;
mod decode;
mod doctor;
mod exchange_arg;
mod export;
mod health;
mod keys;
mod migrate;
mod openapi;
mod process;
pub mod progress;
mod ranges;
mod record;
mod serve;
mod service;
mod simulate;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Collect market data, store it and serve the API (the default)
    Serve(serve::Args),
    /// Serve simulated exchanges: their native protocols on one port, seeded prices, scripted faults
    Simulate(simulate::Args),
    /// Fetch ranges of candles into the store
    Backfill(backfill::Args),
    /// Fetch again what the store records as empty or unavailable, and print what was found
    Verify(verify::Args),
    /// Record an exchange's raw traffic as JSON lines, in files of limited size
    Record(record::Args),
    /// Decode exchange payloads, without network or store
    Decode(decode::Args),
    /// Export stored candles to a file: CSV, NDJSON or Parquet
    Export(export::Args),
    /// Create or upgrade the store's tables
    Migrate(migrate::Args),
    /// Create, list and revoke API keys
    Keys(keys::Args),
    /// Check the configuration, store, cache and exchanges, and report problems
    Doctor(doctor::Args),
    /// Check whether the service on this machine is ready
    Health(health::Args),
    /// Print the OpenAPI document of the HTTP API
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
