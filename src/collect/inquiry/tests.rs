//! Inquiries against an exchange that misbehaves in every way that public reports tell of: whatever it does, no time is
//! claimed to be empty in which there was a trade, and once it behaves, everything becomes known.
//!
//! `ADVERSARY_SEED` and `ADVERSARY_SEEDS` choose the first seed and how many; `ADVERSARY_MINUTES` goes on with more for
//! so long; `ADVERSARY_TRACE` prints each question.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::super::claims::read_answer;
use super::*;
use crate::clock::Clock;
use crate::exchanges::{CandleRows, SkippedRow};
use crate::model::ExchangeId;

/// How long the market is looked at, in minutes, and from when on.
const MINUTES: i64 = 400;
const START: i64 = 28_000_000;

/// For how long the exchange misbehaves.
const MISBEHAVES: i64 = 180;

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

/// An exchange and what is wrong with it.
struct Adversary {
    truth: BTreeSet<i64>,
    rows: usize,
    wide: bool,
    /// There is a candle for each minute, except for those in which the exchange itself stood still.
    gapless: bool,
    newest_first: bool,
    random: StdRng,
    behaves_from: Timestamp,
    /// Meanwhile answers are empty, or without some rows.
    outage: (Timestamp, Timestamp),
    /// Whether answers lack one row in so many then; else they are empty.
    thinned: Option<i64>,
    nulls: BTreeSet<i64>,
    off_grid: (i64, i64),
    lag: Duration,
    /// How often, in a hundred answers, something else goes wrong.
    mischief: u32,
}

/// Rows in the order of the answer, and those that could not be read.
type Reply = (Vec<Candle>, Vec<Option<Timestamp>>);

