//! Encoders of a history: JSON, CCXT rows, CSV and NDJSON.

use crate::market::{CandleQuery, Fill, Format, HistoryPage};
use crate::model::{Candle, rows, wire};

/// Approximate upper bound for the size of a candle in JSON, in bytes.
const CANDLE_BYTES: usize = 230;

/// The CSV header line; empty for other formats.
pub(super) fn csv_header(query: &CandleQuery) -> &'static [u8] {
    match (query.format, query.fill) {
        (Format::Csv, Fill::None) => rows::CSV_HEADER,
        (Format::Csv, Fill::Flat) => rows::CSV_HEADER_FILLED,
        _ => b"",
    }
}

/// Encodes the body of a page.
pub(super) fn write_page(query: &CandleQuery, page: &HistoryPage) -> Vec<u8> {
    match query.format {
        Format::Json => write_json(page),
        Format::Array => write_array(&page.candles),
        Format::Csv | Format::Ndjson => [csv_header(query), &write_rows(query, page)].concat(),
    }
}

fn write_json(page: &HistoryPage) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + page.gaps.len() * 80 + page.candles.len() * CANDLE_BYTES);
    out.push(b'{');
    wire::market_fields(&mut out, page.exchange, &page.symbol);
    out.extend_from_slice(b",\"interval\":\"");
    out.extend_from_slice(page.interval.as_str().as_bytes());
    out.extend_from_slice(b"\",\"simulated\":");
    boolean(&mut out, page.simulated);
    out.extend_from_slice(b",\"complete\":");
    boolean(&mut out, page.complete);
    out.extend_from_slice(b",\"gaps\":[");
    for (index, gap) in page.gaps.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        wire::range_fields(&mut out, gap.range.start(), gap.range.end());
        out.extend_from_slice(b",\"reason\":\"");
        out.extend_from_slice(gap.reason.as_str().as_bytes());
        out.extend_from_slice(b"\"}");
    }
    out.extend_from_slice(b"],\"next_cursor\":");
    match &page.next_cursor {
        Some(cursor) => wire::string(&mut out, cursor),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"candles\":[");
    for (index, candle) in page.candles.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_candle(&mut out, candle, page);
    }
    out.extend_from_slice(b"]}");
    out
}

fn write_array(candles: &[Candle]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + candles.len() * CANDLE_BYTES / 2);
    out.push(b'[');
    for (index, candle) in candles.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"[" } else { b",[" });
        rows::ohlcv(&mut out, candle);
        out.push(b']');
    }
    out.push(b']');
    out
}

/// Writes a candle as JSON. `filled` is written only for candles that represent an interval without trades.
fn write_candle(out: &mut Vec<u8>, candle: &Candle, page: &HistoryPage) {
    out.push(b'{');
    wire::candle_fields(out, candle);
    if page.filled.contains(&candle.timestamp) {
        out.extend_from_slice(b",\"filled\":true");
    }
    out.push(b'}');
}

/// Encodes one line per candle, as CSV or NDJSON.
pub(super) fn write_rows(query: &CandleQuery, page: &HistoryPage) -> Vec<u8> {
    let mut out = Vec::with_capacity(page.candles.len() * CANDLE_BYTES);
    for candle in &page.candles {
        if query.format == Format::Csv {
            rows::csv(&mut out, candle);
            if query.fill == Fill::Flat {
                out.push(b',');
                boolean(&mut out, page.filled.contains(&candle.timestamp));
            }
        } else {
            write_candle(&mut out, candle, page);
        }
        out.push(b'\n');
    }
    out
}

fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}
