//! `candlewick openapi` and `candlewick asyncapi`: print the API documents.

use std::io::Write;
use std::process::ExitCode;

use crate::api;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print YAML instead of JSON
    #[arg(long)]
    yaml: bool,
}

/// Prints the OpenAPI document that a running service serves at `/openapi.json`.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let text = if args.yaml { api::openapi_yaml() } else { api::openapi_json() };
    print(&text)
}

/// Prints the AsyncAPI document that a running service serves at `/asyncapi.json`.
pub fn run_asyncapi() -> anyhow::Result<ExitCode> {
    print(&api::asyncapi_json())
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
