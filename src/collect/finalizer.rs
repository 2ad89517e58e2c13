//! Decides when a 1m candle of a stream is closed, and whether the stream proves it complete. No I/O.
//!
//! All times are exchange time. A candle is closed by the exchange's closed flag, which may arrive up to 15 s after the
//! end of the minute. Without such a flag, it is closed when the next candle opens, or by a message that arrives 2 s or
//! more after the end of the minute. A minute is *observed* only if the stream was complete from its open to its close
//! and, without a closed flag, if the volume of its trades equals the volume of the candle. An interrupted minute is
//! never assembled from parts: it is reported as missing, to be fetched by REST.
//!
//! If the exchange streams no candles, they are built from trades, of complete minutes only. Such a candle is closed by
//! the next candle, or when the exchange reports that it has sent everything up to a time after the end of the minute:
//! silence may be a dead connection, and a late message does not prove that no trade is missing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rust_decimal::Decimal;

use crate::exchanges::MinuteCandles;
use crate::model::{CANDLE_GRACE_PERIOD, Candle, Interval, TimeRange, Timestamp, Trade};

/// A candle or trade further in the future than this is ignored.
const MAX_AHEAD: Duration = Duration::from_mins(1);

/// How long after the end of a minute its candle with the closed flag may arrive. Then the minute is missing.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// Number of closed candles that are remembered, to distinguish a revision from a duplicate.
const MAX_CLOSED: usize = 8;

/// Result of a stream event or a clock tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CandleOutcome {
    /// The forming candle has new values.
    Updated(Candle),
    /// The candle is closed. If `observed`, the stream proves it complete. Otherwise it may be published, but its
    /// minute must be fetched as for [`CandleOutcome::Missing`].
    Closed { candle: Candle, observed: bool },
    /// An observed candle has new values.
    Revised(Candle),
    /// The stream proves that there were no trades in this minute.
    Empty(TimeRange),
    /// The stream does not prove the candles of this closed range.
    Missing(TimeRange),
    /// As `Missing`, but the complete stream had no trades: the exchange sends no closed candle for such a minute.
    MissingQuiet(TimeRange),
}

/// Closes the 1m candles of one market.
#[derive(Debug)]
pub struct CandleFinalizer {
    /// How the stream delivers candles.
    source: MinuteCandles,
    /// The stream has been complete since this time; `None` while it is interrupted.
    complete_since: Option<Timestamp>,
    /// The first minute that is not closed.
    next_minute: Timestamp,
    /// Candles of minutes that are not closed.
    pending: BTreeMap<Timestamp, Candle>,
    /// Volume of the trades in minutes that are not closed, to check candles without a closed flag.
    traded_volume: BTreeMap<Timestamp, Decimal>,
    /// The last observed candles.
    recently_closed: VecDeque<Candle>,
}

impl CandleFinalizer {
    /// Starts with the minute of `now`.
    #[must_use]
    pub fn new(source: MinuteCandles, now: Timestamp) -> Self {
        Self {
            source,
            complete_since: None,
            next_minute: Interval::M1.floor(now),
            pending: BTreeMap::new(),
            traded_volume: BTreeMap::new(),
            recently_closed: VecDeque::with_capacity(MAX_CLOSED),
        }
    }

    /// The subscription was acknowledged: the stream is complete from `at` on.
    pub fn stream_complete_from(&mut self, at: Timestamp) {
        self.complete_since.get_or_insert(at);
    }

    /// The connection was lost.
    pub fn stream_lost(&mut self) {
        self.complete_since = None;
        self.pending.clear();
        self.traded_volume.clear();
    }

    /// Data from `since` to `at` is missing; the stream is complete again from `at` on. Returns whether it was complete
    /// at `since`.
    pub fn stream_interrupted(&mut self, since: Timestamp, at: Timestamp) -> bool {
        let was_complete = self.is_complete_since(since);
        if was_complete {
            self.stream_lost();
            self.stream_complete_from(at);
        }
        was_complete
    }

    /// Adds a trade (no duplicates). Returns whether the candle of its minute was closed without it.
    pub fn on_trade(&mut self, trade: &Trade, now: Timestamp, out: &mut Vec<CandleOutcome>) -> bool {
        let minute = Interval::M1.floor(trade.timestamp);
        if minute > now + MAX_AHEAD {
            return false;
        }
        if minute < self.next_minute {
            return self.source != MinuteCandles::Flagged;
        }
        let traded = self.traded_volume.entry(minute).or_default();
        *traded = traded.saturating_add(trade.amount);
        if self.source == MinuteCandles::FromTrades && self.is_complete_since(minute) {
            let candle = add_trade(self.pending.get(&minute), trade, minute);
            self.on_candle(candle, now, out);
        }
        false
    }

    /// Whether the stream has been complete since `minute` opened.
    fn is_complete_since(&self, minute: Timestamp) -> bool {
        self.complete_since.is_some_and(|since| since <= minute)
    }

    /// Whether the stream has been complete since `minute` opened and delivered no trades of it so far.
    fn has_no_trades(&self, minute: Timestamp) -> bool {
        // Exchanges with a closed flag may send a candle without trades when it opens.
        let is_flagged = self.source == MinuteCandles::Flagged;
        let candle = self.pending.get(&minute);
        candle.is_none_or(|candle| is_flagged && candle.volume.is_zero() && !candle.closed)
            && !self.traded_volume.contains_key(&minute)
            && self.is_complete_since(minute)
    }

