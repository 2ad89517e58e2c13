//! `candlewick record`: an exchange's raw traffic as JSON lines, as evidence for a report.

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
use crate::clock::Clock;
use crate::config::Config;
use crate::exchanges::{CandlePage, Exchange, Subscription, exchange};
use crate::market::near;
use crate::model::{ExchangeId, Instrument, Interval, Symbol, TimeRange};
use crate::upstream::{Dialer, Feed, FeedItem, RestClient, Tap, Traffic, What, install_crypto};

/// How much may wait for the disk.
const QUEUE: usize = 20_000;

/// How often the files are flushed, and progress is shown.
const TICK: Duration = Duration::from_secs(1);

const MEGABYTE: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose traffic: binance, kraken, coinbase, okx, bybit
    exchange: ExchangeId,
    /// Which markets, with commas [default: those that the configuration collects]
    #[arg(long, value_name = "SYMBOLS", value_delimiter = ',')]
    symbols: Vec<Symbol>,
    /// The folder to write to, or `-` for standard output
    #[arg(long, value_name = "FOLDER", default_value = "recordings")]
    out: PathBuf,
    /// The most megabytes of one file
    #[arg(long, value_name = "MB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    max_mb: u64,
    /// How many files stay; the oldest goes when one more is begun
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    files: u16,
    /// End after so many seconds [default: at Ctrl-C]
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// The configuration file, whose origins and symbols are used [default: candlewick.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,
    /// How many times as fast as the machine's own the clock runs
    #[arg(long, hide = true, value_name = "FACTOR", default_value_t = 1.0, value_parser = super::clock_speed)]
    clock_speed: f64,
}

/// Records until Ctrl-C, SIGTERM or the time that was given.
///
/// # Errors
/// An unknown market, an exchange that cannot be reached, a folder that cannot be written to.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    install_crypto();
    let config = Config::load(args.config.clone())?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(record(args, &config))
}

async fn record(args: Args, config: &Config) -> anyhow::Result<ExitCode> {
    let clock = Clock::scaled(args.clock_speed);
    let ended = super::interruption()?;
    let exchange = exchange(args.exchange);
    let settings = config.exchanges.get(&args.exchange);
    let origins = |own: &[&str], configured: Option<&Vec<String>>| -> Vec<String> {
        let configured = configured.filter(|configured| !configured.is_empty()).cloned();
        configured.unwrap_or_else(|| own.iter().map(|origin| (*origin).to_owned()).collect())
    };
    let rest_origins = origins(exchange.profile().rest_origins, settings.map(|settings| &settings.rest_url));
    let ws_origins = origins(exchange.profile().ws_origins, settings.map(|settings| &settings.ws_url));
    let wanted = if args.symbols.is_empty() {
        settings.map(|settings| settings.symbols.clone()).unwrap_or_default()
    } else {
        args.symbols.clone()
    };
    if wanted.is_empty() {
        bail!(
            "nothing to record: name markets with --symbols, or in [exchanges.{}] of the configuration",
            args.exchange
        );
    }

    let output = output(&args, &clock)?;
    let (tap, traffic) = Tap::new(QUEUE, clock.clone());
    let rest = RestClient::tapped(exchange, &rest_origins, clock.clone(), tap.clone())?;
    let feed = Feed::new(exchange, ws_origins, Arc::new(Dialer), clock.clone()).tapped(tap.clone());
    let stop = CancellationToken::new();
    let mut recorder = Recorder { output, tap, clock: clock.clone(), line: Vec::new(), counts: Counts::default() };
    let listening = listen(exchange, &rest, &feed, &wanted, &clock, &stop);
    let timed_out = async {
        match args.seconds {
            Some(seconds) => clock.sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        result = recorder.run(traffic) => match result {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            result => result.context("the recording cannot be written"),
        },
        Err(error) = listening => Err(error),
        () = ended => Ok(()),
        () = timed_out => Ok(()),
    };
    stop.cancel();
    recorder.summary(&args)?;
    result.map(|()| ExitCode::SUCCESS)
}

fn output(args: &Args, clock: &Clock) -> anyhow::Result<Output> {
    if args.out.as_os_str() == "-" {
        return Ok(Output::Standard(std::io::BufWriter::new(std::io::stdout())));
    }
    let begun = clock.now().utc().format("%Y%m%dT%H%M%S%3fZ");
    let name = format!("{}-{begun}", args.exchange);
    let files = Files::new(&args.out, name, args.max_mb * MEGABYTE, args.files.into())
        .with_context(|| format!("cannot write to {}: choose another folder with --out", args.out.display()))?;
    Ok(Output::Files(files))
}

/// Asks the exchange what a collector would ask, and listens to all channels of the markets. Ends with an error only.
async fn listen(
    exchange: &'static dyn Exchange,
    rest: &RestClient,
    feed: &Feed,
    wanted: &[Symbol],
    clock: &Clock,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let listing = rest.call(&exchange.instruments()).await?;
    let find = |symbol: &Symbol| {
        listing.iter().find(|one| one.symbol == *symbol).cloned().map(Arc::new).ok_or_else(|| {
            let near = near(listing.iter().map(|one| &one.symbol), symbol.as_str());
            let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
            anyhow!("{} does not list {symbol}{hint}", exchange.id().name())
        })
    };
    let markets = wanted.iter().map(find).collect::<anyhow::Result<Vec<Arc<Instrument>>>>()?;
    let of = |market: &Arc<Instrument>| {
        let subscription = |channel: &_| Subscription { channel: *channel, instrument: Arc::clone(market) };
        exchange.profile().channels.iter().map(subscription).collect::<Vec<_>>()
    };
    let subscriptions: Vec<Subscription> = markets.iter().flat_map(of).collect();
    let (items, mut told) = mpsc::channel(1_024);
    let mut connections = JoinSet::new();
    for (index, plan) in exchange.connections(&subscriptions).into_iter().enumerate() {
        let name = format!("{}.{}", exchange.id(), index + 1);
        connections.spawn(feed.open(name, plan, items.clone(), stop.child_token()).1);
    }
    let asking = async {
        for market in &markets {
            // What fails is in the recording; what is streamed is recorded all the same.
            for call in exchange.ticker(market) {
                let _ = rest.call(&call).await;
            }
            let now = clock.now();
            let range = TimeRange::new(Interval::M1.back(now, 100), Interval::M1.floor(now));
            let page = CandlePage { instrument: Arc::clone(market), interval: Interval::M1, range, asked_at: now };
            if let Some(call) = exchange.candles(&page) {
                let _ = rest.call(&call).await;
            }
        }
    };
    let listening = async {
        while let Some(item) = told.recv().await {
            if let FeedItem::GaveUp { reason, .. } = item {
                return anyhow!("a connection ended for good: {reason}");
            }
        }
        anyhow!("all connections ended")
    };
    let ((), error) = tokio::join!(asking, listening);
    Err(error)
}

/// Writes what the tap gives.
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
    answers: u64,
    bytes: u64,
    lost: u64,
}

