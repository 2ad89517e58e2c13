//! `candlewick simulate`: serves simulated exchanges.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::model::ExchangeId;
use crate::simulator::{MAX_MARKETS, Simulator, SimulatorConfig, parse_script};

const FAULTS_HELP: &str = "Faults to inject, one JSON object per line: \
    {\"exchange\":\"binance\",\"after_ms\":1500,\"fault\":\"drop\",\"for_ms\":0}. Faults are drop, dark, silent, \
    malformed, slow, http_429, http_418, http_500, firewall_403, html_error, truncated_body, slow_body, region_451, \
    not_found_404, msg_rate, already_subscribed, pings_only, absurd_numbers, bad_row, wrong_event, burst, skip_candle, \
    late_trade, late_close, no_close, rest_lag, microseconds, correct_candle, short_page, empty_page, edge_rows, \
    missing_row, off_grid, repeated_row, unordered_page, other_page, page_microseconds, zero_price, duplicate, refuse, \
    halted, empty_listing, odd_listing, shutdown_notice. With for_ms 0 a fault happens once";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Listen address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8100")]
    listen: SocketAddr,
    /// Seed of the market data; the same seed gives the same data
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Minimum number of markets per exchange, up to 3000 [0: the built-in markets only]
    #[arg(long, value_name = "N", default_value_t = 0)]
    markets: usize,
    /// Faults to inject, one JSON object per line
    #[arg(long, value_name = "FILE", long_help = FAULTS_HELP)]
    faults: Option<PathBuf>,
    /// Factor by which the clock is faster than the system clock
    #[arg(long, value_name = "X", default_value_t = 1.0, hide = true)]
    clock_speed: f64,
    /// Offset of an exchange's clock in milliseconds, such as binance=-90000; can be repeated
    #[arg(long, value_name = "EXCHANGE=MS", value_parser = parse_clock_offset)]
    clock_offset: Vec<(ExchangeId, i64)>,
}

fn parse_clock_offset(text: &str) -> Result<(ExchangeId, i64), String> {
    let (exchange, millis) = text.split_once('=').ok_or("expected EXCHANGE=MS, such as binance=-90000")?;
    let exchange = exchange.parse().map_err(|error| format!("{error}"))?;
    Ok((exchange, millis.parse().map_err(|error| format!("{millis}: {error}"))?))
}

/// Serves simulated exchanges until Ctrl-C or SIGTERM.
///
/// # Errors
/// The fault file cannot be read or has an invalid line, or the listen address cannot be bound.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let faults = match &args.faults {
        None => Vec::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the fault file {}", path.display()))?;
            parse_script(&text).with_context(|| format!("in the fault file {}", path.display()))?
        }
    };
    if !args.clock_speed.is_finite() || args.clock_speed <= 0.0 {
        bail!("--clock-speed must be a number above 0");
    }
    if args.markets > MAX_MARKETS {
        bail!("--markets must be a number up to {MAX_MARKETS}");
    }
    let config = SimulatorConfig { seed: args.seed, faults, markets: args.markets };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(args, config))
}

async fn serve(args: Args, config: SimulatorConfig) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another address with --listen", args.listen))?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let shutdown_signal = super::process::shutdown_signal()?;
    let simulator = Simulator::new(config, Clock::scaled(args.clock_speed));
    for (exchange, millis) in args.clock_offset {
        simulator.set_clock_offset(exchange, millis);
    }
    eprintln!(
        "candlewick: simulated {}, seed {}, on http://{address}\n\
         candlewick: to use them, set these origins for each exchange in candlewick.toml:\n\n\
         [exchanges.binance]\nrest_url = \"http://{address}\"\nws_url = \"ws://{address}\"\n\n\
         candlewick: press Ctrl-C to stop",
        ExchangeId::all().map(ExchangeId::name).collect::<Vec<_>>().join(", "),
        args.seed
    );
    let stopped = {
        let stop = stop.clone();
        async move {
            shutdown_signal.await;
            stop.cancel();
        }
    };
    let (served, ()) = tokio::join!(simulator.serve(listener, stop), stopped);
    served.context("the listener failed")?;
    Ok(ExitCode::SUCCESS)
}