    /// Adds a candle. `now` is the upper bound of the exchange's clock.
    pub fn on_candle(&mut self, mut candle: Candle, now: Timestamp, out: &mut Vec<CandleOutcome>) {
        if candle.timestamp > now + MAX_AHEAD {
            return;
        }
        // A closed flag is ignored until the next candle can have opened.
        let latest_open = Interval::M1.floor(now + CANDLE_GRACE_PERIOD);
        candle.closed &= candle.timestamp < latest_open;
        if candle.timestamp < self.next_minute {
            return self.revise_closed(candle, out);
        }
        if let Some(known) = self.pending.get(&candle.timestamp)
            && (known.same_values(&candle) || known.closed || (candle.volume < known.volume && !candle.closed))
        {
            // A duplicate, or an older state from the connection that is being replaced.
            return;
        }
        self.pending.insert(candle.timestamp, candle);
        if candle.closed {
            self.finalize_until(Interval::M1.next(candle.timestamp), None, out);
            return;
        }
        out.push(CandleOutcome::Updated(candle));
        if self.source != MinuteCandles::Flagged {
            let opened = candle.timestamp.min(latest_open);
            self.finalize_until(opened, Some(opened), out);
        }
    }

    /// Closes candles by the clock. Everything before `received_until` has been received. Both are exchange time.
    pub fn on_clock(&mut self, now: Timestamp, received_until: Option<Timestamp>, out: &mut Vec<CandleOutcome>) {
        // While the connection is up, messages may be delayed: a candle closed during a silence could be incomplete.
        let wait_for_stream = self.source != MinuteCandles::Flagged && self.complete_since.is_some();
        let reached = if wait_for_stream { received_until.unwrap_or(self.next_minute).min(now) } else { now };
        let mut end = Interval::M1.floor(reached - CANDLE_GRACE_PERIOD);
        if let (MinuteCandles::Flagged, Some(since)) = (self.source, self.complete_since) {
            // The candle with the closed flag of a complete minute may still arrive.
            end = end.min(Interval::M1.ceil(since).max(Interval::M1.floor(now - CLOSE_TIMEOUT)));
        }
        self.finalize_until(end, received_until.map(|until| until - CANDLE_GRACE_PERIOD), out);
    }

    /// Closes the minutes before `end`. On a complete stream, one before `received_until` without a candle is empty.
    fn finalize_until(&mut self, end: Timestamp, received_until: Option<Timestamp>, out: &mut Vec<CandleOutcome>) {
        while self.next_minute < end {
            let minute = Interval::M1.span(self.next_minute);
            let has_no_trades = self.has_no_trades(minute.start());
            self.next_minute = minute.end();
            let traded = self.traded_volume.remove(&minute.start());
            let candle = self.pending.remove(&minute.start());
            let traded = traded.unwrap_or_default();
            let is_flagged = self.source == MinuteCandles::Flagged;
            let volume_matches = candle.is_some_and(|candle| is_flagged || candle.volume == traded);
            let observed = volume_matches && self.is_complete_since(minute.start());
            let is_empty = match self.source {
                MinuteCandles::FromTrades => candle.is_none() && self.is_complete_since(minute.start()),
                // The stream sends a candle with each trade.
                MinuteCandles::Unflagged => has_no_trades && received_until >= Some(minute.end()),
                // The REST API has a candle for such a minute, too.
                MinuteCandles::Flagged => false,
            };
            if is_empty {
                out.push(CandleOutcome::Empty(minute));
                continue;
            }
            let candle = candle.filter(|candle| candle.closed || (observed && !is_flagged));
            if let Some(mut candle) = candle {
                candle.closed = true;
                out.push(CandleOutcome::Closed { candle, observed });
                if observed {
                    if self.recently_closed.len() == MAX_CLOSED {
                        self.recently_closed.pop_front();
                    }
                    self.recently_closed.push_back(candle);
                }
                continue;
            }
            let is_quiet = is_flagged && has_no_trades;
            match out.last_mut() {
                Some(CandleOutcome::Missing(range)) if !is_quiet && range.end() == minute.start() => {
                    *range = TimeRange::new(range.start(), minute.end());
                }
                Some(CandleOutcome::MissingQuiet(range)) if is_quiet && range.end() == minute.start() => {
                    *range = TimeRange::new(range.start(), minute.end());
                }
                _ if is_quiet => out.push(CandleOutcome::MissingQuiet(minute)),
                _ => out.push(CandleOutcome::Missing(minute)),
            }
        }
    }

    fn revise_closed(&mut self, candle: Candle, out: &mut Vec<CandleOutcome>) {
        let Some(known) = self.recently_closed.iter_mut().find(|known| known.timestamp == candle.timestamp) else {
            return;
        };
        let candle = Candle { closed: true, ..candle };
        // A smaller volume is an older state that arrived late, not a revision.
        if candle.volume < known.volume || known.same_values(&candle) {
            return;
        }
        *known = candle;
        out.push(CandleOutcome::Revised(candle));
    }
}

/// The candle with one more trade.
fn add_trade(candle: Option<&Candle>, trade: &Trade, minute: Timestamp) -> Candle {
    let Trade { price, amount, .. } = *trade;
    match candle {
        None => Candle {
            timestamp: minute,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: amount,
            // Unset, like candles from the REST API of these exchanges.
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
