//! The coverage report of an export: as JSON, and as a message for users.

use crate::cli::progress::count;
use crate::model::{Coverage, Series, TimeRange, Timestamp, wire};
use crate::store::StoredPage;

/// Maximum number of gaps listed in the message.
const MAX_LISTED_GAPS: usize = 3;

/// What was exported, and the coverage of its range.
#[derive(Debug)]
pub(super) struct Report {
    pub series: Series,
    /// From the first open time to the end of the last closed candle.
    pub range: TimeRange,
    pub candles: u64,
    /// Open time of the last candle.
    pub last: Option<Timestamp>,
    pub created_at: Timestamp,
    coverage: Coverage,
}

/// A missing part of the range.
struct Gap {
    range: TimeRange,
    /// Whether the exchange does not have it. Otherwise it has not been fetched.
    unavailable: bool,
}

impl Report {
    pub fn new(series: Series, range: TimeRange, created_at: Timestamp) -> Self {
        Self { series, range, candles: 0, last: None, created_at, coverage: Coverage::default() }
    }

    /// Adds a page.
    pub fn add(&mut self, page: &StoredPage) {
        self.candles += page.candles.len() as u64;
        self.last = page.candles.last().map(|candle| candle.timestamp).or(self.last);
        page.coverage.ranges().iter().for_each(|claim| self.coverage.add(*claim));
    }

    fn gaps(&self) -> Vec<Gap> {
        let unknown = self.coverage.unknown_ranges(self.range).into_iter();
        let unknown = unknown.map(|range| Gap { range, unavailable: false });
        let unavailable = self.coverage.ranges().iter().filter(|claim| claim.state.is_unobtainable());
        let unavailable = unavailable.map(|claim| Gap { range: claim.range, unavailable: true });
        let mut gaps: Vec<Gap> = unknown.chain(unavailable).collect();
        gaps.sort_by_key(|gap| gap.range.start());
        gaps
    }

    /// `"complete":…,"ranges":[…],"gaps":[…]`
    pub fn coverage_fields(&self, out: &mut Vec<u8>) {
        let gaps = self.gaps();
        out.extend_from_slice(if gaps.is_empty() { b"\"complete\":true" } else { b"\"complete\":false" });
        out.extend_from_slice(b",\"ranges\":[");
        for (index, claim) in self.coverage.ranges().iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            wire::covered_range(out, claim);
        }
        out.extend_from_slice(b"],\"gaps\":[");
        for (index, gap) in gaps.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
            wire::range_fields(out, gap.range.start(), gap.range.end());
            out.extend_from_slice(b",\"reason\":\"");
            out.extend_from_slice(if gap.unavailable { b"unavailable" } else { b"unknown" });
            out.extend_from_slice(b"\"}");
        }
        out.push(b']');
    }

    /// The content of the coverage file: market, range, time of the export and coverage.
    pub fn file_json(&self) -> Vec<u8> {
        let mut out = vec![b'{'];
        wire::market_fields(&mut out, self.series.exchange, &self.series.symbol);
        out.extend_from_slice(b",\"interval\":");
        wire::string(&mut out, self.series.interval.as_str());
        out.push(b',');
        wire::range_fields(&mut out, self.range.start(), self.range.end());
        out.extend_from_slice(b",\"candles\":");
        wire::integer(&mut out, self.candles);
        out.extend_from_slice(b",\"created_at\":");
        wire::integer(&mut out, self.created_at.millis());
        out.extend_from_slice(b",\"version\":");
        wire::string(&mut out, env!("CARGO_PKG_VERSION"));
        out.push(b',');
        self.coverage_fields(&mut out);
        out.extend_from_slice(b"}\n");
        out
    }

    /// The final message for users.
    pub fn summary(&self) -> String {
        let Series { exchange, symbol, interval } = &self.series;
        let (start, end) = (format_time(self.range.start()), format_time(self.range.end()));
        let candles = count(self.candles);
        let summary = format!("candlewick: {candles} candles of {exchange} {symbol} {interval} from {start} to {end}");
        let gaps = self.gaps();
        if gaps.is_empty() {
            return format!("{summary}, complete");
        }
        let describe = |gap: &Gap| {
            let reason = if gap.unavailable { " (not available from the exchange)" } else { "" };
            format!("{} to {}{reason}", format_time(gap.range.start()), format_time(gap.range.end()))
        };
        let mut listed: Vec<String> = gaps.iter().take(MAX_LISTED_GAPS).map(describe).collect();
        if gaps.len() > MAX_LISTED_GAPS {
            listed.push(format!("and {} more", count((gaps.len() - MAX_LISTED_GAPS) as u64)));
        }
        let noun = if gaps.len() == 1 { "gap" } else { "gaps" };
        let summary = format!("{summary}, with {} {noun}: {}", count(gaps.len() as u64), listed.join(", "));
        let mut unknown = gaps.iter().filter(|gap| !gap.unavailable).map(|gap| gap.range);
        let Some(first) = unknown.next() else { return summary };
        let range = TimeRange::new(first.start(), unknown.next_back().unwrap_or(first).end());
        format!("{summary}\ncandlewick: to fetch the missing candles: {}", backfill_command(&self.series, range))
    }
}

/// The command that fetches a range into the store.
pub(super) fn backfill_command(series: &Series, range: TimeRange) -> String {
    let Series { exchange, symbol, interval } = series;
    let mut command = format!("candlewick backfill --exchange {exchange} --symbol {symbol} --interval {interval}");
    if range.start() > Timestamp::EPOCH {
        command.push_str(" --since ");
        command.push_str(&format_time(range.start()));
    }
    if range.end() < Timestamp::MAX {
        command.push_str(" --until ");
        command.push_str(&format_time(range.end()));
    }
    command
}

/// A time in the shortest form that the command line accepts.
pub(super) fn format_time(at: Timestamp) -> String {
    let text = at.to_string().replace(".000Z", "Z");
    text.strip_suffix("T00:00:00Z").map_or_else(|| text.clone(), str::to_owned)
}
