//! `candlewick serve`, which is also the default without a subcommand.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use secrecy::ExposeSecret;
use tokio::signal::unix::{SignalKind, signal};

use super::clock_args::ClockArgs;
use crate::app::App;
use crate::clock::Clock;
use crate::config::{Config, LogFormat};
use crate::lifecycle::Lifecycle;
use crate::telemetry::logs;
use crate::telemetry::otlp::{TraceConfig, TraceExporter};
use crate::upstream::install_crypto;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file [default: candlewick.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,

    #[command(flatten)]
    clock: ClockArgs,

    /// Run with a wrong clock: its offset from the system clock in milliseconds
    #[arg(long, hide = true, value_name = "MS", default_value_t = 0, allow_hyphen_values = true)]
    clock_offset: i64,

    /// Step the clock after each interval of this length: the offset alternates between +/- `--clock-offset`
    #[arg(long, hide = true, value_name = "SECONDS")]
    clock_jumps_after: Option<u64>,
}

/// Repeatedly steps a clock with an offset of `ahead` milliseconds to the opposite offset.
async fn alternate_offset(clock: Clock, mut ahead: i64, every: Duration) {
    loop {
        clock.sleep(every).await;
        clock.step(-2 * ahead);
        ahead = -ahead;
    }
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.config)?;
    let format = match config.log.format {
        LogFormat::Auto => logs::Format::Auto,
        LogFormat::Text => logs::Format::Text,
        LogFormat::Json => logs::Format::Json,
    };
    install_crypto();
    // Each connection needs a file descriptor. The usual limit of 1,024 is lower than the configured connection limits.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let trace = TraceConfig {
        endpoint: config.telemetry.otlp_endpoint.expose_secret(),
        sample_ratio: config.telemetry.sample_ratio,
    };
    let traces =
        (!trace.endpoint.is_empty()).then(|| TraceExporter::start(trace)).transpose().map_err(anyhow::Error::msg)?;
    logs::init(format, &config.log.level, traces.as_ref()).map_err(anyhow::Error::msg)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")?;
    let clock = args.clock.clock().shifted(args.clock_offset);
    if let Some(seconds) = args.clock_jumps_after {
        runtime.spawn(alternate_offset(clock.clone(), args.clock_offset, Duration::from_secs(seconds)));
    }
    let succeeded = runtime.block_on(serve(config, clock))?;
    // Remaining tasks had time to finish during the shutdown.
    runtime.shutdown_background();
    if let Some(traces) = traces {
        traces.shutdown();
    }
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the service until a shutdown signal, which drains it; a second one stops it immediately. Returns whether all
/// parts ended without errors and in time.
async fn serve(config: Config, clock: Clock) -> anyhow::Result<bool> {
    let life = Lifecycle::default();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut shutdown_signal = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let app = tokio::select! {
        started = App::start(config, clock, life.clone()) => started?,
        // The start can take long if it waits for a server.
        () = shutdown_signal() => return Ok(true),
    };
    let second_signal = async {
        shutdown_signal().await;
        tracing::info!("shutdown signal received: draining; a second signal stops immediately");
        life.drain();
        shutdown_signal().await;
    };
    tokio::select! {
        succeeded = app.run() => Ok(succeeded),
        () = second_signal => {
            tracing::warn!("second shutdown signal received: stopping immediately");
            Ok(false)
        }
    }
}
