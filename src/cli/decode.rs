//! `candlewick decode`: shows what payloads of an exchange mean, without network or store.
//!
//! Nothing here asks for the time, so that the same input always gives the same output: `received_at` is the time of
//! the recording, and 0 where there is none; a candle without a flag of its own is closed when a later one shows it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exchanges::{self, CandlePage, Exchange, FeedSession, Frame, Outbox, Reply, RestCall};
use crate::model::{
    ExchangeId, Instrument, Interval, MarketEvent, Number, Source, Symbol, Ticker, TimeRange, Timestamp, wire,
};

/// The longest line or body that is read.
const MAX_BYTES: u64 = 256 << 20;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose payloads: binance, kraken
    #[arg(long)]
    exchange: ExchangeId,
    /// Read one reply's body of the REST interface instead of WebSocket frames
    #[arg(long, value_name = "WHAT")]
    rest: Option<Rest>,
    /// The market of a REST reply that names none, such as BTC/USDT
    #[arg(long, requires = "rest")]
    symbol: Option<Symbol>,
    /// The interval of the candles of a REST reply
    #[arg(long, requires = "rest", default_value = "1m")]
    interval: Interval,
    /// Where to read; standard input if it is absent or `-`
    file: Option<PathBuf>,
}

/// What a REST reply holds.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Rest {
    Ticker,
    Candles,
    Instruments,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let input: Box<dyn BufRead> = match args.file.as_deref() {
        Some(path) if path.as_os_str() != "-" => {
            let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            Box::new(BufReader::new(file))
        }
        _ => Box::new(io::stdin().lock()),
    };
    let exchange = exchanges::exchange(args.exchange);
    let mut out = BufWriter::new(io::stdout().lock());
    let written = match args.rest {
        Some(rest) => {
            RestReply { exchange, rest, symbol: args.symbol, interval: args.interval }.decode(input, &mut out)
        }
        None => decode_frames(exchange.decoder().as_mut(), input, &mut out).map_err(Into::into),
    };
    match written.and_then(|()| out.flush().map_err(Into::into)) {
        // Whoever reads has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A line of a recording.
#[derive(Deserialize)]
struct Recorded<'a> {
    #[serde(borrow)]
    t: Cow<'a, str>,
    /// Seconds, with a fraction.
    ts: Option<Number>,
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
}

fn decode_frames(session: &mut dyn FeedSession, mut input: impl BufRead, out: &mut impl Write) -> io::Result<()> {
    let mut outbox = Outbox::default();
    let (mut line, mut text) = (Vec::new(), Vec::with_capacity(512));
    for number in 1_u64.. {
        line.clear();
        if input.by_ref().take(MAX_BYTES).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        text.clear();
        let result = match std::str::from_utf8(&line) {
            Ok(line) => decode_line(session, line.trim(), &mut outbox),
            Err(error) => Err(error.to_string()),
        };
        for event in outbox.events.drain(..) {
            write_event(&mut text, &event);
        }
        outbox.frames.clear();
        outbox.notices.clear();
        if let Err(error) = result {
            text.extend_from_slice(b"{\"error\":");
            wire::string(&mut text, &error);
            text.extend_from_slice(b",\"line\":");
            wire::integer(&mut text, number);
            text.extend_from_slice(b"}\n");
        }
        out.write_all(&text)?;
    }
    Ok(())
}

/// Decodes one line: a raw frame, or a line of a recording.
fn decode_line(session: &mut dyn FeedSession, line: &str, out: &mut Outbox) -> Result<(), String> {
    if line.is_empty() {
        return Ok(());
    }
    let mut frame =
        |text: &str, received| session.on_frame(Frame::Text(text), received, out).map_err(|error| error.to_string());
    match recorded(line) {
        Some(Recorded { t, ts, data }) if t == "recv" => {
            let data = data.ok_or("a recorded frame without data")?;
            let millis = ts.and_then(|ts| (ts.0 * Decimal::ONE_THOUSAND).trunc().to_i64());
            frame(&data, Timestamp::from_millis(millis.unwrap_or(0)))
        }
        Some(_) => Ok(()),
        None => frame(line, Timestamp::EPOCH),
    }
}

