//! Candle rows for the API and for exports: CSV, NDJSON and CCXT rows.

use super::{Candle, wire};

/// Header line of [`csv`], with line end.
pub const CSV_HEADER: &[u8] = b"timestamp,open,high,low,close,volume,quote_volume,trades,closed,revision\n";

/// Header line if intervals without trades are filled (`fill=flat`).
pub const CSV_HEADER_FILLED: &[u8] =
    b"timestamp,open,high,low,close,volume,quote_volume,trades,closed,revision,filled\n";

/// Writes `timestamp,open,high,low,close,volume`, the common start of CCXT and CSV rows.
pub fn ohlcv(out: &mut Vec<u8>, candle: &Candle) {
    wire::integer(out, candle.timestamp.millis());
    for value in [candle.open, candle.high, candle.low, candle.close, candle.volume] {
        out.push(b',');
        wire::decimal(out, value);
    }
}

/// Writes the columns of [`CSV_HEADER`], without line end. Columns that the exchange does not provide are empty.
pub fn csv(out: &mut Vec<u8>, candle: &Candle) {
    ohlcv(out, candle);
    out.push(b',');
    candle.quote_volume.inspect(|volume| wire::decimal(out, *volume));
    out.push(b',');
    candle.trades.inspect(|count| wire::integer(out, *count));
    out.extend_from_slice(if candle.closed { b",true," } else { b",false," });
    wire::integer(out, candle.revision);
}

/// Writes a JSON object, without line end.
pub fn ndjson(out: &mut Vec<u8>, candle: &Candle) {
    out.push(b'{');
    wire::candle_fields(out, candle);
    out.push(b'}');
}
