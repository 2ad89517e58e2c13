//! One reply of a REST interface.

use std::io::{Read, Write};
use std::sync::Arc;

use anyhow::bail;

use super::split::split;
use super::{MAX_BYTES, Rest};
use crate::exchanges::{CandlePage, Exchange, Reply, ReplyError, RestCall};
use crate::model::{Instrument, InstrumentStatus, Interval, Source, Symbol, Ticker, TimeRange, Timestamp, wire};

/// How one reply of the REST interface is to be read.
pub struct RestReply {
    pub exchange: &'static dyn Exchange,
    pub rest: Rest,
    pub symbol: Option<Symbol>,
    pub interval: Interval,
}

impl RestReply {
    /// Reads a body and writes what it means.
    ///
    /// # Errors
    /// It cannot be read, or the output cannot be written.
    pub fn decode(&self, input: impl Read, out: &mut impl Write) -> anyhow::Result<()> {
        let mut body = Vec::new();
        input.take(MAX_BYTES).read_to_end(&mut body)?;
        let mut text = Vec::with_capacity(4096);
        match self.rest {
            Rest::Instruments => self.instruments(&body, &mut text),
            Rest::Candles => self.candles(&body, &mut text)?,
            Rest::Ticker => {
                let parts = split(self.exchange.id(), &body);
                // A name given for one market cannot be that of several.
                let symbol = self.symbol.clone().filter(|_| parts.len() == 1);
                for (native, body) in parts {
                    let named = native.as_deref().and_then(|native| self.exchange.guess_symbol(native));
                    let market = symbol.clone().or(named);
                    self.ticker(market.as_ref(), native.unwrap_or_default(), &body, &mut text);
                }
            }
        }
        Ok(out.write_all(&text)?)
    }

    fn instrument(&self, symbol: Symbol) -> Instrument {
        Instrument {
            exchange: self.exchange.id(),
            symbol,
            native: String::new(),
            stream_native: None,
            price_step: None,
            amount_step: None,
            status: InstrumentStatus::Trading,
        }
    }

    fn ticker(&self, market: Option<&Symbol>, native: String, body: &[u8], out: &mut Vec<u8>) {
        let instrument = self.instrument(market.cloned().unwrap_or_else(nameless));
        let calls = self.exchange.ticker(&Instrument { native, ..instrument });
        // Where a ticker takes several calls, the body may answer any of them.
        let answers = calls.iter().find_map(|call| parse(call, body).ok());
        let Some(values) = answers.or_else(|| calls.first().and_then(|call| read(call, body, out))) else { return };
        if let Err(error) = values.check(Timestamp::EPOCH) {
            return write_error(out, &format!("the ticker is impossible: {error}"));
        }
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
        let named = || {
            split(self.exchange.id(), body)
                .into_iter()
                .next()
                .and_then(|(native, _)| self.exchange.guess_symbol(&native?))
        };
        let market = self.symbol.clone().or_else(named);
        let page = CandlePage {
            instrument: Arc::new(self.instrument(market.clone().unwrap_or_else(nameless))),
            interval: self.interval,
            range: TimeRange::new(Timestamp::EPOCH, Timestamp::MAX),
            asked_at: Timestamp::MAX,
        };
        let Some(call) = self.exchange.candles(&page) else {
            bail!("{} has no candles of {} on our grid", self.exchange.id().name(), self.interval);
        };
        let page = read(&call, body, out).unwrap_or_default();
        for skipped in page.skipped {
            write_error(out, &skipped.reason);
        }
        for candle in page.rows {
            if let Err(error) = candle.check(self.interval) {
                write_error(out, &format!("the candle of {} is impossible: {error}", candle.timestamp));
                continue;
            }
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
        let listing = read(&self.exchange.instruments(), body, out).unwrap_or_default();
        for odd in &listing.odd {
            write_error(out, &format!("odd row {}: {}", odd.name, odd.reason));
        }
        for instrument in listing {
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

fn parse<T>(call: &RestCall<T>, body: &[u8]) -> Result<T, ReplyError> {
    (call.parse)(&Reply { status: 200, body }, Timestamp::EPOCH)
}

/// Reads a body; what it refuses is written as an error.
fn read<T>(call: &RestCall<T>, body: &[u8], out: &mut Vec<u8>) -> Option<T> {
    match parse(call, body) {
        Ok(value) => Some(value),
        Err(error) => {
            write_error(out, &error.message);
            None
        }
    }
}

fn write_error(out: &mut Vec<u8>, message: &str) {
    out.extend_from_slice(b"{\"error\":");
    wire::string(out, message);
    out.extend_from_slice(b"}\n");
}
