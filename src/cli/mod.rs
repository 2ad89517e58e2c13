//! The command line: one file a subcommand.

mod decode;
mod simulate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "candlewick", version, about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve simulated exchanges: their native dialects on one port, seeded prices, scripted faults
    Simulate(simulate::Args),
    /// Show what exchange payloads mean, without network or store
    Decode(decode::Args),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Simulate(args)) => simulate::run(args),
        Some(Command::Decode(args)) => decode::run(args),
        None => Ok(ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("candlewick: {error:#}");
        ExitCode::FAILURE
    })
}
