//! How a history is written: JSON, CCXT's rows, CSV and NDJSON.

use crate::market::{Format, HistoryPage};
use crate::model::{Candle, rows, wire};

/// About the longest candle in JSON.
const CANDLE_BYTES: usize = 230;

/// A page's body.
pub(super) fn write_page(format: Format, page: &HistoryPage) -> Vec<u8> {
    match format {
        Format::Json => write_json(page),
        Format::Array => write_array(&page.candles),
        Format::Csv => [rows::CSV_HEAD, &write_rows(format, &page.candles)].concat(),
        Format::Ndjson => write_rows(format, &page.candles),
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
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        wire::candle_fields(&mut out, candle);
        out.push(b'}');
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

/// A line a candle.
pub(super) fn write_rows(format: Format, candles: &[Candle]) -> Vec<u8> {
    let mut out = Vec::with_capacity(candles.len() * CANDLE_BYTES);
    for candle in candles {
        match format {
            Format::Csv => rows::csv(&mut out, candle),
            _ => rows::ndjson(&mut out, candle),
        }
        out.push(b'\n');
    }
    out
}

fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}
