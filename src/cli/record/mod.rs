//! `candlewick record`: records an exchange's raw traffic as JSON lines, for example for a bug report.

mod files;
mod line;

use std::io::{ErrorKind, IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::files::{Files, Output};
use super::clock_args::ClockArgs;
use super::exchange_arg::exchange_help;
use super::process::shutdown_signal;
use crate::clock::Clock;
use crate::config::Config;
use crate::exchanges::{CandlePage, Exchange, NoAdapter, Subscription, exchange};
use crate::market::similar_symbols;
use crate::model::{ExchangeId, Instrument, Interval, Symbol, TimeRange};
use crate::upstream::{Dialer, Feed, FeedItem, RestClient, Tap, TrafficEvent, TrafficKind, install_crypto};

/// Capacity of the queue between the connections and the disk, in traffic events.
const QUEUE_CAPACITY: usize = 20_000;

/// Interval of flushes and progress updates.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

const MEGABYTE: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(help = exchange_help("Exchange"))]
    exchange: ExchangeId,
    /// Markets, separated by commas [default: the configured symbols of the exchange]
    #[arg(long, value_name = "SYMBOLS", value_delimiter = ',')]
    symbols: Vec<Symbol>,
    /// Output folder, or `-` for standard output
    #[arg(long, value_name = "FOLDER", default_value = "recordings")]
    out: PathBuf,
    /// Maximum size of a file in megabytes
    #[arg(long, value_name = "MB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    max_mb: u64,
    /// Maximum number of files; the oldest file is deleted when a new one exceeds it
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    files: u16,
    /// Stop after this number of seconds [default: on Ctrl-C]
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Configuration file, whose origins and symbols are used [default: candlewick.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    clock: ClockArgs,
}

/// Records until Ctrl-C, SIGTERM or the end of the given time.
///
/// # Errors
/// A market is unknown, the exchange is unreachable, or the output cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    install_crypto();
    let config = Config::load(args.config.clone())?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(record(args, &config))
}

