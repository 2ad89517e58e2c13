//! When candles are closed, and by what.

use super::*;
use crate::model::{ExchangeId, Side};

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

fn trade(timestamp: Timestamp, price: i64, amount: Decimal) -> Trade {
    Trade {
        exchange: ExchangeId::Kraken,
        symbol: "BTC/USD".parse().unwrap(),
        id: "1".into(),
        price: price.into(),
        amount,
        side: Side::Buy,
        timestamp,
    }
}

struct Stream {
    closing: Closing,
    out: Vec<Outcome>,
}

impl Stream {
    fn new(minutes: MinuteCandles) -> Self {
        let mut closing = Closing::new(minutes, at(0));
        closing.confirmed(at(0));
        Self { closing, out: Vec::new() }
    }
    /// A candle, after the trades that make it.
    fn candle(&mut self, candle: Candle, secs: i64) -> Vec<Outcome> {
        let before = self.closing.traded.get(&candle.timestamp).copied().unwrap_or_default();
        self.closing.trade(&trade(candle.timestamp, 100, candle.volume - before), at(secs), &mut self.out);
        self.closing.candle(candle, at(secs), &mut self.out);
        std::mem::take(&mut self.out)
    }
    fn clock(&mut self, secs: i64) -> Vec<Outcome> {
        self.heard(secs, secs)
    }
    fn heard(&mut self, secs: i64, heard: i64) -> Vec<Outcome> {
        self.closing.clock(at(secs), Some(at(heard)), &mut self.out);
        std::mem::take(&mut self.out)
    }
}

#[test]
fn the_flag_closes() {
    let mut stream = Stream::new(MinuteCandles::Flagged);
    assert_eq!(stream.candle(candle(0, 1, false), 10), [Outcome::Updated(candle(0, 1, false))]);
    assert_eq!(stream.candle(candle(0, 2, true), 60), [Outcome::Closed { candle: candle(0, 2, true), observed: true }]);
    assert_eq!(stream.clock(62), []);
}

#[test]
fn a_flag_before_the_end_of_the_minute_closes_nothing() {
    let mut stream = Stream::new(MinuteCandles::Flagged);
    assert_eq!(stream.candle(candle(0, 1, true), 30), [Outcome::Updated(candle(0, 1, false))]);
    assert_eq!(stream.candle(candle(0, 2, false), 50), [Outcome::Updated(candle(0, 2, false))]);
    assert_eq!(stream.candle(candle(0, 2, true), 60), [Outcome::Closed { candle: candle(0, 2, true), observed: true }]);
    // Its clock may be a little ahead of what is believed of it.
    assert_eq!(
        stream.candle(candle(1, 1, true), 118),
        [Outcome::Closed { candle: candle(1, 1, true), observed: true }]
    );
}

#[test]
fn a_candle_that_opens_too_early_closes_nothing() {
    let mut stream = Stream::new(MinuteCandles::Unflagged);
    stream.candle(candle(0, 1, false), 10);
    assert_eq!(stream.candle(candle(1, 1, false), 30), [Outcome::Updated(candle(1, 1, false))]);
    stream.candle(candle(0, 3, false), 50);
    assert_eq!(stream.clock(62), [Outcome::Closed { candle: candle(0, 3, true), observed: true }]);
}

#[test]
fn where_there_is_a_flag_nothing_else_closes() {
    let mut stream = Stream::new(MinuteCandles::Flagged);
    stream.candle(candle(0, 1, false), 10);
    assert_eq!(stream.candle(candle(1, 1, false), 61), [Outcome::Updated(candle(1, 1, false))]);
    assert_eq!(stream.clock(74), [], "its closing frame may come late");
    assert_eq!(stream.clock(75), [minutes(0, 1)]);
}

#[test]
fn a_closing_frame_may_come_late_while_the_connection_lives() {
    let mut stream = Stream::new(MinuteCandles::Flagged);
    stream.candle(candle(0, 1, false), 10);
    assert_eq!(stream.clock(74), []);
    let closed = Outcome::Closed { candle: candle(0, 2, true), observed: true };
    assert_eq!(stream.candle(candle(0, 2, true), 74), [closed]);
    // What broke off is not waited for.
    stream.closing.lost();
    assert_eq!(stream.clock(122), [minutes(1, 2)]);
    // Nor is the minute in which it came back.
    stream.closing.confirmed(at(130));
    assert_eq!(stream.clock(182), [minutes(2, 3)]);
    assert_eq!(stream.clock(242), []);
}

