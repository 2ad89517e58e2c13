//! Tests [`PageFetch`] against an exchange that misbehaves in every publicly reported way. No range with a trade may be
//! claimed to be empty, and once the exchange behaves correctly, everything must become known.
//!
//! `ADVERSARY_SEED` is the first seed and `ADVERSARY_SEEDS` the number of seeds. `ADVERSARY_MINUTES` continues with
//! further seeds for this time. `ADVERSARY_TRACE` prints each request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::super::claims::evaluate_page;
use super::*;
use crate::clock::Clock;
use crate::exchanges::{CandleRows, SkippedRow};
use crate::model::ExchangeId;

/// Length and start of the tested range, in minutes.
const MINUTES: i64 = 400;
const START: i64 = 28_000_000;

/// How long the exchange misbehaves.
const MISBEHAVIOUR_MINUTES: i64 = 180;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_secs(60 * minute)
}

fn minute_of(at: Timestamp) -> i64 {
    at.millis().div_euclid(60_000)
}

fn candle(minute: i64) -> Candle {
    let price = (minute % 97 + 1).into();
    Candle {
        timestamp: at(minute),
        open: price,
        high: price,
        low: price,
        close: price,
        volume: (minute % 13 + 1).into(),
        quote_volume: None,
        trades: None,
        closed: true,
        revision: 0,
    }
}

/// A simulated exchange and its faults.
struct Adversary {
    /// Minutes with a candle.
    truth: BTreeSet<i64>,
    page_rows: usize,
    accepts_long_ranges: bool,
    /// There is a candle for each minute, except while the exchange was halted.
    gapless: bool,
    newest_first: bool,
    random: StdRng,
    correct_from: Timestamp,
    /// During this time, rows are missing from pages.
    outage: (Timestamp, Timestamp),
    /// During the outage, each nth row is missing; `None`: all rows.
    drop_every: Option<i64>,
    null_rows: BTreeSet<i64>,
    off_grid: (i64, i64),
    lag: Duration,
    /// Percentage of pages with another fault.
    error_percent: u32,
}

/// Rows in page order, and the times of unreadable rows.
type Page = (Vec<Candle>, Vec<Option<Timestamp>>);

