//! Telemetry of the hub and of client streams.

use metrics::{counter, gauge};

use crate::model::{Channel, GapReason};

/// A topic was subscribed to: `candlewick_hub_topics{channel}`.
pub struct TopicOpened {
    pub channel: Channel,
}

impl TopicOpened {
    pub fn emit(&self) {
        gauge!("candlewick_hub_topics", "channel" => self.channel.as_str()).increment(1.0);
    }
}

/// A topic is no longer subscribed to.
pub struct TopicClosed {
    pub channel: Channel,
}

impl TopicClosed {
    pub fn emit(&self) {
        gauge!("candlewick_hub_topics", "channel" => self.channel.as_str()).decrement(1.0);
    }
}

/// This replica missed sequence numbers of a topic: `candlewick_hub_gaps_total{channel,reason}`.
pub struct TopicGap {
    pub channel: Channel,
    pub reason: GapReason,
}

impl TopicGap {
    pub fn emit(&self) {
        let (channel, reason) = (self.channel.as_str(), self.reason.as_str());
        counter!("candlewick_hub_gaps_total", "channel" => channel, "reason" => reason).increment(1);
    }
}

/// A slow client missed frames of a topic: `candlewick_stream_missed_total{channel}`. For trades and candles it
/// receives a gap.
pub struct FramesMissed {
    pub channel: Channel,
    pub frames: u64,
}

impl FramesMissed {
    pub fn emit(&self) {
        counter!("candlewick_stream_missed_total", "channel" => self.channel.as_str()).increment(self.frames);
    }
}

/// Counts the subscribed topics of one client until it is dropped: `candlewick_stream_subscriptions{door}`.
pub struct SubscriptionGauge {
    endpoint: &'static str,
    count: usize,
}

impl SubscriptionGauge {
    #[must_use]
    pub const fn new(endpoint: &'static str) -> Self {
        Self { endpoint, count: 0 }
    }

    pub fn set(&mut self, count: usize) {
        if count != self.count {
            let gauge = gauge!("candlewick_stream_subscriptions", "door" => self.endpoint);
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; these counts are small")]
            if count > self.count {
                gauge.increment((count - self.count) as f64);
            } else {
                gauge.decrement((self.count - count) as f64);
            }
            self.count = count;
        }
    }
}

impl Drop for SubscriptionGauge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A client was disconnected because it exceeded a limit: `candlewick_stream_evictions_total{reason}`.
pub struct ClientEvicted {
    /// `slow` or `flood`.
    pub reason: &'static str,
}

impl ClientEvicted {
    pub fn emit(&self) {
        counter!("candlewick_stream_evictions_total", "reason" => self.reason).increment(1);
        tracing::debug!(reason = self.reason, "client disconnected");
    }
}
