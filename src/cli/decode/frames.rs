//! Decodes WebSocket frames, one a line: raw frames, or the lines of a recording.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, BufRead, Read, Write};

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;

use crate::exchanges::{Exchange, FeedSession, Frame, Outbox};
use crate::model::{MarketEvent, Number, Timestamp, wire};

/// Maximum size of a line.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// Maximum number of derivatives connections that are remembered per recording.
const MAX_CONNECTIONS: usize = 10_000;

/// A line of a recording.
#[derive(Deserialize)]
struct RecordedLine<'a> {
    #[serde(borrow)]
    t: Cow<'a, str>,
    /// Unix time in seconds, with a fraction.
    ts: Option<Number>,
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
    #[serde(borrow)]
    conn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    addr: Option<Cow<'a, str>>,
}

/// Reads frames and writes their events. A frame that cannot be decoded becomes an error in the output.
///
/// # Errors
/// The input cannot be read, or the output cannot be written.
pub fn decode_frames(exchange: &dyn Exchange, mut input: impl BufRead, out: &mut impl Write) -> io::Result<()> {
    let mut frames = Frames { exchange, session: exchange.decoder(), derivatives: HashSet::new() };
    let mut outbox = Outbox::default();
    let (mut line, mut text) = (Vec::new(), Vec::with_capacity(512));
    for number in 1_u64.. {
        line.clear();
        if input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        text.clear();
        let result = match std::str::from_utf8(&line) {
            Ok(line) => frames.decode(line.trim(), &mut outbox),
            Err(error) => Err(error.to_string()),
        };
        for event in outbox.events.take() {
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

/// Decodes the frames of one exchange line by line.
struct Frames<'a> {
    exchange: &'a dyn Exchange,
    session: Box<dyn FeedSession>,
    /// Ids of the recording's connections to derivatives streams, whose frames are ignored.
    derivatives: HashSet<String>,
}

impl Frames<'_> {
    /// Decodes one line: a raw frame, or a line of a recording.
    fn decode(&mut self, line: &str, out: &mut Outbox) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        match parse_recorded_line(line) {
            Some(RecordedLine { t, conn, addr, .. }) if t == "connect" => {
                if let (Some(conn), Some(addr)) = (conn, addr)
                    && !self.exchange.is_spot_stream(&addr)
                    && self.derivatives.len() < MAX_CONNECTIONS
                {
                    self.derivatives.insert(conn.into_owned());
                }
                Ok(())
            }
            Some(RecordedLine { t, ts, data, conn, .. }) if t == "recv" => {
                if conn.is_some_and(|conn| self.derivatives.contains(&*conn)) {
                    return Ok(());
                }
                let data = data.ok_or("the recorded frame has no data")?;
                let millis = ts.and_then(|ts| (ts.0 * Decimal::ONE_THOUSAND).trunc().to_i64());
                self.frame(&data, Timestamp::from_millis(millis.unwrap_or(0)), out)
            }
            Some(_) => Ok(()),
            None => self.frame(line, Timestamp::EPOCH, out),
        }
    }

    fn frame(&mut self, text: &str, received: Timestamp, out: &mut Outbox) -> Result<(), String> {
        self.session.on_frame(Frame::Text(text), received, out).map_err(|error| error.to_string())
    }
}

/// Parses a line of a recording. `None` for other lines: no exchange sends frames with such a `t`.
fn parse_recorded_line(line: &str) -> Option<RecordedLine<'_>> {
    let recorded: RecordedLine<'_> = serde_json::from_str(line).ok()?;
    matches!(&*recorded.t, "recv" | "send" | "http" | "connect" | "header" | "binary" | "lost").then_some(recorded)
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