impl Adversary {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let per_mille = [1_000, 990, 900, 500, 100, 10][random.random_range(0..6)];
        let listed = if random.random_bool(0.3) { random.random_range(0..MINUTES) } else { -5_000 };
        let minutes = START + listed..START + MINUTES + MISBEHAVIOUR_MINUTES * 20;
        let gapless = random.random_bool(0.3);
        let halted = (0..3).map(|_| START + random.random_range(-9..MINUTES)).map(|from| from..from + 8);
        let halted: BTreeSet<i64> = halted.flatten().collect();
        let mut traded =
            |minute: &i64| if gapless { !halted.contains(minute) } else { random.random_range(0..1_000) < per_mille };
        let truth = minutes.filter(|minute| traded(minute)).collect();
        let outage = START + MINUTES + random.random_range(0..MISBEHAVIOUR_MINUTES);
        let off_grid = START + random.random_range(-50..MINUTES);
        Self {
            truth,
            page_rows: random.random_range(4..60),
            accepts_long_ranges: random.random_bool(0.3),
            gapless,
            drop_every: gapless.then(|| random.random_range(2..6)),
            newest_first: random.random_bool(0.5),
            correct_from: at(START + MINUTES + MISBEHAVIOUR_MINUTES),
            outage: (at(outage), at(outage) + Duration::from_secs(random.random_range(1..599))),
            null_rows: (0..random.random_range(0..20)).map(|_| START + random.random_range(0..MINUTES)).collect(),
            off_grid: (off_grid, off_grid + random.random_range(0..80)),
            lag: Duration::from_secs(random.random_range(0..60)),
            error_percent: [0, 10, 40, 90][random.random_range(0..4)],
            random,
        }
    }

    fn respond(&mut self, requested: TimeRange, now: Timestamp) -> Option<Page> {
        let is_faulty = now < self.correct_from;
        let visible_before = if is_faulty { now - self.lag } else { now };
        let row = |minute: &i64| Candle { closed: at(*minute + 1) <= now, ..candle(*minute) };
        let visible = |minute: &&i64| at(**minute) < visible_before;
        let mut rows: Vec<Candle> = self
            .truth
            .range(minute_of(requested.start())..minute_of(requested.end()))
            .filter(visible)
            .map(row)
            .collect();
        if self.accepts_long_ranges || !self.newest_first {
            rows.truncate(self.page_rows);
        } else {
            rows.drain(..rows.len().saturating_sub(self.page_rows));
        }
        if !is_faulty {
            self.sort_page(&mut rows);
            return Some((rows, Vec::new()));
        }
        if self.outage.0 <= now && now < self.outage.1 {
            let Some(each) = self.drop_every else { return Some((Vec::new(), Vec::new())) };
            rows.retain(|row| minute_of(row.timestamp) % each != 0);
        }
        let mut skipped = Vec::new();
        let dated = self.random.random_bool(0.5);
        rows.retain(|row| {
            let null = self.null_rows.contains(&minute_of(row.timestamp));
            if null {
                skipped.push(dated.then_some(row.timestamp));
            }
            !null
        });
        for row in &mut rows {
            if (self.off_grid.0..self.off_grid.1).contains(&minute_of(row.timestamp)) {
                row.timestamp = row.timestamp + Duration::from_millis(14_789);
            }
        }
        self.sort_page(&mut rows);
        if self.random.random_range(0..100) < self.error_percent && !self.misbehave(&mut rows, now) {
            return None;
        }
        Some((rows, skipped))
    }

    fn sort_page(&mut self, rows: &mut [Candle]) {
        if self.newest_first {
            rows.reverse();
        }
    }

    /// Applies a random fault. Returns whether there is a response.
    fn misbehave(&mut self, rows: &mut Vec<Candle>, now: Timestamp) -> bool {
        let all = rows.len();
        match self.random.random_range(0..8) {
            0 => return false,
            1 if all > 1 => rows.truncate(self.random.random_range(1..all)),
            2 if all > 1 => drop(rows.drain(..self.random.random_range(1..all))),
            3 if all > 1 => rows.shuffle(&mut self.random),
            // The same candle twice, once without its last trades.
            4 if all > 0 => {
                let index = self.random.random_range(0..all);
                let half = Candle { volume: 0.into(), ..rows[index] };
                rows.insert(index + self.random.random_range(0..2), half);
            }
            // A different range than requested.
            5 => {
                let newest = self.truth.range(..minute_of(now)).rev().take(self.page_rows);
                *rows = newest.map(|minute| candle(*minute)).collect();
                rows.reverse();
            }
            // Microseconds instead of milliseconds.
            6 => {
                for row in rows.iter_mut() {
                    row.timestamp = Timestamp::from_millis(row.timestamp.millis() * 1_000);
                }
            }
            // An invalid price.
            7 if all > 0 => {
                let index = self.random.random_range(0..all);
                rows[index].high = (-1).into();
            }
            _ => {}
        }
        true
    }
}

