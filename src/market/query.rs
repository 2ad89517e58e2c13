//! The checked form of a question about candles. Every check of its parameters is here.

use std::time::Duration;

use crate::model::{Interval, TimeRange, Timestamp};

/// How many candles a page has when nothing is said.
pub const HISTORY_LIMIT: u32 = 500;
/// The most candles of a page.
pub const HISTORY_LIMIT_MAX: u32 = 5_000;

/// A parameter that was refused, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidParameter {
    pub parameter: &'static str,
    pub detail: String,
}

/// The parameters of a history as they stand in a query; `None` where absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct CandleFields<'a> {
    pub interval: Option<&'a str>,
    pub start: Option<&'a str>,
    pub end: Option<&'a str>,
    pub limit: Option<&'a str>,
    pub cursor: Option<&'a str>,
    pub fill: Option<&'a str>,
    pub format: Option<&'a str>,
}

/// Which way pages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From `start` on.
    Forward,
    /// From the newest back; each page is ascending all the same.
    Backward,
}

/// What stands for times in which nobody traded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// Nothing.
    None,
    /// A candle without volume at the close of the one before.
    Flat,
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Json,
    /// CCXT's rows: `[[t,o,h,l,c,v],…]`.
    Array,
    Csv,
    Ndjson,
}

/// A checked question about candles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CandleQuery {
    pub interval: Interval,
    /// Open times asked for. Without bounds of its own: from the epoch to a little after now.
    pub range: TimeRange,
    pub direction: Direction,
    /// Candles a page.
    pub limit: u32,
    pub fill: Fill,
    pub format: Format,
    /// Whether the answer streams all of the range without a limit: CSV and NDJSON with both `start` and `end`.
    pub unlimited: bool,
}

/// A checked question about the ledger. Its pages ascend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerQuery {
    pub interval: Interval,
    /// Without bounds of its own: from the epoch to a little after now.
    pub range: TimeRange,
    /// Whether someone said where the range begins; else it begins with what is known first.
    pub begins: bool,
    /// Ranges a page.
    pub limit: u32,
}

impl LedgerQuery {
    /// Checks all parameters at once.
    ///
    /// # Errors
    /// One entry for each parameter that is wrong.
    pub fn new(fields: CandleFields<'_>, now: Timestamp) -> Result<Self, Vec<InvalidParameter>> {
        let CandleQuery { interval, range, limit, .. } = CandleQuery::going(fields, now, Direction::Forward)?;
        Ok(Self { interval, range, begins: fields.start.or(fields.cursor).is_some(), limit })
    }

    /// The cursor of the page after the one that ended at `at`.
    #[must_use]
    pub fn cursor(&self, at: Timestamp) -> String {
        cursor(Direction::Forward, at)
    }
}

impl CandleQuery {
    /// Checks all parameters at once.
    ///
    /// # Errors
    /// One entry for each parameter that is wrong.
    pub fn new(fields: CandleFields<'_>, now: Timestamp) -> Result<Self, Vec<InvalidParameter>> {
        let direction = if fields.start.is_some() { Direction::Forward } else { Direction::Backward };
        Self::going(fields, now, direction)
    }

