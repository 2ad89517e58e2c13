//! Event bus within one process.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use parking_lot::RwLock;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::cache::{BusEvent, BusEventKind, BusSubscription, CacheError, EventBus};
use crate::model::{GapReason, Topic};

/// How many events a subscriber may fall behind before it misses some.
const CAPACITY: usize = 256;

type Topics = RwLock<HashMap<Topic, broadcast::Sender<BusEvent>>>;

/// One broadcast channel per topic with subscribers.
#[derive(Default)]
pub struct MemoryBus(Arc<Topics>);

#[async_trait]
impl EventBus for MemoryBus {
    async fn publish(&self, topic: &Topic, event: BusEvent) -> Result<(), CacheError> {
        if let Some(channel) = self.0.read().get(topic) {
            // Fails only while the last subscriber is being dropped.
            let _ = channel.send(event);
        }
        Ok(())
    }

    async fn subscribe(&self, topic: &Topic) -> Result<Box<dyn BusSubscription>, CacheError> {
        let mut topics = self.0.write();
        let channel = topics.entry(topic.clone()).or_insert_with(|| broadcast::Sender::new(CAPACITY));
        let subscription = Subscription {
            topic: topic.clone(),
            topics: Arc::downgrade(&self.0),
            events: Some(channel.subscribe()),
            missed: false,
            after_gap: None,
        };
        Ok(Box::new(subscription))
    }
}

struct Subscription {
    topic: Topic,
    topics: Weak<Topics>,
    /// `None` only while it is dropped.
    events: Option<broadcast::Receiver<BusEvent>>,
    /// Events were missed and the gap is not reported yet. Stored here, so that [`BusSubscription::next`] is
    /// cancel-safe.
    missed: bool,
    /// The event after a reported gap.
    after_gap: Option<BusEvent>,
}

#[async_trait]
impl BusSubscription for Subscription {
    async fn next(&mut self) -> Option<BusEvent> {
        if let Some(event) = self.after_gap.take() {
            return Some(event);
        }
        loop {
            match self.events.as_mut()?.recv().await {
                Ok(event) if self.missed => {
                    self.missed = false;
                    let kind = BusEventKind::Gap(GapReason::SlowClient);
                    let gap = BusEvent { epoch: Arc::clone(&event.epoch), seq: event.seq, kind };
                    self.after_gap = Some(event);
                    return Some(gap);
                }
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(_)) => self.missed = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// Removes the topic with its last subscriber.
impl Drop for Subscription {
    fn drop(&mut self) {
        self.events = None;
        let Some(topics) = self.topics.upgrade() else { return };
        let mut topics = topics.write();
        if topics.get(&self.topic).is_some_and(|channel| channel.receiver_count() == 0) {
            topics.remove(&self.topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ExchangeId;

    #[tokio::test]
    async fn topic_is_removed_with_its_last_subscriber() {
        let bus = MemoryBus::default();
        let topic = Topic::Ticker { exchange: ExchangeId::KRAKEN, symbol: "BTC/USD".parse().unwrap() };
        let (one, two) = (bus.subscribe(&topic).await.unwrap(), bus.subscribe(&topic).await.unwrap());
        drop(one);
        assert_eq!(bus.0.read().len(), 1);
        drop(two);
        assert_eq!(bus.0.read().len(), 0);
    }
}
