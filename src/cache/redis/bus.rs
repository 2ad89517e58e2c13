//! The event bus: what this process publishes reaches its own listeners at once, and those of others over Redis.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use fred::interfaces::{EventInterface, PubsubInterface};
use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};

use super::link::{Link, Message};
use super::outgoing::{Op, Outgoing};
use super::{Home, codec};
use crate::cache::memory::bus::Bus;
use crate::cache::{BusEvent, BusEventKind, BusListener, CacheError, EventBus, token_of};
use crate::clock::Clock;
use crate::model::{Channel, GapReason, Topic};

/// How many epochs of its own a process remembers.
const OWN_EPOCHS: usize = 64;

/// How many channels are asked for in one command.
const CHANNELS: usize = 512;

/// How long a subscriber waits until Redis has taken the subscription; then it listens all the same, and gets a gap
/// when it is taken.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// The bus of one replica.
pub(super) struct RedisBus(Arc<Inner>);

struct Inner {
    local: Bus,
    link: Arc<Link>,
    outgoing: Arc<Outgoing>,
    home: Arc<Home>,
    /// What someone here listens to, by channel.
    rooms: Mutex<HashMap<String, Room>>,
    /// Channels that Redis must be told of: to listen, or no longer.
    changed: Mutex<HashSet<String>>,
    wake: Notify,
    /// The epochs that this process numbers: what comes back of them is known.
    own: RwLock<VecDeque<Arc<str>>>,
}

struct Room {
    topic: Topic,
    listeners: usize,
    /// The last event.
    heard: Option<(Arc<str>, u64)>,
    /// Whether Redis sends it to us.
    taken: watch::Sender<bool>,
    /// Somebody listens who was not told yet that it was not so from the beginning.
    is_late: bool,
}

impl RedisBus {
    pub fn start(link: Arc<Link>, outgoing: Arc<Outgoing>, home: Arc<Home>) -> Arc<Self> {
        let inner = Arc::new(Inner {
            local: Bus::default(),
            link,
            outgoing,
            home,
            rooms: Mutex::default(),
            changed: Mutex::default(),
            wake: Notify::new(),
            own: RwLock::default(),
        });
        tokio::spawn(Arc::clone(&inner).hear());
        tokio::spawn(Arc::clone(&inner).keep());
        Arc::new(Self(inner))
    }
}

#[async_trait]
impl EventBus for RedisBus {
    async fn publish(&self, topic: &Topic, event: BusEvent) -> Result<(), CacheError> {
        let bus = &*self.0;
        bus.own_epoch(&event.epoch);
        let (channel, frame) = (bus.link.channel(topic), codec::frame(topic, &event));
        bus.outgoing.put(Op::Publish { channel, frame });
        bus.local.publish(topic, event).await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<Box<dyn BusListener>, CacheError> {
        let bus = &self.0;
        let channel = bus.link.channel(topic);
        let (mut taken, is_new) = {
            let mut rooms = bus.rooms.lock();
            let is_new = !rooms.contains_key(&channel);
            let room = rooms.entry(channel.clone()).or_insert_with(|| Room {
                topic: topic.clone(),
                listeners: 0,
                heard: None,
                taken: watch::Sender::new(false),
                is_late: false,
            });
            room.listeners += 1;
            (room.taken.subscribe(), is_new)
        };
        let seat = Seat { bus: Arc::clone(bus), channel: channel.clone() };
        let listener = Listener { events: bus.local.subscribe(topic).await?, _seat: seat };
        if is_new {
            bus.change(channel.clone());
        }
        if bus.link.is_up() {
            let _ = Clock::system().timeout(PATIENCE, taken.wait_for(|taken| *taken)).await;
        }
        if let Some(room) = bus.rooms.lock().get_mut(&channel) {
            room.is_late |= !*room.taken.borrow();
        }
        Ok(Box::new(listener))
    }
}

impl Inner {
    fn own_epoch(&self, epoch: &Arc<str>) {
        if self.own.read().iter().any(|own| own == epoch) {
            return;
        }
        let mut own = self.own.write();
        if own.len() == OWN_EPOCHS {
            own.pop_front();
        }
        own.push_back(Arc::clone(epoch));
    }

    fn is_own(&self, epoch: &str) -> bool {
        self.own.read().iter().any(|own| **own == *epoch)
    }

    fn change(&self, channel: String) {
        self.changed.lock().insert(channel);
        self.wake.notify_one();
    }

