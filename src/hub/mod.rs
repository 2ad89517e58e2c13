//! Fans events of the bus out to the subscribers of this replica.
//!
//! Each subscribed topic has a topic buffer: one bus subscription and a ring buffer of recent frames. An event arrives
//! encoded and with a sequence number. It is framed once, pushed to the ring buffer, and the subscribers are woken.
//! Each client reads the ring buffers of its topics at its own pace ([`Subscriber`]), so a slow client neither blocks
//! others nor has a queue of its own.
//!
//! A topic buffer stays for [`HubConfig::linger`] after its last subscription is closed, so that a client can resume
//! after a reconnect. While the topic buffer exists, the hub registers demand for its market
//! ([`crate::cache::Demand`]).

mod exchange_states;
mod frame;
mod ring;
mod subscriber;
mod topic_buffer;

pub use exchange_states::ExchangeStateWatcher;
pub use frame::{Frame, MissedRange, SequenceId, put_text_frame};
pub use ring::RingLimits;
pub use subscriber::{SlotId, Subscriber};
pub use topic_buffer::{Subscription, TopicHandle};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::topic_buffer::TopicBuffer;
use crate::cache::{BusSubscription, Cache, Demand, EventBus};
use crate::clock::Clock;
use crate::lifecycle::restart_on_panic;
use crate::model::Topic;
use crate::telemetry::hub::{TopicClosed, TopicOpened};

/// How long [`Hub::subscribe`] waits for the bus. A bus that takes longer is down; its recovery is a gap in the stream.
const BUS_TIMEOUT: Duration = Duration::from_secs(1);

/// Backoff between attempts to subscribe to the bus: initial and maximum delay, doubled in between.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Maximum interval at which the demand for a subscribed market is renewed.
const DEMAND_INTERVAL: Duration = Duration::from_secs(10);

/// Limits of the hub.
#[derive(Clone, Copy, Debug)]
pub struct HubConfig {
    /// Ring buffer of each topic, for slow clients and for resuming ones.
    pub ring: RingLimits,
    /// How long a topic and the demand for its market stay after the last subscription is closed.
    pub linger: Duration,
    /// Maximum number of open topics, including lingering ones.
    pub max_topics: usize,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            ring: RingLimits { frames: 1_024, bytes: 256 * 1024 },
            linger: Duration::from_mins(1),
            max_topics: 20_000,
        }
    }
}

/// The maximum number of topics is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many open topics on this replica")]
pub struct HubFull;

/// Publishes events of the bus to the subscribers of this replica.
pub struct Hub {
    bus: Arc<dyn EventBus>,
    demand: Arc<dyn Demand>,
    exchange_states: Arc<ExchangeStateWatcher>,
    clock: Clock,
    config: HubConfig,
    topic_buffers: Mutex<HashMap<Topic, Arc<TopicBuffer>>>,
}

impl Hub {
    /// A hub on the event bus of `cache`.
    #[must_use]
    pub fn new(cache: &Cache, clock: Clock, config: HubConfig) -> Arc<Self> {
        Arc::new(Self {
            bus: Arc::clone(&cache.bus),
            demand: Arc::clone(&cache.demand),
            exchange_states: ExchangeStateWatcher::new(Arc::clone(&cache.states), clock.clone()),
            clock,
            config,
            topic_buffers: Mutex::default(),
        })
    }

    /// A client without topics yet.
    #[must_use]
    pub fn subscriber(&self) -> Subscriber {
        Subscriber::new(self.clock.clone())
    }

    /// Watches the states of the exchanges.
    #[must_use]
    pub fn exchange_states(&self) -> &Arc<ExchangeStateWatcher> {
        &self.exchange_states
    }

    /// Subscribes to a topic. When this returns, the bus subscription is active (or the bus is down), so that a
    /// snapshot taken afterwards is not older than the first event.
    ///
    /// # Errors
    /// [`HubFull`].
    pub async fn subscribe(self: &Arc<Self>, topic: &Topic) -> Result<Subscription, HubFull> {
        let subscription = self.open(topic)?;
        let mut listening = subscription.0.listening.subscribe();
        let _ = self.clock.timeout(BUS_TIMEOUT, listening.wait_for(|listening| *listening)).await;
        Ok(subscription)
    }