#[test]
fn a_minute_without_any_frame_is_quiet_where_candles_have_a_flag() {
    let mut stream = Stream::new(MinuteCandles::Flagged);
    let quiet = |start: i64, end: i64| Outcome::Quiet(TimeRange::new(at(start * 60), at(end * 60)));
    stream.closing.candle(candle(0, 0, false), at(1), &mut Vec::new());
    assert_eq!(stream.clock(135), [quiet(0, 2)]);
    // A trade without a candle is no silence.
    stream.closing.trade(&trade(at(130), 100, 1.into()), at(136), &mut Vec::new());
    assert_eq!(stream.clock(255), [minutes(2, 3), quiet(3, 4)]);
    assert_eq!(stream.candle(candle(6, 1, true), 420)[..1], [quiet(4, 6)]);
    stream.closing.lost();
    assert_eq!(stream.clock(482), [minutes(7, 8)]);
}

#[test]
fn without_a_flag_the_next_candle_or_the_clock_closes() {
    let mut stream = Stream::new(MinuteCandles::Unflagged);
    stream.candle(candle(0, 1, false), 10);
    let closed = |minute| Outcome::Closed { candle: candle(minute, 1, true), observed: true };
    assert_eq!(stream.candle(candle(1, 1, false), 61), [Outcome::Updated(candle(1, 1, false)), closed(0)]);
    assert_eq!(stream.clock(121), []);
    assert_eq!(stream.clock(122), [closed(1)]);
}

#[test]
fn the_clock_closes_nothing_while_the_connection_is_silent() {
    let mut stream = Stream::new(MinuteCandles::Unflagged);
    stream.candle(candle(0, 1, false), 10);
    assert_eq!(stream.heard(75, 30), [], "half of a candle");
    stream.closing.lost();
    assert_eq!(stream.heard(76, 30), [minutes(0, 1)]);
    let mut stream = Stream::new(MinuteCandles::Unflagged);
    stream.candle(candle(0, 1, false), 10);
    let closed = Outcome::Closed { candle: candle(0, 1, true), observed: true };
    assert_eq!(stream.heard(63, 62), [closed], "a heartbeat after its end");
}

#[test]
fn a_candle_that_misses_trades_is_not_observed() {
    let mut stream = Stream::new(MinuteCandles::Unflagged);
    stream.candle(candle(0, 5, false), 10);
    stream.closing.trade(&trade(at(40), 100, 1.into()), at(40), &mut Vec::new());
    assert_eq!(stream.clock(62), [minutes(0, 1)]);
}

#[test]
fn a_silent_minute_is_empty_only_if_something_was_heard_after_it() {
    let mut stream = Stream::new(MinuteCandles::Unflagged);
    let empty = |minute: i64| Outcome::Empty(Interval::M1.span(at(minute * 60)));
    assert_eq!(stream.heard(90, 61), [], "the connection may be dead, or slow");
    assert_eq!(stream.heard(182, 182), [empty(0), empty(1), empty(2)]);
    // A later candle says so, too.
    assert_eq!(stream.candle(candle(4, 1, false), 241), [Outcome::Updated(candle(4, 1, false)), empty(3)]);
    stream.closing.lost();
    assert_eq!(stream.heard(362, 362), [minutes(4, 6)], "what broke off is fetched");
}

#[test]
fn an_interrupted_minute_is_never_spliced() {
    let mut stream = Stream::new(MinuteCandles::Unflagged);
    stream.candle(candle(0, 5, false), 10);
    stream.closing.lost();
    stream.closing.confirmed(at(30));
    stream.candle(candle(0, 7, false), 40);
    assert_eq!(stream.candle(candle(1, 1, false), 61)[1..], [minutes(0, 1)]);
    assert!(matches!(stream.clock(122)[..], [Outcome::Closed { observed: true, .. }]));
    // Where the exchange itself closes it, subscribers have it, and the ledger waits all the same.
    let mut stream = Stream::new(MinuteCandles::Flagged);
    stream.closing.lost();
    stream.closing.confirmed(at(30));
    assert_eq!(
        stream.candle(candle(0, 2, true), 60),
        [Outcome::Closed { candle: candle(0, 2, true), observed: false }]
    );
}