    /// Tells Redis what is listened to; all of it again when Redis is back.
    async fn keep(self: Arc<Self>) {
        let mut revived = self.link.revived();
        loop {
            let again = tokio::select! {
                () = self.wake.notified() => false,
                back = revived.changed() => match back {
                    Ok(()) => true,
                    Err(_) => return,
                },
            };
            if again {
                let all: Vec<String> = self.rooms.lock().keys().cloned().collect();
                self.changed.lock().extend(all);
            }
            let changed: Vec<String> = self.changed.lock().drain().collect();
            for part in changed.chunks(CHANNELS) {
                let (wanted, left): (Vec<String>, Vec<String>) = {
                    let rooms = self.rooms.lock();
                    part.iter().cloned().partition(|channel| rooms.contains_key(channel))
                };
                if self.tell(&wanted, left).await.is_ok() {
                    self.taken(&wanted, again).await;
                } else if self.link.is_up() {
                    // Nobody will say that Redis is back.
                    self.changed.lock().extend(part.iter().cloned());
                    Clock::system().sleep(PATIENCE / 4).await;
                    self.wake.notify_one();
                }
            }
        }
    }

    async fn tell(&self, wanted: &[String], left: Vec<String>) -> Result<(), CacheError> {
        if !left.is_empty() {
            self.link.run(self.link.subscriber.unsubscribe(left)).await?;
        }
        if !wanted.is_empty() {
            self.link.listen(wanted.to_vec()).await?;
        }
        Ok(())
    }

    /// Redis sends these to us from now on. Where that was not so before, something may have been missed.
    async fn taken(&self, channels: &[String], again: bool) {
        let mut missed = Vec::new();
        {
            let mut rooms = self.rooms.lock();
            for channel in channels {
                let Some(room) = rooms.get_mut(channel) else { continue };
                room.taken.send_replace(true);
                let is_late = std::mem::take(&mut room.is_late);
                // What this process publishes itself needs no Redis.
                if (again || is_late) && !self.home.collects(room.topic.exchange()) {
                    missed.push((room.topic.clone(), room.heard.take()));
                }
            }
        }
        for (topic, heard) in missed {
            self.lost(&topic, heard).await;
        }
    }

    async fn lost(&self, topic: &Topic, heard: Option<(Arc<str>, u64)>) {
        let (epoch, seq) = heard.unwrap_or_else(|| (Arc::from(""), 0));
        let gap = BusEvent { epoch, seq, kind: BusEventKind::Gap(GapReason::BusLost) };
        let _ = self.local.publish(topic, gap).await;
    }

    /// Hands on what others publish.
    async fn hear(self: Arc<Self>) {
        let mut messages = self.link.subscriber.message_rx();
        loop {
            match messages.recv().await {
                Ok(message) => self.take(message).await,
                Err(RecvError::Closed) => return,
                // The topics that lost something tell it by their numbers; tickers need not.
                Err(RecvError::Lagged(_)) => {}
            }
        }
    }

    async fn take(&self, message: Message) {
        let Some(frame) = message.value.into_bytes() else { return };
        let Some(event) = codec::event(&frame) else { return };
        if self.is_own(&event.epoch) {
            return;
        }
        let (topic, jumped) = {
            let mut rooms = self.rooms.lock();
            let Some(room) = rooms.get_mut(&*message.channel) else { return };
            let is_old = room.heard.as_ref().is_some_and(|(epoch, last)| {
                // Sent again, since the connection broke before Redis had answered; or by a collector that does not know
                // yet that another took over.
                (*epoch == event.epoch && event.seq <= *last) || token_of(&event.epoch) < token_of(epoch)
            });
            if is_old {
                return;
            }
            let before = room.heard.replace((Arc::clone(&event.epoch), event.seq));
            let jumped = match &before {
                Some((epoch, last)) if *epoch == event.epoch => event.seq > last + 1,
                // A new run of numbers begins with a gap of its own, which is number 1.
                Some(_) => event.seq > 1,
                None => false,
            };
            (room.topic.clone(), (jumped && room.topic.channel() != Channel::Ticker).then_some(before).flatten())
        };
        if jumped.is_some() {
            self.lost(&topic, jumped).await;
        }
        let _ = self.local.publish(&topic, event).await;
    }
}

/// A listener's place in the room of its topic.
struct Seat {
    bus: Arc<Inner>,
    channel: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut rooms = self.bus.rooms.lock();
        let Some(room) = rooms.get_mut(&self.channel) else { return };
        room.listeners -= 1;
        if room.listeners == 0 {
            rooms.remove(&self.channel);
            drop(rooms);
            self.bus.change(std::mem::take(&mut self.channel));
        }
    }
}

struct Listener {
    events: Box<dyn BusListener>,
    _seat: Seat,
}

#[async_trait]
impl BusListener for Listener {
    async fn next(&mut self) -> Option<BusEvent> {
        self.events.next().await
    }
}
