//! Tests when candles are closed, and by what.

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

fn missing(start: i64, end: i64) -> CandleOutcome {
    CandleOutcome::Missing(TimeRange::new(at(start * 60), at(end * 60)))
}

fn trade(timestamp: Timestamp, price: i64, amount: Decimal) -> Trade {
    Trade {
        exchange: ExchangeId::KRAKEN,
        symbol: "BTC/USD".parse().unwrap(),
        id: "1".into(),
        price: price.into(),
        amount,
        side: Side::Buy,
        timestamp,
    }
}

struct Stream {
    finalizer: CandleFinalizer,
    out: Vec<CandleOutcome>,
}

impl Stream {
    fn new(source: MinuteCandles) -> Self {
        let mut finalizer = CandleFinalizer::new(source, at(0));
        finalizer.stream_complete_from(at(0));
        Self { finalizer, out: Vec::new() }
    }
    /// Adds a candle after the trades that it consists of.
    fn candle(&mut self, candle: Candle, secs: i64) -> Vec<CandleOutcome> {
        let before = self.finalizer.traded_volume.get(&candle.timestamp).copied().unwrap_or_default();
        self.finalizer.on_trade(&trade(candle.timestamp, 100, candle.volume - before), at(secs), &mut self.out);
        self.finalizer.on_candle(candle, at(secs), &mut self.out);
        std::mem::take(&mut self.out)
    }
    fn tick(&mut self, secs: i64) -> Vec<CandleOutcome> {
        self.tick_with_received(secs, secs)
    }
    fn tick_with_received(&mut self, secs: i64, received_until: i64) -> Vec<CandleOutcome> {
        self.finalizer.on_clock(at(secs), Some(at(received_until)), &mut self.out);
        std::mem::take(&mut self.out)
    }
}

#[test]
fn closed_flag_closes_candle() {
    let mut stream = Stream::new(MinuteCandles::Flagged);
    assert_eq!(stream.candle(candle(0, 1, false), 10), [CandleOutcome::Updated(candle(0, 1, false))]);
    assert_eq!(
        stream.candle(candle(0, 2, true), 60),
        [CandleOutcome::Closed { candle: candle(0, 2, true), observed: true }]
    );
    assert_eq!(stream.tick(62), []);
}

#[test]
fn closed_flag_before_end_of_minute_is_ignored() {
    let mut stream = Stream::new(MinuteCandles::Flagged);
    assert_eq!(stream.candle(candle(0, 1, true), 30), [CandleOutcome::Updated(candle(0, 1, false))]);
    assert_eq!(stream.candle(candle(0, 2, false), 50), [CandleOutcome::Updated(candle(0, 2, false))]);
    assert_eq!(
        stream.candle(candle(0, 2, true), 60),
        [CandleOutcome::Closed { candle: candle(0, 2, true), observed: true }]
    );
    // The exchange's clock may be slightly ahead of its estimate.
    assert_eq!(
        stream.candle(candle(1, 1, true), 118),
        [CandleOutcome::Closed { candle: candle(1, 1, true), observed: true }]
    );
}

#[test]
fn candle_that_opens_too_early_does_not_close_previous() {
    let mut stream = Stream::new(MinuteCandles::Unflagged);
    stream.candle(candle(0, 1, false), 10);
    assert_eq!(stream.candle(candle(1, 1, false), 30), [CandleOutcome::Updated(candle(1, 1, false))]);
    stream.candle(candle(0, 3, false), 50);
    assert_eq!(stream.tick(62), [CandleOutcome::Closed { candle: candle(0, 3, true), observed: true }]);
}

#[test]
fn with_closed_flag_nothing_else_closes_candle() {
    let mut stream = Stream::new(MinuteCandles::Flagged);
    stream.candle(candle(0, 1, false), 10);
    assert_eq!(stream.candle(candle(1, 1, false), 61), [CandleOutcome::Updated(candle(1, 1, false))]);
    assert_eq!(stream.tick(74), [], "the closed flag may arrive late");
    assert_eq!(stream.tick(75), [missing(0, 1)]);
}

#[test]
fn closed_flag_may_arrive_late_on_complete_stream() {
    let mut stream = Stream::new(MinuteCandles::Flagged);
    stream.candle(candle(0, 1, false), 10);
    assert_eq!(stream.tick(74), []);
    let closed = CandleOutcome::Closed { candle: candle(0, 2, true), observed: true };
    assert_eq!(stream.candle(candle(0, 2, true), 74), [closed]);
    // After the connection is lost, the clock does not wait for the closed flag.
    stream.finalizer.stream_lost();
    assert_eq!(stream.tick(122), [missing(1, 2)]);
    // Nor does it in the minute in which the stream is confirmed again.
    stream.finalizer.stream_complete_from(at(130));
    assert_eq!(stream.tick(182), [missing(2, 3)]);
    assert_eq!(stream.tick(242), []);
}

