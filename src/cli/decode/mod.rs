//! `candlewick decode`: decodes payloads of an exchange, without network or store.
//!
//! Does not read the clock, so that the same input always gives the same output. `received_at` is the time in the
//! recording, or 0 without a recording. A candle without a closed flag is closed once a later candle follows.

mod frames;
mod rest;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use self::frames::decode_frames;
use self::rest::{RestDecoder, RestKind};
use super::exchange_arg::exchange_help;
use crate::exchanges::{self, NoAdapter};
use crate::model::{ExchangeId, Interval, Symbol};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, help = exchange_help("Exchange of the payloads"))]
    exchange: ExchangeId,
    /// Decode the body of one REST response instead of WebSocket frames
    #[arg(long, value_name = "WHAT")]
    rest: Option<RestKind>,
    /// Market of a REST response that names none, such as BTC/USDT
    #[arg(long, requires = "rest")]
    symbol: Option<Symbol>,
    /// Candle interval of a REST response
    #[arg(long, requires = "rest", default_value = "1m")]
    interval: Interval,
    /// Input files, read in order; `-` is standard input, which is also the default
    files: Vec<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut input: Box<dyn BufRead> = Box::new(io::empty());
    for path in if args.files.is_empty() { vec![PathBuf::from("-")] } else { args.files } {
        let next: Box<dyn BufRead> = if path.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::new(File::open(&path).with_context(|| format!("cannot read {}", path.display()))?))
        };
        input = Box::new(input.chain(next));
    }
    let exchange = exchanges::exchange(args.exchange).ok_or(NoAdapter(args.exchange))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let written = match args.rest {
        Some(rest) => {
            RestDecoder { exchange, rest, symbol: args.symbol, interval: args.interval }.decode(input, &mut out)
        }
        None => decode_frames(exchange, input, &mut out).map_err(Into::into),
    };
    match written.and_then(|()| out.flush().map_err(Into::into)) {
        // The reader has closed the pipe, which is not an error.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
