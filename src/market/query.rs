//! Parsing and validation of candle and coverage queries.

use std::time::Duration;

use crate::model::{Interval, TimeRange, Timestamp};

/// Default number of candles per page.
pub const HISTORY_LIMIT: u32 = 500;
/// Maximum number of candles per page.
pub const HISTORY_LIMIT_MAX: u32 = 5_000;

/// A rejected parameter. The detail says which values are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidParameter {
    pub parameter: &'static str,
    pub detail: String,
}

/// Unparsed parameters of a history query; `None` where absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct CandleParams<'a> {
    pub interval: Option<&'a str>,
    pub start: Option<&'a str>,
    pub end: Option<&'a str>,
    pub limit: Option<&'a str>,
    pub cursor: Option<&'a str>,
    pub fill: Option<&'a str>,
    pub format: Option<&'a str>,
}

/// Order of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From `start` to newer candles.
    Forward,
    /// From the newest candle to older ones. The candles of a page still ascend.
    Backward,
}

/// Representation of time without trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// No candle.
    None,
    /// A candle without volume at the close of the previous candle.
    Flat,
}

/// Format of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Json,
    /// CCXT rows: `[[t,o,h,l,c,v],…]`.
    Array,
    Csv,
    Ndjson,
}

/// A validated candle query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CandleQuery {
    pub interval: Interval,
    /// Requested open times. Default: from the epoch to the end of the currently open candle.
    pub range: TimeRange,
    pub direction: Direction,
    /// Maximum number of candles per page.
    pub limit: u32,
    pub fill: Fill,
    pub format: Format,
    /// Whether the response streams the whole range without a limit: CSV and NDJSON with `start` and `end` and without
    /// `limit`.
    pub unlimited: bool,
}

/// A validated coverage query. Pages ascend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoverageQuery {
    pub interval: Interval,
    /// Default: from the epoch to the end of the currently open candle.
    pub range: TimeRange,
    /// Whether the request has a start or a cursor; otherwise the page starts at the first known range.
    pub has_start: bool,
    /// Maximum number of ranges per page.
    pub limit: u32,
}

impl CoverageQuery {
    /// Validates all parameters.
    ///
    /// # Errors
    /// One entry for each invalid parameter.
    pub fn new(params: CandleParams<'_>, now: Timestamp) -> Result<Self, Vec<InvalidParameter>> {
        let CandleQuery { interval, range, limit, .. } = CandleQuery::parse(params, now, Direction::Forward)?;
        Ok(Self { interval, range, has_start: params.start.or(params.cursor).is_some(), limit })
    }

    /// The cursor of the page that follows a page ending at `at`.
    #[must_use]
    pub fn cursor(&self, at: Timestamp) -> String {
        cursor(Direction::Forward, at)
    }
}

impl CandleQuery {
    /// Validates all parameters.
    ///
    /// # Errors
    /// One entry for each invalid parameter.
    pub fn new(params: CandleParams<'_>, now: Timestamp) -> Result<Self, Vec<InvalidParameter>> {
        let direction = if params.start.is_some() { Direction::Forward } else { Direction::Backward };
        Self::parse(params, now, direction)
    }

    fn parse(params: CandleParams<'_>, now: Timestamp, direction: Direction) -> Result<Self, Vec<InvalidParameter>> {
        let mut invalid = Vec::new();
        let mut reject = |parameter, detail: String| invalid.push(InvalidParameter { parameter, detail });

        let interval = params.interval.map_or(Ok(Interval::M1), str::parse).unwrap_or_else(|error| {
            reject("interval", format!("`interval` is not a known interval: {error}"));
            Interval::M1
        });
        let mut time = |parameter, text: Option<&str>| {
            text.and_then(|text| {
                Timestamp::parse(text)
                    .map_err(|error| reject(parameter, format!("`{parameter}` is not a time: {error}")))
                    .ok()
            })
        };
        let start = time("start", params.start);
        let end = time("end", params.end);
        if let (Some(start), Some(end)) = (start, end)
            && start >= end
        {
            reject("start", format!("`start` ({start}) must be before `end` ({end})"));
        }
        let limit = parse_limit(params.limit).unwrap_or_else(|| {
            reject("limit", format!("`limit` is a whole number from 1 to {HISTORY_LIMIT_MAX}"));
            HISTORY_LIMIT
        });
        let fill = parse_fill(params.fill).unwrap_or_else(|| {
            reject("fill", "`fill` must be none or flat".to_owned());
            Fill::None
        });
        let format = parse_format(params.format).unwrap_or_else(|| {
            reject("format", "`format` must be json, array, csv or ndjson".to_owned());
            Format::Json
        });

        // Includes the candle that is open now.
        let horizon = interval.next(now + Duration::from_millis(1));
        let whole = TimeRange::new(start.unwrap_or(Timestamp::EPOCH), end.unwrap_or(horizon));
        let remaining = params.cursor.map_or(Some(whole), |cursor| remaining_range(whole, cursor, direction));
        let range = remaining.unwrap_or_else(|| {
            let detail = "use `next_cursor` of the previous page and do not change the other parameters";
            reject("cursor", detail.to_owned());
            whole
        });
        let unlimited = matches!(format, Format::Csv | Format::Ndjson)
            && params.start.is_some()
            && params.end.is_some()
            && params.limit.is_none();
        if !invalid.is_empty() {
            return Err(invalid);
        }
        Ok(Self { interval, range, direction, limit, fill, format, unlimited })
    }