/// Reads a line of a recording; `None` for anything else. No frame of an exchange has such a `t`.
fn recorded(line: &str) -> Option<Recorded<'_>> {
    let recorded: Recorded<'_> = serde_json::from_str(line).ok()?;
    matches!(&*recorded.t, "recv" | "send" | "http" | "connect" | "header").then_some(recorded)
}

fn write_event(out: &mut Vec<u8>, event: &MarketEvent) {
    match event {
        MarketEvent::Ticker(ticker) => {
            out.extend_from_slice(b"{\"type\":\"ticker\",");
            wire::ticker_fields(out, ticker, false);
        }
        MarketEvent::Trade(trade) => {
            out.extend_from_slice(b"{\"type\":\"trade\",");
            wire::trade_fields(out, trade);
        }
        MarketEvent::Candle(update) => {
            out.extend_from_slice(b"{\"type\":\"candle\",");
            wire::candle_update_fields(out, update);
        }
        MarketEvent::Gap(gap) => {
            out.extend_from_slice(b"{\"type\":\"gap\",");
            wire::gap_fields(out, gap);
        }
    }
    out.extend_from_slice(b"}\n");
}

/// How one reply of the REST interface is to be read.
struct RestReply {
    exchange: &'static dyn Exchange,
    rest: Rest,
    symbol: Option<Symbol>,
    interval: Interval,
}

impl RestReply {
    fn decode(&self, input: impl Read, out: &mut impl Write) -> anyhow::Result<()> {
        let mut body = Vec::new();
        input.take(MAX_BYTES).read_to_end(&mut body)?;
        let mut text = Vec::with_capacity(4096);
        match self.rest {
            Rest::Instruments => self.instruments(&body, &mut text),
            Rest::Candles => self.candles(&body, &mut text)?,
            Rest::Ticker => {
                let parts = self.split(&body);
                // A name given for one market cannot be that of several.
                let symbol = self.symbol.clone().filter(|_| parts.len() == 1);
                for (native, body) in parts {
                    let market = symbol.clone().or_else(|| self.exchange.guess_symbol(&native?));
                    self.ticker(market.as_ref(), &body, &mut text);
                }
            }
        }
        Ok(out.write_all(&text)?)
    }