#[test]
fn minute_without_frames_is_missing_quiet_with_closed_flag() {
    let mut stream = Stream::new(MinuteCandles::Flagged);
    let quiet = |start: i64, end: i64| CandleOutcome::MissingQuiet(TimeRange::new(at(start * 60), at(end * 60)));
    stream.finalizer.on_candle(candle(0, 0, false), at(1), &mut Vec::new());
    assert_eq!(stream.tick(135), [quiet(0, 2)]);
    // A minute with a trade but no candle is not quiet.
    stream.finalizer.on_trade(&trade(at(130), 100, 1.into()), at(136), &mut Vec::new());
    assert_eq!(stream.tick(255), [missing(2, 3), quiet(3, 4)]);
    assert_eq!(stream.candle(candle(6, 1, true), 420)[..1], [quiet(4, 6)]);
    stream.finalizer.stream_lost();
    assert_eq!(stream.tick(482), [missing(7, 8)]);
}

#[test]
fn without_closed_flag_next_candle_or_clock_closes() {
    let mut stream = Stream::new(MinuteCandles::Unflagged);
    stream.candle(candle(0, 1, false), 10);
    let closed = |minute| CandleOutcome::Closed { candle: candle(minute, 1, true), observed: true };
    assert_eq!(stream.candle(candle(1, 1, false), 61), [CandleOutcome::Updated(candle(1, 1, false)), closed(0)]);
    assert_eq!(stream.tick(121), []);
    assert_eq!(stream.tick(122), [closed(1)]);
}

#[test]
fn clock_does_not_close_during_silence() {
    let mut stream = Stream::new(MinuteCandles::Unflagged);
    stream.candle(candle(0, 1, false), 10);
    assert_eq!(stream.tick_with_received(75, 30), [], "the candle may be incomplete");
    stream.finalizer.stream_lost();
    assert_eq!(stream.tick_with_received(76, 30), [missing(0, 1)]);
    let mut stream = Stream::new(MinuteCandles::Unflagged);
    stream.candle(candle(0, 1, false), 10);
    let closed = CandleOutcome::Closed { candle: candle(0, 1, true), observed: true };
    assert_eq!(stream.tick_with_received(63, 62), [closed], "a heartbeat arrived after its end");
}

#[test]
fn candle_without_all_trades_is_missing() {
    let mut stream = Stream::new(MinuteCandles::Unflagged);
    stream.candle(candle(0, 5, false), 10);
    stream.finalizer.on_trade(&trade(at(40), 100, 1.into()), at(40), &mut Vec::new());
    assert_eq!(stream.tick(62), [missing(0, 1)]);
}

#[test]
fn unflagged_minute_is_empty_only_after_later_message() {
    let mut stream = Stream::new(MinuteCandles::Unflagged);
    let empty = |minute: i64| CandleOutcome::Empty(Interval::M1.span(at(minute * 60)));
    assert_eq!(stream.tick_with_received(90, 61), [], "the connection may be dead or slow");
    assert_eq!(stream.tick_with_received(182, 182), [empty(0), empty(1), empty(2)]);
    // A later candle has the same effect.
    assert_eq!(stream.candle(candle(4, 1, false), 241), [CandleOutcome::Updated(candle(4, 1, false)), empty(3)]);
    stream.finalizer.stream_lost();
    assert_eq!(stream.tick_with_received(362, 362), [missing(4, 6)], "interrupted minutes are missing");
}

#[test]
fn interrupted_minute_is_never_observed() {
    let mut stream = Stream::new(MinuteCandles::Unflagged);
    stream.candle(candle(0, 5, false), 10);
    stream.finalizer.stream_lost();
    stream.finalizer.stream_complete_from(at(30));
    stream.candle(candle(0, 7, false), 40);
    assert_eq!(stream.candle(candle(1, 1, false), 61)[1..], [missing(0, 1)]);
    assert!(matches!(stream.tick(122)[..], [CandleOutcome::Closed { observed: true, .. }]));
    // With a closed flag, the candle is published, but not observed.
    let mut stream = Stream::new(MinuteCandles::Flagged);
    stream.finalizer.stream_lost();
    stream.finalizer.stream_complete_from(at(30));
    assert_eq!(
        stream.candle(candle(0, 2, true), 60),
        [CandleOutcome::Closed { candle: candle(0, 2, true), observed: false }]
    );
}

