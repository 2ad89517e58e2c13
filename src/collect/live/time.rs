//! Exchange time, silent connections and clock jumps, as checked by the loop of a collector.

use std::collections::HashMap;
use std::time::Duration;

use super::super::error::CollectError;
use super::super::finalizer::CLOSE_TIMEOUT;
use super::{Collector, minute_series};
use crate::cache::CacheError;
use crate::clock::CLOCK_JUMP;
use crate::model::{Channel, Gap, GapReason, Symbol, TimeRange, Timestamp, Topic};
use crate::telemetry::collect::{ClockJumped, EventRejected};

/// Maximum distance of an event time from the exchange's clock, into the future and into the past.
const MAX_EVENT_AHEAD: Duration = Duration::from_mins(1);
const MAX_EVENT_AGE: Duration = Duration::from_hours(24 * 365);

impl Collector<'_> {
    /// Lower bound of the exchange's clock.
    pub(super) fn exchange_now(&self) -> Timestamp {
        self.rest.exchange_clock().now()
    }

    /// Upper bound of the exchange's clock.
    pub(super) fn exchange_latest(&self) -> Timestamp {
        self.rest.exchange_clock().latest()
    }

    /// Converts local time `at` to exchange time, if exchange time is `exchange_now` now.
    pub(super) fn at_exchange(&self, at: Timestamp, exchange_now: Timestamp) -> Timestamp {
        Timestamp::from_millis(exchange_now.millis().saturating_sub(self.now().millis()).saturating_add(at.millis()))
    }

    /// Whether an event may have this exchange time. Rejected events are counted in the metrics.
    pub(super) fn is_plausible(&mut self, at: Timestamp, channel: Channel) -> bool {
        let latest = self.exchange_latest();
        let is_plausible = at <= latest + MAX_EVENT_AHEAD && at >= latest - MAX_EVENT_AGE;
        if is_plausible {
            self.rest.exchange_clock().record_event_time(at);
            self.newest_event_time = self.newest_event_time.max(at);
        } else {
            EventRejected { exchange: self.spec.exchange.id(), channel, at }.emit();
        }
        is_plausible
    }

    /// The connection of a market's candles, which has heartbeats, received a message at `at`. Reports a gap if it was
    /// silent for too long before.
    pub(super) async fn check_silence(&mut self, symbol: &Symbol, at: Timestamp) -> Result<(), CacheError> {
        let latest = self.exchange_latest();
        let Some(market) = self.markets.get_mut(symbol) else { return Ok(()) };
        let Some(before) = market.silence.on_message(at) else { return Ok(()) };
        // A second later: the estimate of the exchange's time may have changed since the message before.
        let since = self.at_exchange(before, latest) + Duration::from_secs(1);
        let Some(market) = self.markets.get_mut(symbol) else { return Ok(()) };
        if !market.finalizer.stream_interrupted(since, latest) {
            // The connection was lost meanwhile, which has reported its own gap.
            return Ok(());
        }
        let exchange = self.spec.exchange.id();
        let topics =
            vec![Topic::Candles(minute_series(&market.instrument)), Topic::Trades { exchange, symbol: symbol.clone() }];
        self.handle_gap(Gap {
            exchange,
            topics,
            missed: TimeRange::new(before, at),
            reason: GapReason::UpstreamDisconnect,
        })
        .await
    }

    /// By market: everything before this time has been received, if the exchange does not report such a time itself.
    /// Messages arrive in order, so this is the time of the newest event, but no more than [`CLOSE_TIMEOUT`] before the
    /// last message: a heartbeat is not delayed longer.
    pub(super) fn received_until(&self, exchange_now: Timestamp) -> HashMap<Symbol, Timestamp> {
        let exchange_time = |at: Timestamp| {
            let at = self.at_exchange(at, exchange_now);
            at.min(self.newest_event_time).max(at - CLOSE_TIMEOUT)
        };
        self.connections.received_until(Channel::Candles, exchange_time)
    }

    /// Ends the collector if the clock was set or the machine was suspended: it is unknown what arrived meanwhile, and
    /// when. The next collector has a new epoch, which is a gap for all subscribers, and repairs the missed candles.
    pub(super) fn check_clock_jump(&mut self) -> Result<(), CollectError> {
        let clock_drift = self.spec.context.clock.drift();
        let jump = Duration::from_millis(clock_drift.abs_diff(self.clock_drift));
        self.clock_drift = clock_drift;
        if jump < CLOCK_JUMP {
            return Ok(());
        }
        ClockJumped { exchange: self.spec.exchange.id(), jump }.emit();
        Err(CollectError::ClockJumped(jump))
    }
}
