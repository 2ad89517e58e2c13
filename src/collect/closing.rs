//! When a 1m candle of a stream is closed, and what the stream can vouch for. Pure.
//!
//! A candle is closed by the exchange's flag; where the exchange has none, when the next candle opens or 2 s after its
//! end. A minute is *observed* only if the stream was whole from its open to its close, and, where the exchange does not
//! flag its candles, if its trades add up to its volume: what was interrupted or left out is never spliced, but
//! reported missing, to be fetched by REST.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rust_decimal::Decimal;

use crate::model::{CLOSING_GRACE, Candle, Interval, TimeRange, Timestamp};

/// How far a candle may open in the future before it is taken for nonsense.
const MAX_AHEAD: Duration = Duration::from_mins(1);

/// How many closed candles are remembered, to tell a correction from a repetition.
const REMEMBERED: usize = 8;

/// What follows from what the stream said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The open candle has new values.
    Updated(Candle),
    /// The candle is closed. If `observed`, the stream vouches for it; else subscribers may have it, but its time is
    /// missing as for [`Outcome::Missing`].
    Closed { candle: Candle, observed: bool },
    /// A candle that was observed before has other values now.
    Corrected(Candle),
    /// The stream cannot vouch for this closed time.
    Missing(TimeRange),
}

/// Follows the 1m candles of one market.
#[derive(Debug)]
pub struct Closing {
    /// Whether the exchange flags closed candles.
    flagged: bool,
    /// Since when the stream has been whole.
    live_since: Option<Timestamp>,
    /// The first minute that is not settled.
    next: Timestamp,
    /// Candles of minutes that are not settled.
    pending: BTreeMap<Timestamp, Candle>,
    /// What was traded in minutes that are not settled, where nothing else says that a candle is whole.
    traded: BTreeMap<Timestamp, Decimal>,
    /// The last candles that were closed as observed.
    closed: VecDeque<Candle>,
}

impl Closing {
    /// Follows from the minute of `now` on.
    #[must_use]
    pub fn new(flagged: bool, now: Timestamp) -> Self {
        Self {
            flagged,
            live_since: None,
            next: Interval::M1.floor(now),
            pending: BTreeMap::new(),
            traded: BTreeMap::new(),
            closed: VecDeque::with_capacity(REMEMBERED),
        }
    }

    /// From `at` on the stream is whole.
    pub fn confirmed(&mut self, at: Timestamp) {
        self.live_since.get_or_insert(at);
    }

    /// The stream broke.
    pub fn lost(&mut self) {
        self.live_since = None;
        self.pending.clear();
        self.traded.clear();
    }

    /// A trade came; each only once.
    pub fn trade(&mut self, at: Timestamp, amount: Decimal, now: Timestamp) {
        let minute = Interval::M1.floor(at);
        if !self.flagged && (self.next..=now + MAX_AHEAD).contains(&minute) {
            *self.traded.entry(minute).or_default() += amount;
        }
    }

    /// A candle came.
    pub fn candle(&mut self, candle: Candle, now: Timestamp, out: &mut Vec<Outcome>) {
        if candle.timestamp > now + MAX_AHEAD {
            return;
        }
        if candle.timestamp < self.next {
            return self.late(candle, out);
        }
        if let Some(known) = self.pending.get(&candle.timestamp)
            && (known.same_values(&candle) || known.closed || (candle.volume < known.volume && !candle.closed))
        {
            // A repetition, or an older state from the connection that is being replaced.
            return;
        }
        self.pending.insert(candle.timestamp, candle);
        if candle.closed {
            self.settle_until(Interval::M1.next(candle.timestamp), out);
            return;
        }
        out.push(Outcome::Updated(candle));
        if !self.flagged {
            self.settle_until(candle.timestamp, out);
        }
    }

    /// Time went on.
    pub fn clock(&mut self, now: Timestamp, out: &mut Vec<Outcome>) {
        self.settle_until(Interval::M1.floor(now - CLOSING_GRACE), out);
    }

    fn settle_until(&mut self, end: Timestamp, out: &mut Vec<Outcome>) {
        while self.next < end {
            let minute = Interval::M1.span(self.next);
            self.next = minute.end();
            let traded = self.traded.remove(&minute.start()).unwrap_or_default();
            let candle = self.pending.remove(&minute.start());
            let adds_up = candle.is_some_and(|candle| self.flagged || candle.volume == traded);
            let observed = adds_up && self.live_since.is_some_and(|since| since <= minute.start());
            let candle = candle.filter(|candle| candle.closed || (observed && !self.flagged));
            if let Some(mut candle) = candle {
                candle.closed = true;
                out.push(Outcome::Closed { candle, observed });
                if observed {
                    if self.closed.len() == REMEMBERED {
                        self.closed.pop_front();
                    }
                    self.closed.push_back(candle);
                }
                continue;
            }
            match out.last_mut() {
                Some(Outcome::Missing(range)) if range.end() == minute.start() => {
                    *range = TimeRange::new(range.start(), minute.end());
                }
                _ => out.push(Outcome::Missing(minute)),
            }
        }
    }

    fn late(&mut self, candle: Candle, out: &mut Vec<Outcome>) {
        let Some(known) = self.closed.iter_mut().find(|known| known.timestamp == candle.timestamp) else { return };
        let candle = Candle { closed: true, ..candle };
        // An open state that comes after the closing one is only late if nothing was traded in between.
        if candle.volume < known.volume || known.same_values(&candle) {
            return;
        }
        *known = candle;
        out.push(Outcome::Corrected(candle));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_763_672_400;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(START + secs)
    }

