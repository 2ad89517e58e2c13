//! Corrupts valid responses and frames in ways that were observed on exchanges. Pure functions.

use serde_json::Value;

use super::catalog::CandleFields;
use super::faults::FaultKind;

/// A candle row of twelve columns, as sent by an exchange. A decoder that reads it by position takes it for a 24-hour ticker with the
/// last price 16823.24 and a change of 1672981200000 percent.
pub const CANDLE_ROW: &str = "[1672981200000,\"16823.24\",\"16850.10\",\"16801.00\",\"16832.50\",\"152.10\",1672984799999,\"2560000.50\",8123,\
                              \"70.20\",\"1180000.10\",1672984799999]";

/// Replaces the first decimal number by one of 30 digits or `7.9e27`.
pub fn with_absurd_number(text: &str, at: i64) -> String {
    let bytes = text.as_bytes();
    let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let mut from = 0;
    while let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|found| from + found) {
        let end = bytes[start..].iter().position(|byte| !is_part(byte)).map_or(bytes.len(), |length| start + length);
        let is_start = start.checked_sub(1).is_some_and(|before| matches!(bytes[before], b'"' | b':' | b',' | b'['));
        let is_end = bytes.get(end).is_some_and(|after| matches!(after, b'"' | b',' | b'}' | b']'));
        if is_start && is_end && bytes[start..end].contains(&b'.') {
            let number = if at % 500 == 0 { "790000000000000000000000000000" } else { "7.9e27" };
            return [&text[..start], number, &text[end..]].concat();
        }
        from = end;
    }
    text.to_owned()
}

/// Ways to corrupt a page of candles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFault {
    /// `null` instead of the middle row.
    BadRow,
    /// Half of the rows.
    Short,
    Empty,
    /// Without the first and the last row.
    Edges,
    /// Without the middle row, on exchanges with a row for each interval.
    Missing,
    /// Rows open 14.789 s late, or 14 s late where times are whole seconds.
    OffGrid,
    /// Each row twice, the first time without its volume.
    Repeated,
    /// The second half before the first.
    Unordered,
    /// Rows of another day, as if the requested start were ignored.
    Other,
    /// Times multiplied by 1,000: microseconds, or milliseconds where times are whole seconds.
    Microseconds,
    /// A price of 0 in the middle row.
    ZeroPrice,
}

impl PageFault {
    const ALL: [(FaultKind, Self); 11] = [
        (FaultKind::BadRow, Self::BadRow),
        (FaultKind::ShortPage, Self::Short),
        (FaultKind::EmptyPage, Self::Empty),
        (FaultKind::EdgeRows, Self::Edges),
        (FaultKind::MissingRow, Self::Missing),
        (FaultKind::OffGrid, Self::OffGrid),
        (FaultKind::RepeatedRow, Self::Repeated),
        (FaultKind::UnorderedPage, Self::Unordered),
        (FaultKind::OtherPage, Self::Other),
        (FaultKind::PageMicroseconds, Self::Microseconds),
        (FaultKind::ZeroPrice, Self::ZeroPrice),
    ];

    /// The page faults that apply, in the order of application.
    pub fn triggered(trigger: impl Fn(FaultKind) -> bool) -> Vec<Self> {
        Self::ALL.into_iter().filter(|(kind, _)| trigger(*kind)).map(|(_, fault)| fault).collect()
    }

    fn apply(self, rows: &mut Vec<Value>, fields: &CandleFields) {
        let half = rows.len() / 2;
        match self {
            Self::BadRow => rows[half] = Value::Null,
            Self::Short => rows.truncate(half),
            Self::Empty => rows.clear(),
            Self::Edges => *rows = rows[1..rows.len() - 1].to_vec(),
            Self::Missing if fields.empty_intervals => drop(rows.remove(half)),
            Self::Missing => {}
            Self::OffGrid => map_times(rows, |at, second| at + 14 * second + 789 * second / 1_000),
            Self::Other => map_times(rows, |at, second| at + 86_400 * second),
            Self::Microseconds => map_times(rows, |at, _| at * 1_000),
            Self::ZeroPrice => set_column(&mut rows[half], 1, "open", "0"),
            Self::Repeated => *rows = rows.iter().flat_map(|row| [without_volume(row, fields), row.clone()]).collect(),
            Self::Unordered => rows.rotate_left(half),
        }
    }
}

/// Changes the times of rows. `map` receives a time and the length of a second in the same unit.
fn map_times(rows: &mut [Value], map: impl Fn(i64, i64) -> i64) {
    for row in rows {
        map_time(row, &map);
    }
}

fn map_time(row: &mut Value, map: impl Fn(i64, i64) -> i64) {
    let time = match row {
        Value::Array(columns) => columns.first_mut(),
        other => other.get_mut("start"),
    };
    let Some(time) = time else { return };
    let map = |at: i64| map(at, if at > 100_000_000_000 { 1_000 } else { 1 });
    *time = match &*time {
        Value::String(text) => text.parse().map(map).unwrap_or_default().to_string().into(),
        other => map(other.as_i64().unwrap_or_default()).into(),
    };
}