#[test]
fn repetitions_and_overtaken_states_say_nothing() {
    let mut stream = Stream::new(MinuteCandles::Flagged);
    stream.candle(candle(0, 5, false), 10);
    assert_eq!(stream.candle(candle(0, 5, false), 11), []);
    assert_eq!(stream.candle(candle(0, 4, false), 12), []);
    stream.candle(candle(0, 6, true), 60);
    assert_eq!(stream.candle(candle(0, 6, true), 60), []);
    assert_eq!(stream.candle(candle(0, 5, false), 61), []);
    assert_eq!(stream.candle(candle(-3, 5, true), 61), [], "an old minute is not ours to judge");
    assert_eq!(stream.candle(candle(900, 5, true), 61), [], "nor one of tomorrow");
}

impl Stream {
    /// A trade where there are no candles; with whether it came too late.
    fn trade(&mut self, secs: i64, price: i64, heard: i64) -> (Vec<Outcome>, bool) {
        let late = self.closing.trade(&trade(at(secs), price, 1.into()), at(heard), &mut self.out);
        (std::mem::take(&mut self.out), late)
    }
}

fn built(minute: i64, [open, high, low, close, volume]: [i64; 5], closed: bool) -> Candle {
    let [open, high, low, close, volume] = [open, high, low, close, volume].map(Decimal::from);
    Candle { open, high, low, close, volume, ..candle(minute, 1, closed) }
}

#[test]
fn candles_are_built_from_trades() {
    let mut stream = Stream::new(MinuteCandles::FromTrades);
    stream.trade(1, 100, 1);
    stream.trade(2, 90, 2);
    let (told, late) = stream.trade(3, 95, 3);
    assert_eq!((told, late), (vec![Outcome::Updated(built(0, [100, 100, 90, 95, 3], false))], false));
    let closed = Outcome::Closed { candle: built(0, [100, 100, 90, 95, 3], true), observed: true };
    // The next minute's first trade closes it; a trade that comes for it after that is late.
    let (told, _) = stream.trade(60, 96, 60);
    assert_eq!(told, [Outcome::Updated(built(1, [96, 96, 96, 96, 1], false)), closed]);
    assert_eq!(stream.trade(59, 97, 61), (vec![], true));
}

#[test]
fn a_minute_is_empty_only_if_something_was_heard_after_it() {
    let mut stream = Stream::new(MinuteCandles::FromTrades);
    let minute = |minute: i64| Outcome::Empty(Interval::M1.span(at(minute * 60)));
    assert_eq!(stream.heard(63, 55), [], "the connection may be dead");
    assert_eq!(stream.heard(63, 62), [minute(0)]);
    stream.trade(185, 100, 185);
    assert_eq!(stream.heard(183, 183), [], "those before were settled by the trade");
    stream.closing.lost();
    assert_eq!(stream.heard(302, 190), [minutes(3, 5)], "what broke off is fetched");
}

#[test]
fn no_candle_is_built_of_a_part_of_a_minute() {
    let mut stream = Stream::new(MinuteCandles::FromTrades);
    stream.trade(1, 100, 1);
    stream.closing.lost();
    stream.closing.confirmed(at(30));
    assert_eq!(stream.trade(40, 100, 40), (vec![], false));
    let (told, _) = stream.trade(60, 101, 60);
    assert_eq!(told, [Outcome::Updated(built(1, [101, 101, 101, 101, 1], false)), minutes(0, 1)]);
}

#[test]
fn a_late_trade_corrects() {
    let mut stream = Stream::new(MinuteCandles::Flagged);
    stream.candle(candle(0, 5, true), 60);
    assert_eq!(stream.candle(candle(0, 6, true), 63), [Outcome::Corrected(candle(0, 6, true))]);
    assert_eq!(stream.candle(candle(0, 6, true), 64), []);
}

#[test]
fn a_trade_that_cannot_be_used_breaks_its_minute_only() {
    let mut stream = Stream::new(MinuteCandles::FromTrades);
    stream.trade(10, 100, 10);
    assert!(stream.closing.broken(at(20), at(20)));
    assert!(!stream.closing.broken(at(15), at(30)), "it is whole since then only");
    assert_eq!(stream.heard(63, 63), [minutes(0, 1)]);
    stream.trade(70, 100, 70);
    assert_eq!(
        stream.heard(123, 123),
        [Outcome::Closed { candle: built(1, [100, 100, 100, 100, 1], true), observed: true }]
    );
}