impl Adversary {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let per_mille = [1_000, 990, 900, 500, 100, 10][random.random_range(0..6)];
        let listed = if random.random_bool(0.3) { random.random_range(0..MINUTES) } else { -5_000 };
        let minutes = START + listed..START + MINUTES + MISBEHAVES * 20;
        let gapless = random.random_bool(0.3);
        let still = (0..3).map(|_| START + random.random_range(-9..MINUTES)).map(|from| from..from + 8);
        let still: BTreeSet<i64> = still.flatten().collect();
        let mut traded =
            |minute: &i64| if gapless { !still.contains(minute) } else { random.random_range(0..1_000) < per_mille };
        let truth = minutes.filter(|minute| traded(minute)).collect();
        let outage = START + MINUTES + random.random_range(0..MISBEHAVES);
        let off_grid = START + random.random_range(-50..MINUTES);
        Self {
            truth,
            rows: random.random_range(4..60),
            wide: random.random_bool(0.3),
            gapless,
            thinned: gapless.then(|| random.random_range(2..6)),
            newest_first: random.random_bool(0.5),
            behaves_from: at(START + MINUTES + MISBEHAVES),
            outage: (at(outage), at(outage) + Duration::from_secs(random.random_range(1..599))),
            nulls: (0..random.random_range(0..20)).map(|_| START + random.random_range(0..MINUTES)).collect(),
            off_grid: (off_grid, off_grid + random.random_range(0..80)),
            lag: Duration::from_secs(random.random_range(0..60)),
            mischief: [0, 10, 40, 90][random.random_range(0..4)],
            random,
        }
    }

    fn answer(&mut self, asked: TimeRange, now: Timestamp) -> Option<Reply> {
        let bad = now < self.behaves_from;
        let shown = if bad { now - self.lag } else { now };
        let row = |minute: &i64| Candle { closed: at(*minute + 1) <= now, ..candle(*minute) };
        let visible = |minute: &&i64| at(**minute) < shown;
        let mut rows: Vec<Candle> =
            self.truth.range(minute_of(asked.start())..minute_of(asked.end())).filter(visible).map(row).collect();
        if self.wide || !self.newest_first {
            rows.truncate(self.rows);
        } else {
            rows.drain(..rows.len().saturating_sub(self.rows));
        }
        if !bad {
            self.order(&mut rows);
            return Some((rows, Vec::new()));
        }
        if self.outage.0 <= now && now < self.outage.1 {
            let Some(each) = self.thinned else { return Some((Vec::new(), Vec::new())) };
            rows.retain(|row| minute_of(row.timestamp) % each != 0);
        }
        let mut skipped = Vec::new();
        let dated = self.random.random_bool(0.5);
        rows.retain(|row| {
            let null = self.nulls.contains(&minute_of(row.timestamp));
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
        self.order(&mut rows);
        if self.random.random_range(0..100) < self.mischief && !self.misbehave(&mut rows, now) {
            return None;
        }
        Some((rows, skipped))
    }

    fn order(&mut self, rows: &mut [Candle]) {
        if self.newest_first {
            rows.reverse();
        }
    }

    /// Says whether there is an answer at all.
    fn misbehave(&mut self, rows: &mut Vec<Candle>, now: Timestamp) -> bool {
        let all = rows.len();
        match self.random.random_range(0..8) {
            0 => return false,
            1 if all > 1 => rows.truncate(self.random.random_range(1..all)),
            2 if all > 1 => drop(rows.drain(..self.random.random_range(1..all))),
            3 if all > 1 => rows.shuffle(&mut self.random),
            // The same time twice, once before its last trades.
            4 if all > 0 => {
                let index = self.random.random_range(0..all);
                let half = Candle { volume: 0.into(), ..rows[index] };
                rows.insert(index + self.random.random_range(0..2), half);
            }
            // Another time than was asked for.
            5 => {
                let newest = self.truth.range(..minute_of(now)).rev().take(self.rows);
                *rows = newest.map(|minute| candle(*minute)).collect();
                rows.reverse();
            }
            // Microseconds for milliseconds.
            6 => {
                for row in rows.iter_mut() {
                    row.timestamp = Timestamp::from_millis(row.timestamp.millis() * 1_000);
                }
            }
            // No price.
            7 if all > 0 => {
                let index = self.random.random_range(0..all);
                rows[index].high = (-1).into();
            }
            _ => {}
        }
        true
    }
}

/// A ledger with its candles, and the clock.
struct Keeper {
    adversary: Adversary,
    series: Series,
    suspects: Suspects,
    known: Coverage,
    candles: BTreeMap<i64, Candle>,
    now: Timestamp,
    questions: usize,
    /// Whether to print each question.
    trace: bool,
}

impl Keeper {
    fn new(seed: u64) -> Self {
        let series =
            Series { exchange: ExchangeId::Binance, symbol: "BTC/USDT".parse().unwrap(), interval: Interval::M1 };
        Self {
            adversary: Adversary::new(seed),
            series,
            suspects: Suspects::default(),
            known: Coverage::default(),
            candles: BTreeMap::new(),
            now: at(START + MINUTES),
            questions: 0,
            trace: std::env::var_os("ADVERSARY_TRACE").is_some(),
        }
    }

    /// Asks for all that is not known of a range, once, and checks each claim.
    fn look(&mut self, range: TimeRange, again: bool) {
        let rows = u32::try_from(self.adversary.rows).unwrap();
        let Adversary { wide, gapless, .. } = self.adversary;
        let rules = PageRules { rows, wide, gapless, reach: Timestamp::EPOCH };
        let mut known = self.known.clone();
        if again {
            known = known.ranges().iter().copied().filter(|known| !known.state.is_lost()).collect();
        }
        for gap in known.unknown(range) {
            let around = Inquiry::around(Interval::M1, rules, gap);
            let (series, suspects) = (self.series.clone(), std::mem::take(&mut self.suspects));
            let mut inquiry = Inquiry::new((&series, &suspects, rules), gap, false, known.within(around));
            while let Some(asked) = inquiry.next(self.now) {
                self.now = self.now + Duration::from_secs(1);
                self.questions += 1;
                let Some((candles, skipped)) = self.adversary.answer(asked.range, self.now) else { break };
                let unread =
                    |timestamp: &Option<Timestamp>| SkippedRow { timestamp: *timestamp, reason: String::new() };
                let skipped_rows = skipped.iter().map(unread).collect();
                let rows = CandleRows { rows: candles.clone(), skipped: skipped_rows, ..CandleRows::default() };
                let rows = rows.into_flagged_page(asked.range);
                let shown = || candles.iter().map(|row| minute_of(row.timestamp) - START).collect::<Vec<_>>();
                let answer = read_answer(Interval::M1, asked.range, &rows, self.now, self.now);
                let blank = answer.blank;
                let learnt = inquiry.learn(asked, answer, self.now);
                if self.trace {
                    let (from, to) = (minute_of(asked.range.start()) - START, minute_of(asked.range.end()) - START);
                    let (asked, now) = (format!("{asked:?}"), minute_of(self.now) - START);
                    let step = asked.split("step: ").nth(1).unwrap_or("");
                    println!(
                        "{now}: {from}..{to} {step} blank {blank}: {:?} {skipped:?}: {:?}",
                        shown(),
                        learnt.claims
                    );
                }
                for claim in &learnt.claims {
                    if claim.state == Knowledge::Empty {
                        let (from, to) = (minute_of(claim.range.start()), minute_of(claim.range.end()));
                        let traded = self.adversary.truth.range(from..to).next();
                        assert_eq!(
                            traded,
                            None,
                            "claimed to be empty: {claim:?} by {:?} {skipped:?} to {asked:?}",
                            shown()
                        );
                    }
                    self.known.add(*claim);
                }
                for candle in learnt.candles {
                    self.candles.insert(minute_of(candle.timestamp), candle);
                }
            }
            self.suspects = suspects;
        }
    }

    fn play(mut self) {
        let range = TimeRange::new(at(START), at(START + MINUTES));
        while self.now < self.adversary.behaves_from {
            self.look(range, false);
            self.now = self.now + Duration::from_secs(self.adversary.random.random_range(30..1_200));
        }
        let (mut rounds, before) = (0, self.questions);
        while !self.known.completes(range) {
            assert!(rounds < 20, "not known in the end: {:?}", self.known.unknown(range));
            self.look(range, true);
            self.now = self.now + Duration::from_mins(11 * (1 + rounds));
            rounds = (rounds + 1).min(30);
        }
        let pages = usize::try_from(MINUTES).unwrap() / self.adversary.rows + 1;
        let questions = self.questions - before;
        assert!(questions <= 60 * pages + 200, "{questions} questions for {pages} pages");
        let told: Vec<_> =
            self.candles.range(START..START + MINUTES).map(|(minute, candle)| (*minute, *candle)).collect();
        let truth: Vec<_> =
            self.adversary.truth.range(START..START + MINUTES).map(|minute| (*minute, candle(*minute))).collect();
        assert_eq!(told, truth);
    }
}

#[test]
fn adversary_never_makes_a_false_claim_and_does_not_hide_what_it_shows_later() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("ADVERSARY_SEED").unwrap_or(1);
    let (seeds, minutes) = (number("ADVERSARY_SEEDS").unwrap_or(2_000), number("ADVERSARY_MINUTES").unwrap_or(0));
    let clock = Clock::system();
    let deadline = clock.elapsed() + Duration::from_mins(minutes);
    let mut seed = first;
    while seed < first + seeds || clock.elapsed() < deadline {
        // Shown only if it fails.
        println!("ADVERSARY_SEED={seed}");
        Keeper::new(seed).play();
        seed += 1;
    }
}