fn set_column(row: &mut Value, column: usize, name: &str, value: &str) {
    match row {
        Value::Array(columns) => {
            if let Some(column) = columns.get_mut(column) {
                *column = value.into();
            }
        }
        other => other[name] = value.into(),
    }
}

/// The row as if it had no trades.
fn without_volume(row: &Value, fields: &CandleFields) -> Value {
    let mut row = row.clone();
    set_column(&mut row, fields.volume_column, "volume", "0");
    row
}

/// Applies a fault to a page of candles.
pub fn corrupt_page(body: &str, fault: PageFault, fields: &CandleFields) -> String {
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
        fault.apply(rows, fields);
    }
    page.to_string()
}

/// A data frame whose data, the value of `member`, are replaced.
pub fn replace_data(text: &str, member: &str, data: &str) -> String {
    let member = format!("\"{member}\":");
    let before = text.split_once(&member).map_or("{", |(before, _)| before);
    format!("{before}{member}{data}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_first_decimal_number_but_no_time() {
        let text = "{\"E\":1672515782136,\"at\":\"2025-11-20T21:00:00.123Z\",\"p\":\"67000.10\",\"q\":1.5}";
        assert_eq!(with_absurd_number(text, 250), text.replace("67000.10", "7.9e27"));
        assert_eq!(with_absurd_number(text, 500), text.replace("67000.10", "790000000000000000000000000000"));
        assert_eq!(with_absurd_number("{\"e\":1}", 0), "{\"e\":1}");
    }

    const GAPLESS: CandleFields =
        CandleFields { empty_intervals: true, quote_volume: true, trades: true, volume_column: 5 };

    #[test]
    fn applies_page_faults() {
        let corrupt_page = |body, fault| super::corrupt_page(body, fault, &GAPLESS);
        let bad_row = |body| corrupt_page(body, PageFault::BadRow);
        assert_eq!(bad_row("[[1],[2],[3]]"), "[[1],null,[3]]");
        assert_eq!(
            bad_row("{\"result\":{\"X\":[[1],[2],[3]],\"last\":1}}"),
            "{\"result\":{\"X\":[[1],null,[3]],\"last\":1}}"
        );
        assert_eq!(bad_row("{\"candles\":[{\"start\":1},{\"start\":2},{\"start\":3}]}").matches("null").count(), 1);
        assert_eq!(bad_row("[[1]]"), "[[1]]");
        assert_eq!(bad_row("[[1"), "[[1");
        let rows = "[[60000,1],[120000,1],[180000,1],[240000,1]]";
        assert_eq!(corrupt_page(rows, PageFault::Short), "[[60000,1],[120000,1]]");
        assert_eq!(corrupt_page(rows, PageFault::Empty), "[]");
        assert_eq!(corrupt_page(rows, PageFault::Edges), "[[120000,1],[180000,1]]");
        assert_eq!(corrupt_page(rows, PageFault::Missing), "[[60000,1],[120000,1],[240000,1]]");
        let with_gaps = CandleFields { empty_intervals: false, ..GAPLESS };
        assert_eq!(
            super::corrupt_page(rows, PageFault::Missing, &with_gaps),
            rows,
            "a missing row looks like a minute without trades"
        );
        assert_eq!(corrupt_page(rows, PageFault::Unordered), "[[180000,1],[240000,1],[60000,1],[120000,1]]");
        let rows = "[[\"1672981200000\",1,1,1,1,\"5\"],[1672981200,1,1,1,1,\"6\"],[3]]";
        assert!(corrupt_page(rows, PageFault::OffGrid).starts_with("[[\"1672981214789\",1,1,1,1,\"5\"],[1672981214,"));
        assert!(corrupt_page(rows, PageFault::Other).starts_with("[[\"1673067600000\",1,1,1,1,\"5\"],[1673067600,"));
        assert!(
            corrupt_page(rows, PageFault::Microseconds)
                .starts_with("[[\"1672981200000000\",1,1,1,1,\"5\"],[1672981200000,")
        );
        assert!(corrupt_page(rows, PageFault::ZeroPrice).contains("[1672981200,\"0\",1,1,1,\"6\"]"));
        let repeated = "[[\"1672981200000\",1,1,1,1,\"0\"],[\"1672981200000\",1,1,1,1,\"5\"],";
        assert!(corrupt_page(rows, PageFault::Repeated).starts_with(repeated));
    }

    #[test]
    fn replaces_data_with_candle_row() {
        let ticker = "{\"stream\":\"btcusdt@ticker\",\"data\":{\"e\":\"24hrTicker\"}}";
        let frame: Value = serde_json::from_str(&replace_data(ticker, "data", CANDLE_ROW)).unwrap();
        assert_eq!((&frame["stream"], &frame["data"][1]), (&"btcusdt@ticker".into(), &"16823.24".into()));
        let ticker = "{\"arg\":{\"channel\":\"tickers\"},\"data\":[{}]}";
        let frame = replace_data(ticker, "data", &format!("[{CANDLE_ROW}]"));
        assert!(serde_json::from_str::<Value>(&frame).unwrap()["data"][0].is_array());
    }
}
