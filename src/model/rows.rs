//! How a candle is written as a line of text, for the doors and for exports: CSV, NDJSON, CCXT's row.

use super::{Candle, wire};

/// The names of the columns of [`csv`], with the end of their line.
pub const CSV_HEAD: &[u8] = b"timestamp,open,high,low,close,volume,quote_volume,trades,closed,revision\n";

/// The same where times in which nobody traded are filled.
pub const CSV_HEAD_FLAT: &[u8] = b"timestamp,open,high,low,close,volume,quote_volume,trades,closed,revision,filled\n";

/// `timestamp,open,high,low,close,volume`, which both CCXT's rows and CSV begin with.
pub fn ohlcv(out: &mut Vec<u8>, candle: &Candle) {
    wire::integer(out, candle.timestamp.millis());
    for value in [candle.open, candle.high, candle.low, candle.close, candle.volume] {
        out.push(b',');
        wire::decimal(out, value);
    }
}

/// The columns of [`CSV_HEAD`], without the end of the line. What the exchange does not give is empty.
pub fn csv(out: &mut Vec<u8>, candle: &Candle) {
    ohlcv(out, candle);
    out.push(b',');
    candle.quote_volume.inspect(|volume| wire::decimal(out, *volume));
    out.push(b',');
    candle.trades.inspect(|count| wire::integer(out, *count));
    out.extend_from_slice(if candle.closed { b",true," } else { b",false," });
    wire::integer(out, candle.revision);
}

/// A JSON object, without the end of the line.
pub fn ndjson(out: &mut Vec<u8>, candle: &Candle) {
    out.push(b'{');
    wire::candle_fields(out, candle);
    out.push(b'}');
}
