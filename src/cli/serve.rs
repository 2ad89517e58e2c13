//! `candlewick serve`, which is also the default without a subcommand.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use secrecy::ExposeSecret;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::clock::Clock;
use crate::config::{Config, LogFormat};
use crate::lifecycle::Lifecycle;
use crate::telemetry::logs;
use crate::telemetry::otlp::{TraceConfig, TraceExporter};
use crate::upstream::install_crypto;

#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Configuration file [default: candlewick.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,

    /// Run a time-lapse: the factor by which the clock is faster than the system clock
    #[arg(long, hide = true, value_name = "FACTOR", default_value_t = 1.0, value_parser = super::parse_clock_speed)]
    clock_speed: f64,

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
    let succeeded = runtime.block_on(async {
        let life = Lifecycle::default();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut shutdown_signal = async move || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        let clock = Clock::scaled(args.clock_speed).shifted(args.clock_offset);
        if let Some(seconds) = args.clock_jumps_after {
            tokio::spawn(alternate_offset(clock.clone(), args.clock_offset, Duration::from_secs(seconds)));
        }
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
            succeeded = app.run() => anyhow::Ok(succeeded),
            () = second_signal => {
                tracing::warn!("second shutdown signal received: stopping immediately");
                Ok(false)
            }
        }
    })?;
    // Remaining tasks had time to finish during the shutdown.
    runtime.shutdown_background();
    if let Some(traces) = traces {
        traces.shutdown();
    }
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
