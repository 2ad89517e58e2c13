//! What time it is at the exchange, as the loop of a collector sees it.

use std::collections::HashMap;
use std::time::Duration;

use super::super::closing::LATE_CLOSE;
use super::super::collector::CollectError;
use super::{Collector, minute_series};
use crate::cache::CacheError;
use crate::model::{Channel, Gap, GapReason, Symbol, TimeRange, Timestamp, Topic};
use crate::telemetry::collect::{ClockJumped, EventRejected};
use crate::upstream::CLOCK_JUMP;

/// Where a connection has heartbeats, they come each second: after so long without anything it was not whole.
const STALL: Duration = Duration::from_secs(15);

/// How far ahead of the exchange's clock the time of an event may be, and how old it may be.
const EVENT_AHEAD: Duration = Duration::from_mins(1);
const EVENT_AGE: Duration = Duration::from_hours(24 * 365);

impl Collector<'_> {
    /// The time that the exchange's clock has certainly reached.
    pub(super) fn exchange_now(&self) -> Timestamp {
        self.rest.exchange_clock().now()
    }

    /// The time that the exchange's clock has certainly not passed.
    pub(super) fn exchange_latest(&self) -> Timestamp {
        self.rest.exchange_clock().latest()
    }

    /// What the exchange's clock showed when ours showed `at`, where it shows `there` now.
    pub(super) fn at_exchange(&self, at: Timestamp, there: Timestamp) -> Timestamp {
        Timestamp::from_millis(there.millis().saturating_sub(self.now().millis()).saturating_add(at.millis()))
    }

    /// Whether an event may have this time at the exchange. What may not is counted.
    pub(super) fn is_sane(&mut self, at: Timestamp, channel: Channel) -> bool {
        let latest = self.exchange_latest();
        let is_sane = at <= latest + EVENT_AHEAD && at >= latest - EVENT_AGE;
        if is_sane {
            self.rest.exchange_clock().heard(at);
            self.newest_event = self.newest_event.max(at);
        } else {
            EventRejected { exchange: self.duties.exchange.id(), channel, at }.emit();
        }
        is_sane
    }

    /// The connection of a market's candles, which has heartbeats, told something at `at`. If it goes on after it said nothing
    /// for a while, what it left out meanwhile is not known: that is a gap, and no silence of the market.
    pub(super) async fn heard(&mut self, symbol: &Symbol, at: Timestamp) -> Result<(), CacheError> {
        let latest = self.exchange_latest();
        let Some(market) = self.markets.get_mut(symbol) else { return Ok(()) };
        let before = market.heard.unwrap_or(at);
        market.heard = Some(before.max(at));
        if at.since(before) <= STALL {
            return Ok(());
        }
        let since = self.at_exchange(before, latest);
        let Some(market) = self.markets.get_mut(symbol) else { return Ok(()) };
        if !market.closing.broken(since, latest) {
            // The connection was replaced, and that was told.
            return Ok(());
        }
        let exchange = self.duties.exchange.id();
        let topics =
            vec![Topic::Candles(minute_series(&market.instrument)), Topic::Trades { exchange, symbol: symbol.clone() }];
        self.gap(Gap { exchange, topics, missed: TimeRange::new(before, at), reason: GapReason::UpstreamDisconnect })
            .await
    }

    /// Up to when everything was told, by market, where the exchange itself does not say so: frames come in order, so that
    /// it is what the newest event says; where nothing happens, a heartbeat says so after a while, since it may have been
    /// long on its way.
    pub(super) fn heard_until(&self, there: Timestamp) -> HashMap<Symbol, Timestamp> {
        let heard = |at: Timestamp| {
            let at = self.at_exchange(at, there);
            at.min(self.newest_event).max(at - LATE_CLOSE)
        };
        self.connections.heard_until(Channel::Candles, heard)
    }

    /// Ends the collection when the clock was set or the machine slept: what came meanwhile, and when, is not known. The
    /// next collector has an epoch of its own, which is a gap to all who listen, and repairs what was missed.
    pub(super) fn follow_clock(&mut self) -> Result<(), CollectError> {
        let drift = self.duties.shared.clock.drift();
        let jump = Duration::from_millis(drift.abs_diff(self.drift));
        self.drift = drift;
        if jump < CLOCK_JUMP {
            return Ok(());
        }
        ClockJumped { exchange: self.duties.exchange.id(), jump }.emit();
        Err(CollectError::ClockJumped(jump))
    }
}
