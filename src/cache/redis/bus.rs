//! Event bus: events reach subscribers in this process directly, and those in other replicas over Redis.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use fred::interfaces::{EventInterface, PubsubInterface};
use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};

use super::codec;
use super::link::{Message, RedisLink};
use super::ownership::LocalOwnership;
use super::send_queue::{Op, SendQueue};
use crate::cache::memory::bus::MemoryBus;
use crate::cache::{BusEvent, BusEventKind, BusSubscription, CacheError, EventBus, epoch_token};
use crate::clock::Clock;
use crate::model::{Channel, GapReason, Topic};

/// How many of its own epochs a process remembers.
const MAX_OWN_EPOCHS: usize = 64;

/// Maximum number of channels in one command.
const MAX_CHANNELS: usize = 512;

/// How long a subscriber waits until its Redis subscription is active. After that it starts without, and gets a gap
/// when the subscription becomes active.
const SUBSCRIBE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

/// The bus of one replica.
pub(super) struct RedisBus(Arc<Inner>);

struct Inner {
    local: MemoryBus,
    link: Arc<RedisLink>,
    outgoing: Arc<SendQueue>,
    ownership: Arc<LocalOwnership>,
    /// Topics with subscribers in this process, by channel.
    topics: Mutex<HashMap<String, TopicState>>,
    /// Channels to subscribe to or to unsubscribe from.
    changed: Mutex<HashSet<String>>,
    wake: Notify,
    /// Epochs of this process: their events are already delivered, so those from Redis are dropped.
    own_epochs: RwLock<VecDeque<Arc<str>>>,
}

struct TopicState {
    topic: Topic,
    subscribers: usize,
    /// Epoch and sequence number of the last event.
    last_event: Option<(Arc<str>, u64)>,
    /// Whether the Redis subscription is active.
    subscribed: watch::Sender<bool>,
    /// A subscriber started before the Redis subscription was active and has not got its gap yet.
    needs_gap: bool,
}

impl RedisBus {
    pub fn start(link: Arc<RedisLink>, outgoing: Arc<SendQueue>, ownership: Arc<LocalOwnership>) -> Arc<Self> {
        let inner = Arc::new(Inner {
            local: MemoryBus::default(),
            link,
            outgoing,
            ownership,
            topics: Mutex::default(),
            changed: Mutex::default(),
            wake: Notify::new(),
            own_epochs: RwLock::default(),
        });
        tokio::spawn(Arc::clone(&inner).receive());
        tokio::spawn(Arc::clone(&inner).sync_subscriptions());
        Arc::new(Self(inner))
    }
}

#[async_trait]
impl EventBus for RedisBus {
    async fn publish(&self, topic: &Topic, event: BusEvent) -> Result<(), CacheError> {
        let bus = &*self.0;
        bus.add_own_epoch(&event.epoch);
        let (channel, frame) = (bus.link.channel(topic), codec::encode_event(topic, &event));
        bus.outgoing.put(Op::Publish { channel, frame });
        bus.local.publish(topic, event).await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<Box<dyn BusSubscription>, CacheError> {
        let bus = &self.0;
        let channel = bus.link.channel(topic);
        let (mut subscribed, is_new) = {
            let mut topics = bus.topics.lock();
            let is_new = !topics.contains_key(&channel);
            let state = topics.entry(channel.clone()).or_insert_with(|| TopicState {
                topic: topic.clone(),
                subscribers: 0,
                last_event: None,
                subscribed: watch::Sender::new(false),
                needs_gap: false,
            });
            state.subscribers += 1;
            (state.subscribed.subscribe(), is_new)
        };
        let guard = SubscriberGuard { bus: Arc::clone(bus), channel: channel.clone() };
        let subscription = Subscription { events: bus.local.subscribe(topic).await?, _guard: guard };
        if is_new {
            bus.mark_changed(channel.clone());
        }
        if bus.link.is_up() {
            let _ = Clock::system().timeout(SUBSCRIBE_TIMEOUT, subscribed.wait_for(|is_active| *is_active)).await;
        }
        if let Some(state) = bus.topics.lock().get_mut(&channel) {
            state.needs_gap |= !*state.subscribed.borrow();
        }
        Ok(Box::new(subscription))
    }
}

impl Inner {
    fn add_own_epoch(&self, epoch: &Arc<str>) {
        if self.own_epochs.read().iter().any(|own| own == epoch) {
            return;
        }
        let mut own_epochs = self.own_epochs.write();
        if own_epochs.len() == MAX_OWN_EPOCHS {
            own_epochs.pop_front();
        }
        own_epochs.push_back(Arc::clone(epoch));
    }

    fn is_own_epoch(&self, epoch: &str) -> bool {
        self.own_epochs.read().iter().any(|own| **own == *epoch)
    }

    fn mark_changed(&self, channel: String) {
        self.changed.lock().insert(channel);
        self.wake.notify_one();
    }

