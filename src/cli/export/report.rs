//! What an export says of itself: the coverage of its range, for machines and for people.

use crate::cli::progress::count;
use crate::model::{Coverage, Series, TimeRange, Timestamp, wire};
use crate::store::StoredPage;

/// How many gaps the sentence names.
const NAMED: usize = 3;

/// What was written, and what is known of its range.
#[derive(Debug)]
pub(super) struct Report {
    pub series: Series,
    /// From the first open time to the end of the last closed candle.
    pub range: TimeRange,
    pub candles: u64,
    /// The open time of the last candle.
    pub last: Option<Timestamp>,
    pub created_at: Timestamp,
    coverage: Coverage,
}

/// A part of the range that is missing.
struct Gap {
    range: TimeRange,
    /// The exchange cannot give it; else nobody has asked yet.
    unavailable: bool,
}

impl Report {
    pub fn new(series: Series, range: TimeRange, created_at: Timestamp) -> Self {
        Self { series, range, candles: 0, last: None, created_at, coverage: Coverage::default() }
    }

    /// One more page was read.
    pub fn add(&mut self, page: &StoredPage) {
        self.candles += page.candles.len() as u64;
        self.last = page.candles.last().map(|candle| candle.timestamp).or(self.last);
        page.coverage.ranges().iter().for_each(|known| self.coverage.add(*known));
    }

    fn gaps(&self) -> Vec<Gap> {
        let unknown = self.coverage.unknown(self.range).into_iter().map(|range| Gap { range, unavailable: false });
        let refused = self.coverage.ranges().iter().filter(|known| known.state.is_lost());
        let refused = refused.map(|known| Gap { range: known.range, unavailable: true });
        let mut gaps: Vec<Gap> = unknown.chain(refused).collect();
        gaps.sort_by_key(|gap| gap.range.start());
        gaps
    }

    /// `"complete":…,"ranges":[…],"gaps":[…]`
    pub fn coverage_fields(&self, out: &mut Vec<u8>) {
        let gaps = self.gaps();
        out.extend_from_slice(if gaps.is_empty() { b"\"complete\":true" } else { b"\"complete\":false" });
        out.extend_from_slice(b",\"ranges\":[");
        for (index, known) in self.coverage.ranges().iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            wire::covered_range(out, known);
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

    /// What stands beside a file that cannot carry it: whose candles these are, when they were read, and the coverage.
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

    /// The last word, for people.
    pub fn sentence(&self) -> String {
        let Series { exchange, symbol, interval } = &self.series;
        let (start, end) = (short(self.range.start()), short(self.range.end()));
        let candles = count(self.candles);
        let begun = format!("candlewick: {candles} candles of {exchange} {symbol} {interval} from {start} to {end}");
        let gaps = self.gaps();
        if gaps.is_empty() {
            return format!("{begun}, complete");
        }
        let name = |gap: &Gap| {
            let why = if gap.unavailable { " (the exchange does not give it)" } else { "" };
            format!("{} to {}{why}", short(gap.range.start()), short(gap.range.end()))
        };
        let mut named: Vec<String> = gaps.iter().take(NAMED).map(name).collect();
        if gaps.len() > NAMED {
            named.push(format!("and {} more", count((gaps.len() - NAMED) as u64)));
        }
        let gaps_word = if gaps.len() == 1 { "gap" } else { "gaps" };
        let sentence = format!("{begun}, with {} {gaps_word}: {}", count(gaps.len() as u64), named.join(", "));
        let mut unknown = gaps.iter().filter(|gap| !gap.unavailable).map(|gap| gap.range);
        let Some(first) = unknown.next() else { return sentence };
        let whole = TimeRange::new(first.start(), unknown.next_back().unwrap_or(first).end());
        format!("{sentence}\ncandlewick: to fetch what is missing: {}", backfill(&self.series, whole))
    }
}

/// The command that fetches a range.
pub(super) fn backfill(series: &Series, range: TimeRange) -> String {
    let Series { exchange, symbol, interval } = series;
    let mut command = format!("candlewick backfill --exchange {exchange} --symbol {symbol} --interval {interval}");
    if range.start() > Timestamp::EPOCH {
        command.push_str(" --since ");
        command.push_str(&short(range.start()));
    }
    if range.end() < Timestamp::MAX {
        command.push_str(" --until ");
        command.push_str(&short(range.end()));
    }
    command
}

/// A time as a person would type it.
pub(super) fn short(at: Timestamp) -> String {
    let text = at.to_string().replace(".000Z", "Z");
    text.strip_suffix("T00:00:00Z").map_or_else(|| text.clone(), str::to_owned)
}