    /// A reply about several markets as one reply a market, each with the market's id where it names one.
    fn split<'a>(&self, body: &'a [u8]) -> Vec<(Option<String>, Cow<'a, [u8]>)> {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            symbol: Cow<'a, str>,
        }
        #[derive(Deserialize)]
        struct ByName<'a> {
            #[serde(borrow)]
            result: BTreeMap<Cow<'a, str>, &'a RawValue>,
        }
        let parts: Vec<_> = match self.exchange.id() {
            ExchangeId::Binance => {
                let name = |one: &[u8]| serde_json::from_slice::<Named<'_>>(one).ok().map(|named| named.symbol.into());
                match serde_json::from_slice::<Vec<&RawValue>>(body) {
                    Ok(all) => all.iter().map(|one| one.get().as_bytes()).map(|one| (name(one), one.into())).collect(),
                    Err(_) => vec![(name(body), body.into())],
                }
            }
            ExchangeId::Kraken => {
                let all = serde_json::from_slice::<ByName<'_>>(body).map(|reply| reply.result).unwrap_or_default();
                let markets = all.into_iter().filter(|(name, _)| name != "last");
                let one = |(name, value): (Cow<'_, str>, &RawValue)| {
                    let key = serde_json::Value::String(name.clone().into_owned());
                    (
                        Some(name.into_owned()),
                        format!("{{\"error\":[],\"result\":{{{key}:{value}}}}}").into_bytes().into(),
                    )
                };
                markets.map(one).collect()
            }
        };
        if parts.is_empty() { vec![(None, body.into())] } else { parts }
    }

    fn instrument(&self, symbol: Symbol) -> Instrument {
        Instrument {
            exchange: self.exchange.id(),
            symbol,
            native: String::new(),
            stream_native: None,
            price_step: None,
            amount_step: None,
            active: true,
        }
    }

    fn ticker(&self, market: Option<&Symbol>, body: &[u8], out: &mut Vec<u8>) {
        let calls = self.exchange.ticker(&self.instrument(market.cloned().unwrap_or_else(nameless)));
        let Some(Some(values)) = calls.first().map(|call| read(call, body, out)) else { return };
        let exchange = self.exchange.id();
        let symbol = market.cloned().unwrap_or_else(nameless);
        let ticker = Ticker { exchange, symbol, values, received_at: Timestamp::EPOCH, source: Source::Rest };
        let mut fields = Vec::with_capacity(512);
        wire::market_fields(&mut fields, exchange, &ticker.symbol);
        let market_bytes = fields.len();
        fields.clear();
        wire::ticker_fields(&mut fields, &ticker, false);
        out.extend_from_slice(b"{\"type\":\"ticker\",");
        self.write_market(out, market);
        out.extend_from_slice(&fields[market_bytes..]);
        out.extend_from_slice(b"}\n");
    }

    fn candles(&self, body: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        let named = || self.split(body).into_iter().next().and_then(|(native, _)| self.exchange.guess_symbol(&native?));
        let market = self.symbol.clone().or_else(named);
        let page = CandlePage {
            instrument: Arc::new(self.instrument(market.clone().unwrap_or_else(nameless))),
            interval: self.interval,
            range: TimeRange::new(Timestamp::EPOCH, Timestamp::MAX),
        };
        let Some(call) = self.exchange.candles(&page) else {
            bail!("{} has no candles of {} on our grid", self.exchange.id().name(), self.interval);
        };
        for candle in read(&call, body, out).unwrap_or_default() {
            out.extend_from_slice(b"{\"type\":\"candle\",");
            self.write_market(out, market.as_ref());
            out.extend_from_slice(b",\"interval\":\"");
            out.extend_from_slice(self.interval.as_str().as_bytes());
            out.extend_from_slice(b"\",");
            wire::candle_fields(out, &candle);
            out.extend_from_slice(b"}\n");
        }
        Ok(())
    }

    fn instruments(&self, body: &[u8], out: &mut Vec<u8>) {
        for instrument in read(&self.exchange.instruments(), body, out).unwrap_or_default() {
            let mut object = Vec::with_capacity(256);
            wire::instrument(&mut object, &instrument);
            out.extend_from_slice(b"{\"type\":\"instrument\",");
            out.extend_from_slice(&object[1..]);
            out.push(b'\n');
        }
    }

    fn write_market(&self, out: &mut Vec<u8>, symbol: Option<&Symbol>) {
        if let Some(symbol) = symbol {
            wire::market_fields(out, self.exchange.id(), symbol);
        } else {
            let name = self.exchange.id().as_str();
            out.extend_from_slice(format!("\"exchange\":\"{name}\",\"symbol\":null").as_bytes());
        }
    }
}

/// Stands in for a market whose name is not known; it is never printed.
fn nameless() -> Symbol {
    Symbol::new("X", "X").unwrap_or_else(|_| unreachable!("both are names of assets"))
}

/// Reads a body; what it refuses is written as an error.
fn read<T>(call: &RestCall<T>, body: &[u8], out: &mut Vec<u8>) -> Option<T> {
    match (call.parse)(&Reply { status: 200, body }, Timestamp::EPOCH) {
        Ok(value) => Some(value),
        Err(error) => {
            out.extend_from_slice(b"{\"error\":");
            wire::string(out, &error.message);
            out.extend_from_slice(b"}\n");
            None
        }
    }
}
