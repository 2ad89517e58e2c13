//! Telemetry of the connections and requests to exchanges.

use std::time::Duration;

use metrics::{counter, histogram};

use crate::model::{ExchangeId, Timestamp};

/// A REST request completed. `status` is `None` if there was no response.
pub struct RestCalled<'a> {
    pub exchange: ExchangeId,
    pub path: &'a str,
    pub status: Option<u16>,
    pub took: Duration,
}

impl RestCalled<'_> {
    pub fn emit(self) {
        let (exchange, class) = (self.exchange.as_str(), class(self.status));
        tracing::debug!(exchange, path = self.path, status = self.status, took = ?self.took, "request completed");
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

/// A REST request is retried.
pub struct RestRetried<'a> {
    pub exchange: ExchangeId,
    pub path: &'a str,
    pub error: &'a dyn std::error::Error,
    pub after: Duration,
}

impl RestRetried<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        tracing::debug!(exchange, path = self.path, error = %self.error, after = ?self.after, "retrying request");
        counter!("candlewick_upstream_retries_total", "exchange" => exchange).increment(1);
    }
}

/// The exchange demanded a pause: no requests are sent in this scope until then.
pub struct BreakerOpened {
    pub exchange: ExchangeId,
    pub scope: &'static str,
    pub until: Timestamp,
}

impl BreakerOpened {
    pub fn emit(self) {
        let (exchange, scope) = (self.exchange.as_str(), self.scope);
        tracing::warn!(exchange, scope, until = %self.until, "rate limited by the exchange, pausing requests");
        counter!("candlewick_upstream_breaker_opened_total", "exchange" => exchange, "scope" => scope).increment(1);
    }
}

/// An origin denies access from this region.
pub struct RegionBlocked<'a> {
    pub exchange: ExchangeId,
    pub origin: &'a str,
    pub status: u16,
}

impl RegionBlocked<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        tracing::warn!(exchange, origin = self.origin, status = self.status, "origin closed to this region");
        counter!("candlewick_upstream_region_closed_total", "exchange" => exchange).increment(1);
    }
}

/// A WebSocket connection was opened.
pub struct ConnectionOpened<'a> {
    pub exchange: ExchangeId,
    pub connection: &'a str,
    pub origin: &'a str,
    pub subscriptions: usize,
}

impl ConnectionOpened<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        let (connection, origin, subscriptions) = (self.connection, self.origin, self.subscriptions);
        tracing::info!(exchange, connection, origin, subscriptions, "connected");
        counter!("candlewick_upstream_connects_total", "exchange" => exchange).increment(1);
    }
}

/// A WebSocket connection could not be opened.
pub struct ConnectionFailed<'a> {
    pub exchange: ExchangeId,
    pub connection: &'a str,
    pub error: &'a str,
    pub retry_after: Duration,
}

impl ConnectionFailed<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        let (connection, error) = (self.connection, self.error);
        tracing::warn!(exchange, connection, error, retry_after = ?self.retry_after, "could not connect");
        counter!("candlewick_upstream_dial_failures_total", "exchange" => exchange).increment(1);
    }
}

/// A WebSocket connection was lost.
pub struct ConnectionLost<'a> {
    pub exchange: ExchangeId,
    pub connection: &'a str,
    pub reason: &'a str,
    /// Time of the last received frame.
    pub since: Timestamp,
    /// Whether another connection has its subscriptions.
    pub replaced: bool,
}

impl ConnectionLost<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        let (connection, reason) = (self.connection, self.reason);
        if self.replaced {
            tracing::info!(exchange, connection, reason, "connection ended, another one has its subscriptions");
        } else {
            tracing::warn!(exchange, connection, reason, since = %self.since, "connection lost");
        }
        counter!("candlewick_upstream_losses_total", "exchange" => exchange).increment(1);
    }
}

/// A WebSocket connection is open, but receives nothing.
pub struct ConnectionStale<'a> {
    pub exchange: ExchangeId,
    pub connection: &'a str,
    pub silent_for: Duration,
}

impl ConnectionStale<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        let (connection, silent_for) = (self.connection, self.silent_for);
        tracing::warn!(exchange, connection, ?silent_for, "connected, but nothing received");
        counter!("candlewick_upstream_stale_total", "exchange" => exchange).increment(1);
    }
}

/// A connection was replaced before the exchange closes it, or the attempt failed.
pub struct ConnectionRotated<'a> {
    pub exchange: ExchangeId,
    pub connection: &'a str,
    /// Whether the new connection took over. After an error the old connection remains in use.
    pub outcome: Result<(), &'a str>,
}

impl ConnectionRotated<'_> {
    pub fn emit(self) {
        let (exchange, connection) = (self.exchange.as_str(), self.connection);
        let outcome = match self.outcome {
            Ok(()) => {
                tracing::info!(exchange, connection, "new connection took over");
                "ok"
            }
            Err(error) => {
                tracing::warn!(exchange, connection, error, "could not replace the connection, will retry");
                "failed"
            }
        };
        counter!("candlewick_upstream_rotations_total", "exchange" => exchange, "outcome" => outcome).increment(1);
    }
}

/// Data frames were received.
pub struct FramesReceived {
    pub exchange: ExchangeId,
    pub frames: u64,
}

impl FramesReceived {
    pub fn emit(self) {
        counter!("candlewick_upstream_frames_total", "exchange" => self.exchange.as_str()).increment(self.frames);
    }
}

/// A frame could not be parsed or contained an invalid row, and was skipped.
pub struct FrameSkipped<'a> {
    pub exchange: ExchangeId,
    pub connection: &'a str,
    pub error: &'a str,
    /// Number of frames skipped since the last log line; `None` does not log this frame either.
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

/// The exchange rejected a subscription.
pub struct SubscriptionRejected<'a> {
    pub exchange: ExchangeId,
    pub channel: &'static str,
    pub symbol: &'a str,
    pub reason: &'a str,
}

impl SubscriptionRejected<'_> {
    pub fn emit(self) {
        let (exchange, channel) = (self.exchange.as_str(), self.channel);
        tracing::warn!(exchange, channel, symbol = self.symbol, reason = self.reason, "subscription rejected");
        counter!("candlewick_upstream_refusals_total", "exchange" => exchange, "channel" => channel).increment(1);
    }
}

/// A connection ended with a permanent error and is not reopened.
pub struct ConnectionGivenUp<'a> {
    pub exchange: ExchangeId,
    pub connection: &'a str,
    pub reason: &'a str,
}

impl ConnectionGivenUp<'_> {
    pub fn emit(self) {
        let exchange = self.exchange.as_str();
        tracing::error!(exchange, connection = self.connection, reason = self.reason, "connection ended permanently");
        counter!("candlewick_upstream_given_up_total", "exchange" => exchange).increment(1);
    }
}