impl Recorder {
    async fn run(&mut self, mut traffic: mpsc::Receiver<Traffic>) -> std::io::Result<()> {
        let (clock, began) = (self.clock.clone(), self.clock.elapsed());
        let tick = clock.sleep(TICK);
        tokio::pin!(tick);
        loop {
            tokio::select! {
                biased;
                () = &mut tick => {
                    self.note_lost()?;
                    self.output.flush()?;
                    self.progress(clock.elapsed().saturating_sub(began));
                    tick.set(clock.sleep(TICK));
                }
                Some(one) = traffic.recv() => {
                    match one.what {
                        What::Received { .. } | What::ReceivedBinary { .. } => self.counts.frames += 1,
                        What::Answered { .. } => self.counts.answers += 1,
                        What::Connected { .. } | What::Sent { .. } => {}
                    }
                    line::write(&mut self.line, &one);
                    self.keep()?;
                }
            }
        }
    }

    fn keep(&mut self) -> std::io::Result<()> {
        self.counts.bytes += self.line.len() as u64;
        self.output.line(&self.line)
    }

    fn note_lost(&mut self) -> std::io::Result<()> {
        let lost = self.tap.take_lost();
        if lost == 0 {
            return Ok(());
        }
        self.counts.lost += lost;
        line::lost(&mut self.line, lost, self.clock.now());
        self.keep()
    }

    /// For people only.
    fn progress(&self, elapsed: Duration) {
        if std::io::stderr().is_terminal() {
            let Counts { frames, bytes, .. } = self.counts;
            let megabytes = bytes / MEGABYTE;
            eprint!("\r\x1b[Krecording: {} s, {frames} frames, {megabytes} MB; Ctrl-C ends", elapsed.as_secs());
            // Nobody minds a progress line that is not shown.
            let _ = std::io::stderr().flush();
        }
    }

    fn summary(&mut self, args: &Args) -> anyhow::Result<()> {
        // Whoever reads our output may be gone.
        let flushed = self.note_lost().and_then(|()| self.output.flush());
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
        let Counts { frames, answers, bytes, lost } = self.counts;
        eprintln!(
            "candlewick: recorded {frames} frames and {answers} answers of {}, {bytes} bytes",
            args.exchange.name()
        );
        if lost > 0 {
            eprintln!("candlewick: {lost} frames came faster than they could be written, and are missing");
        }
        if let Output::Files(files) = &self.output {
            for path in files.kept() {
                eprintln!("candlewick: {}", path.display());
            }
            eprintln!("candlewick: public market data only; `candlewick decode --exchange {}` reads it", args.exchange);
        }
        flushed.context("the end of the recording cannot be written")
    }
}