    /// Number of open topics.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topic_buffers.lock().len()
    }

    fn open(self: &Arc<Self>, topic: &Topic) -> Result<Subscription, HubFull> {
        let mut topic_buffers = self.topic_buffers.lock();
        if let Some(buffer) = topic_buffers.get(topic) {
            return Ok(Subscription::new(buffer));
        }
        if topic_buffers.len() >= self.config.max_topics {
            return Err(HubFull);
        }
        let buffer = TopicBuffer::new(topic.clone(), self.config.ring);
        let subscription = Subscription::new(&buffer);
        topic_buffers.insert(topic.clone(), Arc::clone(&buffer));
        TopicOpened { channel: topic.channel() }.emit();
        let hub = Arc::clone(self);
        tokio::spawn(async move {
            let mut restarted = false;
            restart_on_panic("topic", &hub.clock.clone(), || {
                let (hub, buffer) = (Arc::clone(&hub), Arc::clone(&buffer));
                hub.run_topic(buffer, std::mem::replace(&mut restarted, true))
            })
            .await;
        });
        Ok(subscription)
    }

    /// Runs a topic until it was unused for the linger time. `events_lost` is true if its task was restarted after a
    /// panic.
    async fn run_topic(self: Arc<Self>, buffer: Arc<TopicBuffer>, events_lost: bool) {
        if events_lost {
            buffer.demand_changed.notify_one();
        }
        tokio::select! {
            () = self.listen(&buffer, events_lost) => {}
            () = self.maintain_demand(&buffer) => {}
        }
    }

    /// Renews the demand for the market while there are subscriptions. Closes the topic and ends when it was unused for
    /// the linger time.
    async fn maintain_demand(&self, buffer: &TopicBuffer) {
        let linger = self.config.linger;
        let mut unused_since = None;
        // The first subscription is open.
        buffer.demand_changed.notified().await;
        loop {
            let now = self.clock.elapsed();
            let was_unused = unused_since.is_some();
            unused_since = if buffer.is_unused() { unused_since.or(Some(now)) } else { None };
            let delay = match unused_since {
                None => DEMAND_INTERVAL.min(linger / 3),
                Some(at) => (at + linger).saturating_sub(now),
            };
            if delay.is_zero() {
                let mut topic_buffers = self.topic_buffers.lock();
                // A subscription may have been opened meanwhile; the lock blocks new ones during this check.
                if buffer.is_unused() {
                    topic_buffers.remove(&buffer.topic);
                    TopicClosed { channel: buffer.topic.channel() }.emit();
                    return;
                }
                continue;
            }
            // The demand is renewed a last time when the last subscription is closed. An error is ignored: the next
            // renewal is soon.
            if !(was_unused && unused_since.is_some()) {
                let _ = self.demand.add(buffer.topic.exchange(), buffer.topic.symbol(), linger).await;
            }
            tokio::select! {
                () = self.clock.sleep(delay) => {}
                () = buffer.demand_changed.notified() => {}
            }
        }
    }

    /// Receives the events of a topic and resubscribes after errors. Every interruption adds a gap. Runs until
    /// cancelled.
    async fn listen(&self, buffer: &TopicBuffer, mut events_lost: bool) {
        let (mut delay, longest) = RETRY_DELAYS;
        loop {
            match self.bus.subscribe(&buffer.topic).await {
                Ok(mut listener) => {
                    delay = RETRY_DELAYS.0;
                    if std::mem::take(&mut events_lost) {
                        buffer.mark_lost();
                    }
                    buffer.listening.send_replace(true);
                    receive_events(&mut *listener, buffer).await;
                }
                Err(error) => {
                    tracing::warn!(topic = %buffer.topic, %error, "cannot subscribe to the event bus: retrying");
                }
            }
            events_lost = true;
            self.clock.sleep(delay / 2 + self.clock.jitter(delay / 2)).await;
            delay = (delay * 2).min(longest);
        }
    }
}

/// Forwards events until the bus subscription ends.
async fn receive_events(listener: &mut dyn BusSubscription, buffer: &TopicBuffer) {
    while let Some(event) = listener.next().await {
        buffer.receive(&event);
    }
}

#[cfg(test)]
mod tests;