async fn record(args: Args, config: &Config) -> anyhow::Result<ExitCode> {
    let clock = args.clock.clock();
    let interrupted = shutdown_signal()?;
    let exchange = exchange(args.exchange).ok_or(NoAdapter(args.exchange))?;
    let settings = config.exchanges.get(&args.exchange);
    let origins = |default: &[&str], configured: Option<&Vec<String>>| -> Vec<String> {
        let configured = configured.filter(|configured| !configured.is_empty()).cloned();
        configured.unwrap_or_else(|| default.iter().map(|origin| (*origin).to_owned()).collect())
    };
    let rest_origins = origins(exchange.profile().rest_origins, settings.map(|settings| &settings.rest_url));
    let ws_origins = origins(exchange.profile().ws_origins, settings.map(|settings| &settings.ws_url));
    let symbols = if args.symbols.is_empty() {
        settings.map(|settings| settings.symbols.clone()).unwrap_or_default()
    } else {
        args.symbols.clone()
    };
    if symbols.is_empty() {
        bail!(
            "nothing to record: set markets with --symbols, or `symbols` in [exchanges.{}] of the configuration",
            args.exchange
        );
    }

    let output = output(&args, &clock)?;
    let (tap, traffic) = Tap::new(QUEUE_CAPACITY, clock.clone());
    let rest = RestClient::with_tap(exchange, &rest_origins, clock.clone(), tap.clone())?;
    let feed = Feed::new(exchange, ws_origins, Arc::new(Dialer), clock.clone());
    let feed = feed.with_rest(Arc::clone(&rest)).with_tap(tap.clone());
    let stop = CancellationToken::new();
    let mut recorder = Recorder { output, tap, clock: clock.clone(), line: Vec::new(), counts: Counts::default() };
    let collecting = collect(exchange, &rest, &feed, &symbols, &clock, &stop);
    let timed_out = async {
        match args.seconds {
            Some(seconds) => clock.sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        result = recorder.run(traffic) => match result {
            // The reader has closed the pipe, which is not an error.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            result => result.context("the recording cannot be written"),
        },
        Err(error) = collecting => Err(error),
        () = interrupted => Ok(()),
        () = timed_out => Ok(()),
    };
    stop.cancel();
    recorder.summary(&args)?;
    result.map(|()| ExitCode::SUCCESS)
}

fn output(args: &Args, clock: &Clock) -> anyhow::Result<Output> {
    if args.out.as_os_str() == "-" {
        return Ok(Output::Stdout(std::io::BufWriter::new(std::io::stdout())));
    }
    let started_at = clock.now().utc().format("%Y%m%dT%H%M%S%3fZ");
    let prefix = format!("{}-{started_at}", args.exchange);
    let files = Files::new(&args.out, prefix, args.max_mb * MEGABYTE, args.files.into())
        .with_context(|| format!("cannot write to {}: choose another folder with --out", args.out.display()))?;
    Ok(Output::Files(files))
}

/// Sends the requests of a collector and subscribes to all channels of the markets. Returns only on an error.
async fn collect(
    exchange: &'static dyn Exchange,
    rest: &RestClient,
    feed: &Feed,
    symbols: &[Symbol],
    clock: &Clock,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let listing = rest.call(&exchange.instruments()).await?;
    let find = |symbol: &Symbol| {
        let found = listing.iter().find(|instrument| instrument.symbol == *symbol);
        found.cloned().map(Arc::new).ok_or_else(|| {
            let similar = similar_symbols(listing.iter().map(|instrument| &instrument.symbol), symbol.as_str());
            let hint =
                if similar.is_empty() { String::new() } else { format!("; did you mean {}?", similar.join(", ")) };
            anyhow!("{} does not list {symbol}{hint}", exchange.id().name())
        })
    };
    let markets = symbols.iter().map(find).collect::<anyhow::Result<Vec<Arc<Instrument>>>>()?;
    let market_subscriptions = |market: &Arc<Instrument>| {
        let subscription = |channel: &_| Subscription { channel: *channel, instrument: Arc::clone(market) };
        exchange.profile().channels.iter().map(subscription).collect::<Vec<_>>()
    };
    let subscriptions: Vec<Subscription> = markets.iter().flat_map(market_subscriptions).collect();
    let (sender, mut items) = mpsc::channel(1_024);
    let mut connections = JoinSet::new();
    for (index, plan) in exchange.connections(&subscriptions).into_iter().enumerate() {
        let name = format!("{}.{}", exchange.id(), index + 1);
        connections.spawn(feed.open(name, plan, sender.clone(), stop.child_token()).1);
    }
    let requests = async {
        for market in &markets {
            // A failed request is recorded and does not stop the recording of the streams.
            for call in exchange.ticker(market) {
                let _ = rest.call(&call).await;
            }
            let now = clock.now();
            let range = TimeRange::new(Interval::M1.back(now, 100), Interval::M1.floor(now));
            let page = CandlePage { instrument: Arc::clone(market), interval: Interval::M1, range, requested_at: now };
            if let Some(call) = exchange.candles(&page) {
                let _ = rest.call(&call).await;
            }
        }
    };
    let streams = async {
        while let Some(item) = items.recv().await {
            if let FeedItem::GaveUp { reason, .. } = item {
                return anyhow!("a connection ended permanently: {reason}");
            }
        }
        anyhow!("all connections ended")
    };
    let ((), error) = tokio::join!(requests, streams);
    Err(error)
}

/// Writes the traffic that the tap captures.
struct Recorder {
    output: Output,
    tap: Tap,
    clock: Clock,
    line: Vec<u8>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    frames: u64,
    responses: u64,
    bytes: u64,
    dropped: u64,
}

impl Recorder {
    async fn run(&mut self, mut traffic: mpsc::Receiver<TrafficEvent>) -> std::io::Result<()> {
        let (clock, started_at) = (self.clock.clone(), self.clock.elapsed());
        let tick = clock.sleep(FLUSH_INTERVAL);
        tokio::pin!(tick);
        loop {
            tokio::select! {
                biased;
                () = &mut tick => {
                    self.record_dropped()?;
                    self.output.flush()?;
                    self.progress(clock.elapsed().saturating_sub(started_at));
                    tick.set(clock.sleep(FLUSH_INTERVAL));
                }
                Some(event) = traffic.recv() => {
                    match event.kind {
                        TrafficKind::Received { .. } | TrafficKind::ReceivedBinary { .. } => self.counts.frames += 1,
                        TrafficKind::Response { .. } => self.counts.responses += 1,
                        TrafficKind::Connected { .. } | TrafficKind::Sent { .. } => {}
                    }
                    line::write(&mut self.line, &event);
                    self.write_line()?;
                }
            }
        }
    }

    fn write_line(&mut self) -> std::io::Result<()> {
        self.counts.bytes += self.line.len() as u64;
        self.output.line(&self.line)
    }

    fn record_dropped(&mut self) -> std::io::Result<()> {
        let dropped = self.tap.take_dropped();
        if dropped == 0 {
            return Ok(());
        }
        self.counts.dropped += dropped;
        line::dropped(&mut self.line, dropped, self.clock.now());
        self.write_line()
    }

    /// Shows progress on a terminal.
    fn progress(&self, elapsed: Duration) {
        if std::io::stderr().is_terminal() {
            let Counts { frames, bytes, .. } = self.counts;
            let megabytes = bytes / MEGABYTE;
            eprint!(
                "\r\x1b[Krecording: {} s, {frames} frames, {megabytes} MB; press Ctrl-C to stop",
                elapsed.as_secs()
            );
            // A closed standard error is not an error.
            let _ = std::io::stderr().flush();
        }
    }

    fn summary(&mut self, args: &Args) -> anyhow::Result<()> {
        // Reported only after the summary, because the reader of the output may have closed it.
        let flushed = self.record_dropped().and_then(|()| self.output.flush());
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
        let Counts { frames, responses, bytes, dropped } = self.counts;
        eprintln!(
            "candlewick: recorded {frames} frames and {responses} responses of {}, {bytes} bytes",
            args.exchange.name()
        );
        if dropped > 0 {
            eprintln!(
                "candlewick: {dropped} frames are missing because they arrived faster than they could be written"
            );
        }
        if let Output::Files(files) = &self.output {
            for path in files.paths() {
                eprintln!("candlewick: {}", path.display());
            }
            eprintln!(
                "candlewick: it contains public market data only; decode it with `candlewick decode --exchange {}`",
                args.exchange
            );
        }
        flushed.context("the end of the recording cannot be written")
    }
}