    /// The query of the page that `cursor` identifies; `None` if the cursor is invalid.
    #[must_use]
    pub fn after(&self, cursor: &str) -> Option<Self> {
        let range = remaining_range(self.range, cursor, self.direction)?;
        Some(Self { range, ..*self })
    }

    /// The cursor of the page that follows a page ending (forward) or starting (backward) at `at`.
    #[must_use]
    pub fn cursor(&self, at: Timestamp) -> String {
        cursor(self.direction, at)
    }
}

fn parse_limit(text: Option<&str>) -> Option<u32> {
    let limit = text.map_or(Ok(HISTORY_LIMIT), str::parse).ok()?;
    (1..=HISTORY_LIMIT_MAX).contains(&limit).then_some(limit)
}

fn parse_fill(text: Option<&str>) -> Option<Fill> {
    match text.unwrap_or("none") {
        "none" => Some(Fill::None),
        "flat" => Some(Fill::Flat),
        _ => None,
    }
}

fn parse_format(text: Option<&str>) -> Option<Format> {
    match text.unwrap_or("json") {
        "json" => Some(Format::Json),
        "array" => Some(Format::Array),
        "csv" => Some(Format::Csv),
        "ndjson" => Some(Format::Ndjson),
        _ => None,
    }
}

/// The part of a range from a cursor on, in the direction of the pages. `None` if the cursor is invalid.
fn remaining_range(range: TimeRange, cursor: &str, direction: Direction) -> Option<TimeRange> {
    let at = parse_cursor(cursor, direction)?;
    Some(match direction {
        Direction::Forward => TimeRange::new(at, range.end()),
        Direction::Backward => TimeRange::new(range.start(), at),
    })
}

fn cursor(direction: Direction, at: Timestamp) -> String {
    let prefix = match direction {
        Direction::Forward => 'f',
        Direction::Backward => 'b',
    };
    format!("{prefix}{}", at.millis())
}

fn parse_cursor(text: &str, direction: Direction) -> Option<Timestamp> {
    let millis = match direction {
        Direction::Forward => text.strip_prefix('f')?,
        Direction::Backward => text.strip_prefix('b')?,
    };
    millis.parse::<i64>().ok().and_then(|_| Timestamp::parse(millis).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_763_672_430_000);

    fn names(params: CandleParams<'_>) -> Vec<&'static str> {
        CandleQuery::new(params, NOW)
            .map_or_else(|invalid| invalid.iter().map(|one| one.parameter).collect(), |_| Vec::new())
    }

    #[test]
    fn defaults_to_newest_500_minutes() {
        let query = CandleQuery::new(CandleParams::default(), NOW).unwrap();
        assert_eq!((query.interval, query.limit, query.direction), (Interval::M1, 500, Direction::Backward));
        assert_eq!(query.range.end(), Timestamp::from_millis(1_763_672_460_000));
    }

    #[test]
    fn reports_every_invalid_parameter() {
        let params = CandleParams {
            interval: Some("7m"),
            start: Some("2025-11-20T00:00:00Z"),
            end: Some("2025-11-19T00:00:00Z"),
            limit: Some("0"),
            cursor: Some("b17"),
            fill: Some("linear"),
            format: Some("xml"),
        };
        assert_eq!(names(params), ["interval", "start", "limit", "fill", "format", "cursor"]);
        for limit in ["1e9", "-1", "5001", "", "99999999999999999999"] {
            assert_eq!(names(CandleParams { limit: Some(limit), ..Default::default() }), ["limit"], "{limit}");
        }
        assert_eq!(names(CandleParams { start: Some("yesterday"), ..Default::default() }), ["start"]);
    }

    #[test]
    fn cursor_sets_start_or_end_of_range() {
        let forward = CandleParams { start: Some("0"), ..Default::default() };
        let query = CandleQuery::new(forward, NOW).unwrap();
        let at = Timestamp::from_millis(60_000);
        let next = CandleQuery::new(CandleParams { cursor: Some(&query.cursor(at)), ..forward }, NOW).unwrap();
        assert_eq!(next.range.start(), at);
        let query = CandleQuery::new(CandleParams::default(), NOW).unwrap();
        let cursor = query.cursor(at);
        let next = CandleQuery::new(CandleParams { cursor: Some(&cursor), ..Default::default() }, NOW).unwrap();
        assert_eq!((next.range.start(), next.range.end()), (Timestamp::EPOCH, at));
    }
}
