//! What the hub and its streams tell.

use metrics::{counter, gauge};

use crate::model::{Channel, GapReason};

/// A topic is listened to: `candlewick_hub_topics{channel}`.
pub struct RoomOpened {
    pub channel: Channel,
}

impl RoomOpened {
    pub fn emit(&self) {
        gauge!("candlewick_hub_topics", "channel" => self.channel.as_str()).increment(1.0);
    }
}

/// A topic is listened to no longer.
pub struct RoomClosed {
    pub channel: Channel,
}

impl RoomClosed {
    pub fn emit(&self) {
        gauge!("candlewick_hub_topics", "channel" => self.channel.as_str()).decrement(1.0);
    }
}

/// Numbers of a topic were missed on the way here: `candlewick_hub_gaps_total{channel,reason}`.
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

/// A client was too slow for some frames of a topic: `candlewick_stream_missed_total{channel}`. Of trades and candles it is
/// told of them.
pub struct FramesMissed {
    pub channel: Channel,
    pub frames: u64,
}

impl FramesMissed {
    pub fn emit(&self) {
        counter!("candlewick_stream_missed_total", "channel" => self.channel.as_str()).increment(self.frames);
    }
}

/// How many topics clients are subscribed to, counted while it lives: `candlewick_stream_subscriptions{door}`.
pub struct Subscriptions {
    door: &'static str,
    count: usize,
}

impl Subscriptions {
    #[must_use]
    pub const fn new(door: &'static str) -> Self {
        Self { door, count: 0 }
    }

    pub fn set(&mut self, count: usize) {
        if count != self.count {
            let gauge = gauge!("candlewick_stream_subscriptions", "door" => self.door);
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

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A client was cut off because it did not keep the rules: `candlewick_stream_evictions_total{reason}`.
pub struct ClientEvicted {
    /// `slow` or `flood`.
    pub reason: &'static str,
}

impl ClientEvicted {
    pub fn emit(&self) {
        counter!("candlewick_stream_evictions_total", "reason" => self.reason).increment(1);
        tracing::debug!(reason = self.reason, "a client was cut off");
    }
}