    /// Keeps the Redis subscriptions equal to `topics`. Subscribes to all again after a reconnect.
    async fn sync_subscriptions(self: Arc<Self>) {
        let mut reconnects = self.link.reconnects();
        loop {
            let is_reconnect = tokio::select! {
                () = self.wake.notified() => false,
                changed = reconnects.changed() => match changed {
                    Ok(()) => true,
                    Err(_) => return,
                },
            };
            if is_reconnect {
                let all: Vec<String> = self.topics.lock().keys().cloned().collect();
                self.changed.lock().extend(all);
            }
            let changed: Vec<String> = self.changed.lock().drain().collect();
            for part in changed.chunks(MAX_CHANNELS) {
                let (add, remove): (Vec<String>, Vec<String>) = {
                    let topics = self.topics.lock();
                    part.iter().cloned().partition(|channel| topics.contains_key(channel))
                };
                if self.apply(&add, remove).await.is_ok() {
                    self.on_subscribed(&add, is_reconnect).await;
                } else if self.link.is_up() {
                    // Redis is up, so no reconnect will trigger a retry.
                    self.changed.lock().extend(part.iter().cloned());
                    Clock::system().sleep(SUBSCRIBE_TIMEOUT / 4).await;
                    self.wake.notify_one();
                }
            }
        }
    }

    async fn apply(&self, add: &[String], remove: Vec<String>) -> Result<(), CacheError> {
        if !remove.is_empty() {
            self.link.run(self.link.subscriber.unsubscribe(remove)).await?;
        }
        if !add.is_empty() {
            self.link.subscribe(add.to_vec()).await?;
        }
        Ok(())
    }

    /// The Redis subscriptions to these channels are active. Publishes a gap where events may have been missed before.
    async fn on_subscribed(&self, channels: &[String], is_reconnect: bool) {
        let mut missed = Vec::new();
        {
            let mut topics = self.topics.lock();
            for channel in channels {
                let Some(state) = topics.get_mut(channel) else { continue };
                state.subscribed.send_replace(true);
                let needs_gap = std::mem::take(&mut state.needs_gap);
                // Events of local exchanges reach the subscribers without Redis.
                if (is_reconnect || needs_gap) && !self.ownership.is_local(state.topic.exchange()) {
                    missed.push((state.topic.clone(), state.last_event.take()));
                }
            }
        }
        for (topic, last_event) in missed {
            self.publish_gap(&topic, last_event).await;
        }
    }

    async fn publish_gap(&self, topic: &Topic, last_event: Option<(Arc<str>, u64)>) {
        let (epoch, seq) = last_event.unwrap_or_else(|| (Arc::from(""), 0));
        let gap = BusEvent { epoch, seq, kind: BusEventKind::Gap(GapReason::BusLost) };
        let _ = self.local.publish(topic, gap).await;
    }

    /// Delivers the events of other replicas.
    async fn receive(self: Arc<Self>) {
        let mut messages = self.link.subscriber.message_rx();
        loop {
            match messages.recv().await {
                Ok(message) => self.handle_message(message).await,
                Err(RecvError::Closed) => return,
                // Topics that lost events detect it by their sequence numbers. Tickers do not need to.
                Err(RecvError::Lagged(_)) => {}
            }
        }
    }

    async fn handle_message(&self, message: Message) {
        let Some(frame) = message.value.into_bytes() else { return };
        let Some(event) = codec::decode_event(&frame) else { return };
        if self.is_own_epoch(&event.epoch) {
            return;
        }
        let (topic, missed_after) = {
            let mut topics = self.topics.lock();
            let Some(state) = topics.get_mut(&*message.channel) else { return };
            let is_stale = state.last_event.as_ref().is_some_and(|(epoch, last)| {
                // A duplicate, sent again because the connection broke before Redis answered; or an event of a
                // collector that has lost its lease without noticing.
                (*epoch == event.epoch && event.seq <= *last) || epoch_token(&event.epoch) < epoch_token(epoch)
            });
            if is_stale {
                return;
            }
            let previous = state.last_event.replace((Arc::clone(&event.epoch), event.seq));
            let is_missing = match &previous {
                Some((epoch, last)) if *epoch == event.epoch => event.seq > last + 1,
                // A new epoch begins with its own gap, which has number 1.
                Some(_) => event.seq > 1,
                None => false,
            };
            (
                state.topic.clone(),
                (is_missing && state.topic.channel() != Channel::Ticker).then_some(previous).flatten(),
            )
        };
        if missed_after.is_some() {
            self.publish_gap(&topic, missed_after).await;
        }
        let _ = self.local.publish(&topic, event).await;
    }
}

/// Counts one subscriber of a topic.
struct SubscriberGuard {
    bus: Arc<Inner>,
    channel: String,
}

impl Drop for SubscriberGuard {
    fn drop(&mut self) {
        let mut topics = self.bus.topics.lock();
        let Some(state) = topics.get_mut(&self.channel) else { return };
        state.subscribers -= 1;
        if state.subscribers == 0 {
            topics.remove(&self.channel);
            drop(topics);
            self.bus.mark_changed(std::mem::take(&mut self.channel));
        }
    }
}

struct Subscription {
    events: Box<dyn BusSubscription>,
    _guard: SubscriberGuard,
}

#[async_trait]
impl BusSubscription for Subscription {
    async fn next(&mut self) -> Option<BusEvent> {
        self.events.next().await
    }
}