    fn going(fields: CandleFields<'_>, now: Timestamp, direction: Direction) -> Result<Self, Vec<InvalidParameter>> {
        let mut wrong = Vec::new();
        let mut refuse = |parameter, detail: String| wrong.push(InvalidParameter { parameter, detail });

        let interval = fields.interval.map_or(Ok(Interval::M1), str::parse).unwrap_or_else(|error| {
            refuse("interval", format!("`interval` is none that there is: {error}"));
            Interval::M1
        });
        let mut time = |parameter, text: Option<&str>| {
            text.and_then(|text| {
                Timestamp::parse(text)
                    .map_err(|error| refuse(parameter, format!("`{parameter}` is not a time: {error}")))
                    .ok()
            })
        };
        let start = time("start", fields.start);
        let end = time("end", fields.end);
        if let (Some(start), Some(end)) = (start, end)
            && start >= end
        {
            refuse("start", format!("`start` ({start}) must lie before `end` ({end})"));
        }
        let limit = fields.limit.map_or(Ok(HISTORY_LIMIT), str::parse);
        let limit = limit.ok().filter(|limit| (1..=HISTORY_LIMIT_MAX).contains(limit)).unwrap_or_else(|| {
            refuse("limit", format!("`limit` is a whole number from 1 to {HISTORY_LIMIT_MAX}"));
            HISTORY_LIMIT
        });
        let fill = match fields.fill.unwrap_or("none") {
            "none" => Fill::None,
            "flat" => Fill::Flat,
            _ => {
                refuse("fill", "`fill` is none or flat".to_owned());
                Fill::None
            }
        };
        let format = match fields.format.unwrap_or("json") {
            "json" => Format::Json,
            "array" => Format::Array,
            "csv" => Format::Csv,
            "ndjson" => Format::Ndjson,
            _ => {
                refuse("format", "`format` is json, array, csv or ndjson".to_owned());
                Format::Json
            }
        };

        // The candle that is open now belongs to the newest ones.
        let horizon = interval.next(now + Duration::from_millis(1));
        let mut range = TimeRange::new(start.unwrap_or(Timestamp::EPOCH), end.unwrap_or(horizon));
        match fields.cursor.map(|text| parse_cursor(text, direction)) {
            None => {}
            Some(Some(at)) if direction == Direction::Forward => range = TimeRange::new(at, range.end()),
            Some(Some(at)) => range = TimeRange::new(range.start(), at),
            Some(None) => refuse(
                "cursor",
                "take `next_cursor` from the previous page and keep the other parameters as they were".to_owned(),
            ),
        }
        let unlimited = matches!(format, Format::Csv | Format::Ndjson)
            && fields.start.is_some()
            && fields.end.is_some()
            && fields.limit.is_none();
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Self { interval, range, direction, limit, fill, format, unlimited })
    }

    /// The query of the page that `cursor` points to.
    #[must_use]
    pub fn after(&self, cursor: &str) -> Option<Self> {
        let at = parse_cursor(cursor, self.direction)?;
        let range = match self.direction {
            Direction::Forward => TimeRange::new(at, self.range.end()),
            Direction::Backward => TimeRange::new(self.range.start(), at),
        };
        Some(Self { range, ..*self })
    }

    /// The cursor of the page after the one that ended (forward) or began (backward) at `at`.
    #[must_use]
    pub fn cursor(&self, at: Timestamp) -> String {
        cursor(self.direction, at)
    }
}

fn cursor(direction: Direction, at: Timestamp) -> String {
    let way = match direction {
        Direction::Forward => 'f',
        Direction::Backward => 'b',
    };
    format!("{way}{}", at.millis())
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

    fn names(fields: CandleFields<'_>) -> Vec<&'static str> {
        CandleQuery::new(fields, NOW)
            .map_or_else(|wrong| wrong.iter().map(|one| one.parameter).collect(), |_| Vec::new())
    }

    #[test]
    fn nothing_said_means_the_newest_500_minutes() {
        let query = CandleQuery::new(CandleFields::default(), NOW).unwrap();
        assert_eq!((query.interval, query.limit, query.direction), (Interval::M1, 500, Direction::Backward));
        assert_eq!(query.range.end(), Timestamp::from_millis(1_763_672_460_000));
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let fields = CandleFields {
            interval: Some("7m"),
            start: Some("2025-11-20T00:00:00Z"),
            end: Some("2025-11-19T00:00:00Z"),
            limit: Some("0"),
            cursor: Some("b17"),
            fill: Some("linear"),
            format: Some("xml"),
        };
        assert_eq!(names(fields), ["interval", "start", "limit", "fill", "format", "cursor"]);
        for limit in ["1e9", "-1", "5001", "", "99999999999999999999"] {
            assert_eq!(names(CandleFields { limit: Some(limit), ..Default::default() }), ["limit"], "{limit}");
        }
        assert_eq!(names(CandleFields { start: Some("yesterday"), ..Default::default() }), ["start"]);
    }

    #[test]
    fn a_cursor_moves_the_near_end() {
        let forward = CandleFields { start: Some("0"), ..Default::default() };
        let query = CandleQuery::new(forward, NOW).unwrap();
        let at = Timestamp::from_millis(60_000);
        let next = CandleQuery::new(CandleFields { cursor: Some(&query.cursor(at)), ..forward }, NOW).unwrap();
        assert_eq!(next.range.start(), at);
        let query = CandleQuery::new(CandleFields::default(), NOW).unwrap();
        let cursor = query.cursor(at);
        let next = CandleQuery::new(CandleFields { cursor: Some(&cursor), ..Default::default() }, NOW).unwrap();
        assert_eq!((next.range.start(), next.range.end()), (Timestamp::EPOCH, at));
    }
}