    fn candle(minute: i64, volume: i64, closed: bool) -> Candle {
        let price = Decimal::from(100 + volume);
        Candle {
            timestamp: at(minute * 60),
            open: Decimal::from(100),
            high: price,
            low: Decimal::from(100),
            close: price,
            volume: volume.into(),
            quote_volume: None,
            trades: None,
            closed,
            revision: 0,
        }
    }

    fn minutes(start: i64, end: i64) -> Outcome {
        Outcome::Missing(TimeRange::new(at(start * 60), at(end * 60)))
    }

    struct Stream {
        closing: Closing,
        out: Vec<Outcome>,
    }

    impl Stream {
        fn new(flagged: bool) -> Self {
            let mut closing = Closing::new(flagged, at(0));
            closing.confirmed(at(0));
            Self { closing, out: Vec::new() }
        }
        /// A candle, after the trades that make it.
        fn candle(&mut self, candle: Candle, secs: i64) -> Vec<Outcome> {
            let before = self.closing.traded.get(&candle.timestamp).copied().unwrap_or_default();
            self.closing.trade(candle.timestamp, candle.volume - before, at(secs));
            self.closing.candle(candle, at(secs), &mut self.out);
            std::mem::take(&mut self.out)
        }
        fn clock(&mut self, secs: i64) -> Vec<Outcome> {
            self.closing.clock(at(secs), &mut self.out);
            std::mem::take(&mut self.out)
        }
    }

    #[test]
    fn the_flag_closes() {
        let mut stream = Stream::new(true);
        assert_eq!(stream.candle(candle(0, 1, false), 10), [Outcome::Updated(candle(0, 1, false))]);
        assert_eq!(
            stream.candle(candle(0, 2, true), 60),
            [Outcome::Closed { candle: candle(0, 2, true), observed: true }]
        );
        assert_eq!(stream.clock(62), []);
    }

    #[test]
    fn where_there_is_a_flag_nothing_else_closes() {
        let mut stream = Stream::new(true);
        stream.candle(candle(0, 1, false), 10);
        assert_eq!(stream.candle(candle(1, 1, false), 61), [Outcome::Updated(candle(1, 1, false))]);
        assert_eq!(stream.clock(62), [minutes(0, 1)]);
    }

    #[test]
    fn without_a_flag_the_next_candle_or_the_clock_closes() {
        let mut stream = Stream::new(false);
        stream.candle(candle(0, 1, false), 10);
        let closed = |minute| Outcome::Closed { candle: candle(minute, 1, true), observed: true };
        assert_eq!(stream.candle(candle(1, 1, false), 61), [Outcome::Updated(candle(1, 1, false)), closed(0)]);
        assert_eq!(stream.clock(121), []);
        assert_eq!(stream.clock(122), [closed(1)]);
    }

    #[test]
    fn a_candle_that_misses_trades_is_not_observed() {
        let mut stream = Stream::new(false);
        stream.candle(candle(0, 5, false), 10);
        stream.closing.trade(at(40), 1.into(), at(40));
        assert_eq!(stream.clock(62), [minutes(0, 1)]);
    }

    #[test]
    fn a_silent_minute_is_missing_not_empty() {
        let mut stream = Stream::new(false);
        assert_eq!(stream.clock(61), []);
        assert_eq!(stream.clock(182), [minutes(0, 3)]);
    }

    #[test]
    fn an_interrupted_minute_is_never_spliced() {
        let mut stream = Stream::new(false);
        stream.candle(candle(0, 5, false), 10);
        stream.closing.lost();
        stream.closing.confirmed(at(30));
        stream.candle(candle(0, 7, false), 40);
        assert_eq!(stream.candle(candle(1, 1, false), 61)[1..], [minutes(0, 1)]);
        assert!(matches!(stream.clock(122)[..], [Outcome::Closed { observed: true, .. }]));
        // Where the exchange itself closes it, subscribers have it, and the ledger waits all the same.
        let mut stream = Stream::new(true);
        stream.closing.lost();
        stream.closing.confirmed(at(30));
        assert_eq!(
            stream.candle(candle(0, 2, true), 60),
            [Outcome::Closed { candle: candle(0, 2, true), observed: false }]
        );
    }

    #[test]
    fn repetitions_and_overtaken_states_say_nothing() {
        let mut stream = Stream::new(true);
        stream.candle(candle(0, 5, false), 10);
        assert_eq!(stream.candle(candle(0, 5, false), 11), []);
        assert_eq!(stream.candle(candle(0, 4, false), 12), []);
        stream.candle(candle(0, 6, true), 60);
        assert_eq!(stream.candle(candle(0, 6, true), 60), []);
        assert_eq!(stream.candle(candle(0, 5, false), 61), []);
        assert_eq!(stream.candle(candle(-3, 5, true), 61), [], "an old minute is not ours to judge");
        assert_eq!(stream.candle(candle(900, 5, true), 61), [], "nor one of tomorrow");
    }

    #[test]
    fn a_late_trade_corrects() {
        let mut stream = Stream::new(true);
        stream.candle(candle(0, 5, true), 60);
        assert_eq!(stream.candle(candle(0, 6, true), 63), [Outcome::Corrected(candle(0, 6, true))]);
        assert_eq!(stream.candle(candle(0, 6, true), 64), []);
    }
}
