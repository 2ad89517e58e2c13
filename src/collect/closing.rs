//! When a 1m candle of a stream is closed, and what the stream can vouch for. Pure.
//!
//! All times are the exchange's own. A candle is closed by the exchange's flag, which may come up to 15 s after its end;
//! where the exchange has none, when the next candle opens, or when something was heard from 2 s after its end. A minute is *observed* only if the stream was whole from its open to its close, and, where the exchange does not
//! flag its candles, if its trades add up to its volume: what was interrupted or left out is never spliced, but
//! reported missing, to be fetched by REST.
//!
//! Where the exchange streams no candles, they are built here from the trades, of whole minutes only; the clock closes
//! one when the exchange itself says that it has told everything up to after its end: silence may be a dead connection,
//! and what was heard late may not be all.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rust_decimal::Decimal;

use crate::exchanges::MinuteCandles;
use crate::model::{CLOSING_GRACE, Candle, Interval, TimeRange, Timestamp, Trade};

/// How far a candle may open in the future before it is taken for nonsense.
const MAX_AHEAD: Duration = Duration::from_mins(1);

/// How long after its end the closing frame of a candle with a flag may come: from then on it counts as lost.
pub const LATE_CLOSE: Duration = Duration::from_secs(15);

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
    /// The stream vouches that nobody traded in this minute.
    Empty(TimeRange),
    /// The stream cannot vouch for this closed time.
    Missing(TimeRange),
    /// The same, and nothing happened on the whole stream in this time: the exchange sends nothing for such a minute.
    Quiet(TimeRange),
}

/// Follows the 1m candles of one market.
#[derive(Debug)]
pub struct Closing {
    /// Where the candles come from.
    minutes: MinuteCandles,
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
    pub fn new(minutes: MinuteCandles, now: Timestamp) -> Self {
        Self {
            minutes,
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

    /// Something that was told from `since` to `at` is missing: the stream is whole again from then on. Says whether it was
    /// whole before.
    pub fn broken(&mut self, since: Timestamp, at: Timestamp) -> bool {
        let was_whole = self.is_whole(since);
        if was_whole {
            self.lost();
            self.confirmed(at);
        }
        was_whole
    }

    /// A trade came; each only once. Says whether the candle of its minute was closed without it.
    pub fn trade(&mut self, trade: &Trade, now: Timestamp, out: &mut Vec<Outcome>) -> bool {
        let minute = Interval::M1.floor(trade.timestamp);
        if minute > now + MAX_AHEAD {
            return false;
        }
        if minute < self.next {
            return self.minutes != MinuteCandles::Flagged;
        }
        let traded = self.traded.entry(minute).or_default();
        *traded = traded.saturating_add(trade.amount);
        if self.minutes == MinuteCandles::FromTrades && self.is_whole(minute) {
            let candle = extend(self.pending.get(&minute), trade, minute);
            self.candle(candle, now, out);
        }
        false
    }

    /// Whether the stream has been whole since `minute` opened.
    fn is_whole(&self, minute: Timestamp) -> bool {
        self.live_since.is_some_and(|since| since <= minute)
    }

    /// Whether nothing was traded in `minute` as far as the stream says, which has been whole since it opened.
    fn is_silent(&self, minute: Timestamp) -> bool {
        // Where candles have a flag, one without trades may be told when it opens.
        let is_flagged = self.minutes == MinuteCandles::Flagged;
        let candle = self.pending.get(&minute);
        candle.is_none_or(|candle| is_flagged && candle.volume.is_zero() && !candle.closed)
            && !self.traded.contains_key(&minute)
            && self.is_whole(minute)
    }

    /// A candle came. `now` is the latest time that it may be at the exchange.
    pub fn candle(&mut self, mut candle: Candle, now: Timestamp, out: &mut Vec<Outcome>) {
        if candle.timestamp > now + MAX_AHEAD {
            return;
        }
        // What opened by then can be told: an exchange that says more is believed when its time has come.
        let possible = Interval::M1.floor(now + CLOSING_GRACE);
        candle.closed &= candle.timestamp < possible;
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
            self.settle_until(Interval::M1.next(candle.timestamp), None, out);
            return;
        }
        out.push(Outcome::Updated(candle));
        if self.minutes != MinuteCandles::Flagged {
            let opened = candle.timestamp.min(possible);
            self.settle_until(opened, Some(opened), out);
        }
    }

    /// Time went on; everything up to `told` was heard. Both by the exchange's own clock.
    pub fn clock(&mut self, now: Timestamp, told: Option<Timestamp>, out: &mut Vec<Outcome>) {
        // While the connection lasts, what was not heard yet may still come: a clock that closes a candle after its
        // connection fell silent would close half of it.
        let waits = self.minutes != MinuteCandles::Flagged && self.live_since.is_some();
        let known = if waits { told.unwrap_or(self.next).min(now) } else { now };
        let mut end = Interval::M1.floor(known - CLOSING_GRACE);
        if let (MinuteCandles::Flagged, Some(since)) = (self.minutes, self.live_since) {
            // The closing frame of a minute that was whole so far may still come.
            end = end.min(Interval::M1.ceil(since).max(Interval::M1.floor(now - LATE_CLOSE)));
        }
        self.settle_until(end, told.map(|told| told - CLOSING_GRACE), out);
    }

    /// Settles the minutes before `end`. Up to `told` silence on a whole stream means that nobody traded.
    fn settle_until(&mut self, end: Timestamp, told: Option<Timestamp>, out: &mut Vec<Outcome>) {
        while self.next < end {
            let minute = Interval::M1.span(self.next);
            let is_silent = self.is_silent(minute.start());
            self.next = minute.end();
            let traded = self.traded.remove(&minute.start());
            let candle = self.pending.remove(&minute.start());
            let traded = traded.unwrap_or_default();
            let flagged = self.minutes == MinuteCandles::Flagged;
            let adds_up = candle.is_some_and(|candle| flagged || candle.volume == traded);
            let observed = adds_up && self.is_whole(minute.start());
            let is_empty = match self.minutes {
                MinuteCandles::FromTrades => candle.is_none() && self.is_whole(minute.start()),
                // Its candles come with each trade.
                MinuteCandles::Unflagged => is_silent && told >= Some(minute.end()),
                // Its REST interface has a candle of such a minute, too.
                MinuteCandles::Flagged => false,
            };
            if is_empty {
                out.push(Outcome::Empty(minute));
                continue;
            }
            let candle = candle.filter(|candle| candle.closed || (observed && !flagged));
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
            let is_quiet = flagged && is_silent;
            match out.last_mut() {
                Some(Outcome::Missing(range)) if !is_quiet && range.end() == minute.start() => {
                    *range = TimeRange::new(range.start(), minute.end());
                }
                Some(Outcome::Quiet(range)) if is_quiet && range.end() == minute.start() => {
                    *range = TimeRange::new(range.start(), minute.end());
                }
                _ if is_quiet => out.push(Outcome::Quiet(minute)),
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

/// The candle of a minute with one more trade.
fn extend(candle: Option<&Candle>, trade: &Trade, minute: Timestamp) -> Candle {
    let Trade { price, amount, .. } = *trade;
    match candle {
        None => Candle {
            timestamp: minute,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: amount,
            // As its REST interface has it, so that both tell the same.
            quote_volume: None,
            trades: None,
            closed: false,
            revision: 0,
        },
        Some(known) => Candle {
            high: known.high.max(price),
            low: known.low.min(price),
            close: price,
            volume: known.volume.saturating_add(amount).normalize(),
            ..*known
        },
    }
}

#[cfg(test)]
mod tests;