/// A coverage ledger with its candles, and the clock.
struct Simulation {
    adversary: Adversary,
    series: Series,
    suspect_ranges: SuspectRanges,
    known: Coverage,
    candles: BTreeMap<i64, Candle>,
    now: Timestamp,
    requests: usize,
    /// Whether to print each request.
    trace: bool,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let series =
            Series { exchange: ExchangeId::BINANCE, symbol: "BTC/USDT".parse().unwrap(), interval: Interval::M1 };
        Self {
            adversary: Adversary::new(seed),
            series,
            suspect_ranges: SuspectRanges::default(),
            known: Coverage::default(),
            candles: BTreeMap::new(),
            now: at(START + MINUTES),
            requests: 0,
            trace: std::env::var_os("ADVERSARY_TRACE").is_some(),
        }
    }

    /// Fetches the unknown parts of a range once (if `recheck`, also the unobtainable ones), and checks each claim.
    fn fetch_unknown(&mut self, range: TimeRange, recheck: bool) {
        let max_rows = u32::try_from(self.adversary.page_rows).unwrap();
        let Adversary { accepts_long_ranges, gapless, .. } = self.adversary;
        let rules = PageRules { max_rows, accepts_long_ranges, gapless, available_from: Timestamp::EPOCH };
        let mut known = self.known.clone();
        if recheck {
            known = known.ranges().iter().copied().filter(|known| !known.state.is_unobtainable()).collect();
        }
        for gap in known.unknown_ranges(range) {
            let context_range = PageFetch::context_range(Interval::M1, rules, gap);
            let (series, suspect_ranges) = (self.series.clone(), std::mem::take(&mut self.suspect_ranges));
            let mut page_fetch =
                PageFetch::new((&series, &suspect_ranges, rules), gap, false, known.within(context_range));
            while let Some(request) = page_fetch.next_request(self.now) {
                self.now = self.now + Duration::from_secs(1);
                self.requests += 1;
                let Some((candles, skipped)) = self.adversary.respond(request.range, self.now) else { break };
                let unreadable =
                    |timestamp: &Option<Timestamp>| SkippedRow { timestamp: *timestamp, reason: String::new() };
                let skipped_rows = skipped.iter().map(unreadable).collect();
                let rows = CandleRows { rows: candles.clone(), skipped: skipped_rows, ..CandleRows::default() };
                let rows = rows.into_flagged_page(request.range);
                let returned_minutes =
                    || candles.iter().map(|row| minute_of(row.timestamp) - START).collect::<Vec<_>>();
                let page = evaluate_page(Interval::M1, request.range, &rows, self.now, self.now);
                let has_no_rows = page.has_no_rows;
                let outcome = page_fetch.apply_page(request, page, self.now);
                if self.trace {
                    let (from, to) = (minute_of(request.range.start()) - START, minute_of(request.range.end()) - START);
                    let (request, now) = (format!("{request:?}"), minute_of(self.now) - START);
                    let step = request.split("step: ").nth(1).unwrap_or("");
                    println!(
                        "{now}: {from}..{to} {step} no rows {has_no_rows}: {:?} {skipped:?}: {:?}",
                        returned_minutes(),
                        outcome.claims
                    );
                }
                for claim in &outcome.claims {
                    if claim.state == CoverageState::Empty {
                        let (from, to) = (minute_of(claim.range.start()), minute_of(claim.range.end()));
                        let traded = self.adversary.truth.range(from..to).next();
                        assert_eq!(
                            traded,
                            None,
                            "false empty claim {claim:?} from rows {:?}, skipped {skipped:?}, request {request:?}",
                            returned_minutes()
                        );
                    }
                    self.known.add(*claim);
                }
                for candle in outcome.candles {
                    self.candles.insert(minute_of(candle.timestamp), candle);
                }
            }
            self.suspect_ranges = suspect_ranges;
        }
    }

    fn run(mut self) {
        let range = TimeRange::new(at(START), at(START + MINUTES));
        while self.now < self.adversary.correct_from {
            self.fetch_unknown(range, false);
            self.now = self.now + Duration::from_secs(self.adversary.random.random_range(30..1_200));
        }
        let (mut rounds, before) = (0, self.requests);
        while !self.known.is_complete(range) {
            assert!(rounds < 20, "still unknown: {:?}", self.known.unknown_ranges(range));
            self.fetch_unknown(range, true);
            self.now = self.now + Duration::from_mins(11 * (1 + rounds));
            rounds = (rounds + 1).min(30);
        }
        let pages = usize::try_from(MINUTES).unwrap() / self.adversary.page_rows + 1;
        let requests = self.requests - before;
        assert!(requests <= 60 * pages + 200, "{requests} requests for {pages} pages");
        let fetched: Vec<_> =
            self.candles.range(START..START + MINUTES).map(|(minute, candle)| (*minute, *candle)).collect();
        let truth: Vec<_> =
            self.adversary.truth.range(START..START + MINUTES).map(|minute| (*minute, candle(*minute))).collect();
        assert_eq!(fetched, truth);
    }
}

#[test]
fn adversary_causes_no_false_empty_claim_and_no_permanent_gap() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("ADVERSARY_SEED").unwrap_or(1);
    let (seeds, minutes) = (number("ADVERSARY_SEEDS").unwrap_or(2_000), number("ADVERSARY_MINUTES").unwrap_or(0));
    let clock = Clock::system();
    let deadline = clock.elapsed() + Duration::from_mins(minutes);
    let mut seed = first;
    while seed < first + seeds || clock.elapsed() < deadline {
        // Shown only if the test fails.
        println!("ADVERSARY_SEED={seed}");
        Simulation::new(seed).run();
        seed += 1;
    }
}
