//! Makes good messages bad, in the ways that exchanges were seen to do it. Pure.

use serde_json::Value;

use crate::model::ExchangeId;

/// A row of Binance's candles, twelve columns: read by position it passes for a ticker of 24 hours with the last price
/// 16823.24 and a change of 1672981200000 per cent.
pub const CANDLE_ROW: &str = "[1672981200000,\"16823.24\",\"16850.10\",\"16801.00\",\"16832.50\",\"152.10\",1672984799999,\"2560000.50\",8123,\
                              \"70.20\",\"1180000.10\",1672984799999]";

/// Whether a path gives candles.
pub fn is_of_candles(path: &str) -> bool {
    ["/klines", "/OHLC", "/candles", "/history-candles", "/kline"].iter().any(|end| path.ends_with(end))
}

/// Whether a path gives the ticker of a market.
pub fn is_of_ticker(exchange: ExchangeId, path: &str) -> bool {
    match exchange {
        ExchangeId::Binance => path.ends_with("/ticker/24hr"),
        ExchangeId::Kraken => path.ends_with("/Ticker"),
        ExchangeId::Coinbase => path.ends_with("/ticker"),
        ExchangeId::Okx => path.ends_with("/market/ticker"),
        ExchangeId::Bybit => path.ends_with("/market/tickers"),
    }
}

/// The text with its first decimal number absurd: of 30 digits, or `7.9e27`.
pub fn absurd(text: &str, at: i64) -> String {
    let bytes = text.as_bytes();
    let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let mut from = 0;
    while let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|found| from + found) {
        let end = bytes[start..].iter().position(|byte| !is_part(byte)).map_or(bytes.len(), |length| start + length);
        let begins = start.checked_sub(1).is_some_and(|before| matches!(bytes[before], b'"' | b':' | b',' | b'['));
        let ends = bytes.get(end).is_some_and(|after| matches!(after, b'"' | b',' | b'}' | b']'));
        if begins && ends && bytes[start..end].contains(&b'.') {
            let number = if at % 500 == 0 { "790000000000000000000000000000" } else { "7.9e27" };
            return [&text[..start], number, &text[end..]].concat();
        }
        from = end;
    }
    text.to_owned()
}

/// A page of candles with `null` in the place of the row in its middle.
pub fn bad_row(body: &str) -> String {
    fn rows(value: &mut Value) -> Option<&mut Vec<Value>> {
        let is_row = |value: &Value| value.is_array() || value.get("start").is_some();
        match value {
            Value::Array(rows) if rows.len() > 2 && rows.iter().all(is_row) => Some(rows),
            Value::Object(members) => members.values_mut().find_map(rows),
            _ => None,
        }
    }
    let Ok(mut page) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    if let Some(rows) = rows(&mut page) {
        let middle = rows.len() / 2;
        rows[middle] = Value::Null;
    }
    page.to_string()
}

/// A data frame with a row of candles in the place of its data.
pub fn with_candle_row(exchange: ExchangeId, text: &str) -> String {
    let member = if exchange == ExchangeId::Coinbase { "\"events\":" } else { "\"data\":" };
    let before = text.split_once(member).map_or("{", |(before, _)| before);
    let row = if exchange == ExchangeId::Binance { CANDLE_ROW.to_owned() } else { format!("[{CANDLE_ROW}]") };
    format!("{before}{member}{row}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_decimal_number_becomes_absurd_and_no_time() {
        let text = "{\"E\":1672515782136,\"at\":\"2025-11-20T21:00:00.123Z\",\"p\":\"67000.10\",\"q\":1.5}";
        assert_eq!(absurd(text, 250), text.replace("67000.10", "7.9e27"));
        assert_eq!(absurd(text, 500), text.replace("67000.10", "790000000000000000000000000000"));
        assert_eq!(absurd("{\"e\":1}", 0), "{\"e\":1}");
    }

    #[test]
    fn a_page_gets_one_bad_row() {
        assert_eq!(bad_row("[[1],[2],[3]]"), "[[1],null,[3]]");
        assert_eq!(
            bad_row("{\"result\":{\"X\":[[1],[2],[3]],\"last\":1}}"),
            "{\"result\":{\"X\":[[1],null,[3]],\"last\":1}}"
        );
        assert_eq!(bad_row("{\"candles\":[{\"start\":1},{\"start\":2},{\"start\":3}]}").matches("null").count(), 1);
        assert_eq!(bad_row("[[1]]"), "[[1]]");
        assert_eq!(bad_row("[[1"), "[[1");
    }

    #[test]
    fn a_ticker_frame_gets_a_candle_row() {
        let told =
            with_candle_row(ExchangeId::Binance, "{\"stream\":\"btcusdt@ticker\",\"data\":{\"e\":\"24hrTicker\"}}");
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!((&told["stream"], &told["data"][1]), (&"btcusdt@ticker".into(), &"16823.24".into()));
        let told = with_candle_row(ExchangeId::Okx, "{\"arg\":{\"channel\":\"tickers\"},\"data\":[{}]}");
        assert!(serde_json::from_str::<Value>(&told).unwrap()["data"][0].is_array());
    }
}