#[test]
fn duplicates_and_older_states_are_ignored() {
    let mut stream = Stream::new(MinuteCandles::Flagged);
    stream.candle(candle(0, 5, false), 10);
    assert_eq!(stream.candle(candle(0, 5, false), 11), []);
    assert_eq!(stream.candle(candle(0, 4, false), 12), []);
    stream.candle(candle(0, 6, true), 60);
    assert_eq!(stream.candle(candle(0, 6, true), 60), []);
    assert_eq!(stream.candle(candle(0, 5, false), 61), []);
    assert_eq!(stream.candle(candle(-3, 5, true), 61), [], "before the first minute");
    assert_eq!(stream.candle(candle(900, 5, true), 61), [], "too far in the future");
}

impl Stream {
    /// Adds a trade to a stream without candles. Returns also whether the candle was closed without it.
    fn trade(&mut self, secs: i64, price: i64, received_at: i64) -> (Vec<CandleOutcome>, bool) {
        let too_late = self.finalizer.on_trade(&trade(at(secs), price, 1.into()), at(received_at), &mut self.out);
        (std::mem::take(&mut self.out), too_late)
    }
}

fn built(minute: i64, [open, high, low, close, volume]: [i64; 5], closed: bool) -> Candle {
    let [open, high, low, close, volume] = [open, high, low, close, volume].map(Decimal::from);
    Candle { open, high, low, close, volume, ..candle(minute, 1, closed) }
}

#[test]
fn builds_candles_from_trades() {
    let mut stream = Stream::new(MinuteCandles::FromTrades);
    stream.trade(1, 100, 1);
    stream.trade(2, 90, 2);
    let (outcomes, too_late) = stream.trade(3, 95, 3);
    assert_eq!((outcomes, too_late), (vec![CandleOutcome::Updated(built(0, [100, 100, 90, 95, 3], false))], false));
    let closed = CandleOutcome::Closed { candle: built(0, [100, 100, 90, 95, 3], true), observed: true };
    // The first trade of the next minute closes the candle; a trade for it after that is too late.
    let (outcomes, _) = stream.trade(60, 96, 60);
    assert_eq!(outcomes, [CandleOutcome::Updated(built(1, [96, 96, 96, 96, 1], false)), closed]);
    assert_eq!(stream.trade(59, 97, 61), (vec![], true));
}

#[test]
fn minute_without_trades_is_empty_only_after_later_message() {
    let mut stream = Stream::new(MinuteCandles::FromTrades);
    let minute = |minute: i64| CandleOutcome::Empty(Interval::M1.span(at(minute * 60)));
    assert_eq!(stream.tick_with_received(63, 55), [], "the connection may be dead");
    assert_eq!(stream.tick_with_received(63, 62), [minute(0)]);
    stream.trade(185, 100, 185);
    assert_eq!(stream.tick_with_received(183, 183), [], "the trade closed the minutes before it");
    stream.finalizer.stream_lost();
    assert_eq!(stream.tick_with_received(302, 190), [missing(3, 5)], "interrupted minutes are missing");
}

#[test]
fn builds_no_candle_from_partial_minute() {
    let mut stream = Stream::new(MinuteCandles::FromTrades);
    stream.trade(1, 100, 1);
    stream.finalizer.stream_lost();
    stream.finalizer.stream_complete_from(at(30));
    assert_eq!(stream.trade(40, 100, 40), (vec![], false));
    let (outcomes, _) = stream.trade(60, 101, 60);
    assert_eq!(outcomes, [CandleOutcome::Updated(built(1, [101, 101, 101, 101, 1], false)), missing(0, 1)]);
}

#[test]
fn late_trade_revises_closed_candle() {
    let mut stream = Stream::new(MinuteCandles::Flagged);
    stream.candle(candle(0, 5, true), 60);
    assert_eq!(stream.candle(candle(0, 6, true), 63), [CandleOutcome::Revised(candle(0, 6, true))]);
    assert_eq!(stream.candle(candle(0, 6, true), 64), []);
}

#[test]
fn unusable_trade_affects_only_its_minute() {
    let mut stream = Stream::new(MinuteCandles::FromTrades);
    stream.trade(10, 100, 10);
    assert!(stream.finalizer.stream_interrupted(at(20), at(20)));
    assert!(!stream.finalizer.stream_interrupted(at(15), at(30)), "complete only since 20 s");
    assert_eq!(stream.tick_with_received(63, 63), [missing(0, 1)]);
    stream.trade(70, 100, 70);
    assert_eq!(
        stream.tick_with_received(123, 123),
        [CandleOutcome::Closed { candle: built(1, [100, 100, 100, 100, 1], true), observed: true }]
    );
}
