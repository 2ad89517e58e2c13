//! What the room `upstream` tells.

use std::time::Duration;

use metrics::{counter, histogram};

use crate::model::{ExchangeId, Timestamp};

/// A REST request was answered, or was not. `status` is `2xx`, `4xx`, … or `none`.
pub struct RestCalled<'a> {
    pub exchange: ExchangeId,
    pub path: &'a str,
    pub status: Option<u16>,
    pub took: Duration,
}

impl RestCalled<'_> {
    pub fn emit(self) {
        let (exchange, class) = (self.exchange.as_str(), class(self.status));
        tracing::debug!(exchange, path = self.path, status = self.status, took = ?self.took, "request answered");
        counter!("candlewick_upstream_requests_total", "exchange" => exchange, "status" => class).increment(1);
        histogram!("candlewick_upstream_request_seconds", "exchange" => exchange).record(self.took.as_secs_f64());
    }
}

const fn class(status: Option<u16>) -> &'static str {
    match status {
        Some(100..200) => "1xx",
        Some(200..300) => "2xx",
        Some(300..400) => "3xx",
        Some(400..500) => "4xx",
        Some(_) => "5xx",
        None => "none",
    }
}

/// A REST request is sent again.
pub struct RestRetried<'a> {
    pub exchange: ExchangeId,
    pub path: &'a str,
    pub error: &'a dyn std::error::Error,
    pub after: Duration,
}

impl RestRetried<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        tracing::debug!(exchange, path = self.path, error = %self.error, after = ?self.after, "request is tried again");
        counter!("candlewick_upstream_retries_total", "exchange" => exchange).increment(1);
    }
}

/// The exchange said to stay away: nothing is sent in this scope until then.
pub struct BreakerOpened {
    pub exchange: ExchangeId,
    pub scope: &'static str,
    pub until: Timestamp,
}

impl BreakerOpened {
    pub fn emit(self) {
        let (exchange, scope) = (self.exchange.as_str(), self.scope);
        tracing::warn!(exchange, scope, until = %self.until, "rate limited by the exchange: requests are held back");
        counter!("candlewick_upstream_breaker_opened_total", "exchange" => exchange, "scope" => scope).increment(1);
    }
}

/// An origin refuses this region.
pub struct RegionClosed<'a> {
    pub exchange: ExchangeId,
    pub origin: &'a str,
    pub status: u16,
}

impl RegionClosed<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        tracing::warn!(exchange, origin = self.origin, status = self.status, "this origin is closed to this region");
        counter!("candlewick_upstream_region_closed_total", "exchange" => exchange).increment(1);
    }
}

/// A WebSocket connection stands.
pub struct FeedConnected<'a> {
    pub exchange: ExchangeId,
    pub connection: &'a str,
    pub origin: &'a str,
    pub subscriptions: usize,
}

impl FeedConnected<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        let (connection, origin, subscriptions) = (self.connection, self.origin, self.subscriptions);
        tracing::info!(exchange, connection, origin, subscriptions, "connected");
        counter!("candlewick_upstream_connects_total", "exchange" => exchange).increment(1);
    }
}

/// A WebSocket connection could not be opened.
pub struct FeedDialFailed<'a> {
    pub exchange: ExchangeId,
    pub connection: &'a str,
    pub error: &'a str,
    pub retry_after: Duration,
}

impl FeedDialFailed<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        let (connection, error) = (self.connection, self.error);
        tracing::warn!(exchange, connection, error, retry_after = ?self.retry_after, "could not connect");
        counter!("candlewick_upstream_dial_failures_total", "exchange" => exchange).increment(1);
    }
}

/// A WebSocket connection broke.
pub struct FeedLost<'a> {
    pub exchange: ExchangeId,
    pub connection: &'a str,
    pub reason: &'a str,
    /// The last frame before.
    pub since: Timestamp,
    /// Whether another connection goes on with its subscriptions.
    pub replaced: bool,
}

impl FeedLost<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        let (connection, reason) = (self.connection, self.reason);
        if self.replaced {
            tracing::info!(exchange, connection, reason, "one of two connections ended");
        } else {
            tracing::warn!(exchange, connection, reason, since = %self.since, "connection lost");
        }
        counter!("candlewick_upstream_losses_total", "exchange" => exchange).increment(1);
    }
}

/// A WebSocket connection is there, but nothing comes over it.
pub struct FeedStale<'a> {
    pub exchange: ExchangeId,
    pub connection: &'a str,
    pub silent_for: Duration,
}

impl FeedStale<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        tracing::warn!(exchange, connection = self.connection, silent_for = ?self.silent_for, "connected, but silent");
        counter!("candlewick_upstream_stale_total", "exchange" => exchange).increment(1);
    }
}

/// A connection is replaced before the exchange cuts it.
pub struct FeedRotated<'a> {
    pub exchange: ExchangeId,
    pub connection: &'a str,
    /// Whether the new connection took over; if not, the old one is kept.
    pub outcome: Result<(), &'a str>,
}

impl FeedRotated<'_> {
    pub fn emit(self) {
        let (exchange, connection) = (self.exchange.as_str(), self.connection);
        let outcome = match self.outcome {
            Ok(()) => {
                tracing::info!(exchange, connection, "a new connection took over");
                "ok"
            }
            Err(error) => {
                tracing::warn!(exchange, connection, error, "no new connection could take over yet");
                "failed"
            }
        };
        counter!("candlewick_upstream_rotations_total", "exchange" => exchange, "outcome" => outcome).increment(1);
    }
}

/// Data frames came in.
pub struct FramesReceived {
    pub exchange: ExchangeId,
    pub frames: u64,
}

impl FramesReceived {
    pub fn emit(self) {
        counter!("candlewick_upstream_frames_total", "exchange" => self.exchange.as_str()).increment(self.frames);
    }
}

/// A frame meant nothing and was left out.
pub struct FrameSkipped<'a> {
    pub exchange: ExchangeId,
    pub connection: &'a str,
    pub error: &'a str,
    /// How many were left out without a line in the log; `None` leaves this one out of it too.
    pub unlogged: Option<u64>,
}

impl FrameSkipped<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        if let Some(unlogged) = self.unlogged {
            tracing::warn!(exchange, connection = self.connection, error = self.error, unlogged, "frame skipped");
        }
        counter!("candlewick_upstream_frames_skipped_total", "exchange" => exchange).increment(1);
    }
}

/// The exchange refuses a subscription.
pub struct SubscriptionRefused<'a> {
    pub exchange: ExchangeId,
    pub channel: &'static str,
    pub symbol: &'a str,
    pub reason: &'a str,
}

impl SubscriptionRefused<'_> {
    pub fn emit(self) {
        let (exchange, channel) = (self.exchange.as_str(), self.channel);
        tracing::warn!(exchange, channel, symbol = self.symbol, reason = self.reason, "subscription refused");
        counter!("candlewick_upstream_refusals_total", "exchange" => exchange, "channel" => channel).increment(1);
    }
}

/// A connection ended for good.
pub struct FeedGaveUp<'a> {
    pub exchange: ExchangeId,
    pub connection: &'a str,
    pub reason: &'a str,
}

impl FeedGaveUp<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        tracing::error!(exchange, connection = self.connection, reason = self.reason, "connection given up");
        counter!("candlewick_upstream_given_up_total", "exchange" => exchange).increment(1);
    }
}
