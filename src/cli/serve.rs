//! `candlewick serve`, which is also what happens without a subcommand.

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
use crate::telemetry::otlp::{TraceConfig, Traces};
use crate::upstream::install_crypto;

#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// The configuration file [default: candlewick.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,

    /// Run a time-lapse: so many times as fast as the machine's clock
    #[arg(long, hide = true, value_name = "FACTOR", default_value_t = 1.0, value_parser = super::clock_speed)]
    clock_speed: f64,

    /// Run with a clock that is wrong: so many milliseconds ahead of the machine's own
    #[arg(long, hide = true, value_name = "MS", default_value_t = 0, allow_hyphen_values = true)]
    clock_offset: i64,

    /// Step that clock each time so many seconds have passed: from `--clock-offset` ahead to as far behind, and back
    #[arg(long, hide = true, value_name = "SECONDS")]
    clock_jumps_after: Option<u64>,
}

/// Steps a clock that is `ahead` milliseconds ahead to as far behind, and back, again and again.
async fn jump(clock: Clock, mut ahead: i64, every: Duration) {
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
    // Each connection is a file handle; the usual bound of 1,024 would be felt before ours.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let trace = TraceConfig {
        endpoint: config.telemetry.otlp_endpoint.expose_secret(),
        sample_ratio: config.telemetry.sample_ratio,
    };
    let traces = (!trace.endpoint.is_empty()).then(|| Traces::start(trace)).transpose().map_err(anyhow::Error::msg)?;
    logs::init(format, &config.log.level, traces.as_ref()).map_err(anyhow::Error::msg)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")?;
    let well = runtime.block_on(async {
        let life = Lifecycle::default();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut asked = async move || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        let clock = Clock::scaled(args.clock_speed).shifted(args.clock_offset);
        if let Some(seconds) = args.clock_jumps_after {
            tokio::spawn(jump(clock.clone(), args.clock_offset, Duration::from_secs(seconds)));
        }
        let app = tokio::select! {
            started = App::start(config, clock, life.clone()) => started?,
            // A server that is waited for may take long.
            () = asked() => return Ok(true),
        };
        let asked_twice = async {
            asked().await;
            tracing::info!("asked to end: draining; ask again to end at once");
            life.drain();
            asked().await;
        };
        tokio::select! {
            well = app.run() => anyhow::Ok(well),
            () = asked_twice => {
                tracing::warn!("asked to end again: ending at once");
                Ok(false)
            }
        }
    })?;
    // Whatever still runs has had its time.
    runtime.shutdown_background();
    if let Some(traces) = traces {
        traces.end();
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
