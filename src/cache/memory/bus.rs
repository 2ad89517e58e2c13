//! Events from collectors to hubs, by topic.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use parking_lot::RwLock;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::cache::{BusEvent, BusEventKind, BusListener, CacheError, EventBus};
use crate::model::{GapReason, Topic};

/// How many events a listener may fall behind before it misses some.
const BACKLOG: usize = 256;

type Topics = RwLock<HashMap<Topic, broadcast::Sender<BusEvent>>>;

/// A ring for each topic that someone listens to.
#[derive(Default)]
pub struct Bus(Arc<Topics>);

#[async_trait]
impl EventBus for Bus {
    async fn publish(&self, topic: &Topic, event: BusEvent) -> Result<(), CacheError> {
        if let Some(ring) = self.0.read().get(topic) {
            // Fails only where the last listener is just leaving.
            let _ = ring.send(event);
        }
        Ok(())
    }

    async fn subscribe(&self, topic: &Topic) -> Result<Box<dyn BusListener>, CacheError> {
        let mut topics = self.0.write();
        let ring = topics.entry(topic.clone()).or_insert_with(|| broadcast::Sender::new(BACKLOG));
        let listener = Listener {
            topic: topic.clone(),
            topics: Arc::downgrade(&self.0),
            events: Some(ring.subscribe()),
            missed: false,
            held: None,
        };
        Ok(Box::new(listener))
    }
}

struct Listener {
    topic: Topic,
    topics: Weak<Topics>,
    /// Taken only when it is dropped.
    events: Option<broadcast::Receiver<BusEvent>>,
    /// Events were lost and the gap was not yet told. Kept here, so that [`BusListener::next`] may be cancelled.
    missed: bool,
    /// The event after a gap that was told.
    held: Option<BusEvent>,
}

#[async_trait]
impl BusListener for Listener {
    async fn next(&mut self) -> Option<BusEvent> {
        if let Some(event) = self.held.take() {
            return Some(event);
        }
        loop {
            match self.events.as_mut()?.recv().await {
                Ok(event) if self.missed => {
                    self.missed = false;
                    let kind = BusEventKind::Gap(GapReason::SlowClient);
                    let gap = BusEvent { epoch: Arc::clone(&event.epoch), seq: event.seq, kind };
                    self.held = Some(event);
                    return Some(gap);
                }
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(_)) => self.missed = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// A topic without listeners costs nothing.
impl Drop for Listener {
    fn drop(&mut self) {
        self.events = None;
        let Some(topics) = self.topics.upgrade() else { return };
        let mut topics = topics.write();
        if topics.get(&self.topic).is_some_and(|ring| ring.receiver_count() == 0) {
            topics.remove(&self.topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ExchangeId;

    #[tokio::test]
    async fn topics_without_listeners_are_forgotten() {
        let bus = Bus::default();
        let topic = Topic::Ticker { exchange: ExchangeId::Kraken, symbol: "BTC/USD".parse().unwrap() };
        let (one, two) = (bus.subscribe(&topic).await.unwrap(), bus.subscribe(&topic).await.unwrap());
        drop(one);
        assert_eq!(bus.0.read().len(), 1);
        drop(two);
        assert_eq!(bus.0.read().len(), 0);
    }
}
