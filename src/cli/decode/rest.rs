//! Decodes a response of a REST API.

use std::io::{Read, Write};
use std::sync::Arc;

use anyhow::bail;

use crate::exchanges::{CandlePage, Exchange, MarketResponse, RestCall, RestError, RestResponse};
use crate::model::{Instrument, Interval, Source, Symbol, Ticker, TimeRange, Timestamp, wire};

/// Maximum size of a body.
const MAX_BODY_BYTES: u64 = 256 << 20;

/// Content of a REST response.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum RestKind {
    Ticker,
    Candles,
    Instruments,
}

/// Decodes one REST response.
pub struct RestDecoder {
    pub exchange: &'static dyn Exchange,
    pub rest: RestKind,
    pub symbol: Option<Symbol>,
    pub interval: Interval,
}

impl RestDecoder {
    /// Reads a body and writes its decoded content.
    ///
    /// # Errors
    /// The body cannot be read, or the output cannot be written.
    pub fn decode(&self, input: impl Read, out: &mut impl Write) -> anyhow::Result<()> {
        let mut body = Vec::new();
        input.take(MAX_BODY_BYTES).read_to_end(&mut body)?;
        let mut text = Vec::with_capacity(4096);
        match self.rest {
            RestKind::Instruments => self.instruments(&body, &mut text),
            RestKind::Candles => self.candles(&body, &mut text)?,
            RestKind::Ticker => {
                let parts = self.split_markets(&body);
                // A symbol given for one market does not apply to a response with several.
                let symbol = self.symbol.clone().filter(|_| parts.len() == 1);
                for MarketResponse { native, body } in parts {
                    let named = native.as_deref().and_then(|native| self.exchange.guess_symbol(native));
                    let market = symbol.clone().or(named);
                    self.ticker(market.as_ref(), native.unwrap_or_default(), &body, &mut text);
                }
            }
        }
        Ok(out.write_all(&text)?)
    }

    /// One response per market; the whole body if it cannot be split.
    fn split_markets<'a>(&self, body: &'a [u8]) -> Vec<MarketResponse<'a>> {
        let parts = self.exchange.split_markets(body);
        if parts.is_empty() { vec![MarketResponse { native: None, body: body.into() }] } else { parts }
    }

    fn instrument(&self, symbol: Symbol) -> Instrument {
        Instrument::new(self.exchange.id(), symbol, String::new())
    }

    fn ticker(&self, market: Option<&Symbol>, native: String, body: &[u8], out: &mut Vec<u8>) {
        let instrument = self.instrument(market.cloned().unwrap_or_else(placeholder_symbol));
        let calls = self.exchange.ticker(&Instrument { native, ..instrument });
        // A ticker can take several calls; the body may be the response to any of them.
        let decoded = calls.iter().find_map(|call| parse(call, body).ok());
        let reported = || calls.first().and_then(|call| parse_or_report(call, body, out));
        let Some(values) = decoded.or_else(reported) else { return };
        if let Err(error) = values.check(Timestamp::EPOCH) {
            return write_error(out, &format!("invalid ticker: {error}"));
        }
        let exchange = self.exchange.id();
        let symbol = market.cloned().unwrap_or_else(placeholder_symbol);
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
            let native = self.split_markets(body).into_iter().next()?.native?;
            self.exchange.guess_symbol(&native)
        };
        let market = self.symbol.clone().or_else(named);
        let page = CandlePage {
            instrument: Arc::new(self.instrument(market.clone().unwrap_or_else(placeholder_symbol))),
            interval: self.interval,
            range: TimeRange::new(Timestamp::EPOCH, Timestamp::MAX),
            requested_at: Timestamp::MAX,
        };
        let Some(call) = self.exchange.candles(&page) else {
            bail!("{} has no {} candles aligned to candlewick's grid", self.exchange.id().name(), self.interval);
        };
        let page = parse_or_report(&call, body, out).unwrap_or_default();
        for skipped in page.skipped {
            write_error(out, &skipped.reason);
        }
        for candle in page.rows {
            if let Err(error) = candle.check(self.interval) {
                write_error(out, &format!("invalid candle at {}: {error}", candle.timestamp));
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
        let listing = parse_or_report(&self.exchange.instruments(), body, out).unwrap_or_default();
        for issue in &listing.issues {
            write_error(out, &format!("invalid row {}: {}", issue.name, issue.reason));
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

/// A placeholder for an unknown market. It is never printed.
fn placeholder_symbol() -> Symbol {
    Symbol::new("X", "X").unwrap_or_else(|_| unreachable!("both are valid asset names"))
}

fn parse<T>(call: &RestCall<T>, body: &[u8]) -> Result<T, RestError> {
    (call.parse)(&RestResponse { status: 200, body }, Timestamp::EPOCH)
}

/// Parses a body. Writes the error if it cannot be parsed.
fn parse_or_report<T>(call: &RestCall<T>, body: &[u8], out: &mut Vec<u8>) -> Option<T> {
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
