//! One event in, many subscribers out.
//!
//! All subscribers of a topic in this replica share one listener of the bus, and the bus is listened to only while
//! somebody wants the topic. Events arrive numbered and encoded; the hub hands the same bytes to everybody.
//!
//! Nothing here waits for a slow subscriber. Of a ticker only the newest event is kept, so a slow one skips values. Of
//! trades and candles the newest [`QUEUED_EVENTS`] are kept for each topic, and who falls further behind gets a gap.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use crate::cache::{BusEvent, BusEventKind, BusListener, Cache, EventBus};
use crate::clock::Clock;
use crate::model::{Channel, GapReason, Topic};

/// How many events of a topic of trades or candles wait for slow subscribers.
pub const QUEUED_EVENTS: usize = 1_024;

/// How long [`Hub::subscribe`] waits for the bus. A bus that takes longer is down; its return is a gap in the stream.
const BUS_PATIENCE: Duration = Duration::from_secs(1);

/// Pauses between attempts to listen to a bus that does not answer: doubled from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Hands events of the bus to the subscribers of this replica.
pub struct Hub {
    bus: Arc<dyn EventBus>,
    clock: Clock,
    rooms: Mutex<HashMap<Topic, Room>>,
}

/// The subscribers of one topic.
struct Room {
    sender: Sender,
    /// Whether the bus is being listened to.
    listening: watch::Receiver<bool>,
}

#[derive(Clone)]
enum Sender {
    Newest(watch::Sender<Option<BusEvent>>),
    Queue(broadcast::Sender<BusEvent>),
}

enum Receiver {
    Newest(watch::Receiver<Option<BusEvent>>),
    Queue(broadcast::Receiver<BusEvent>),
}

/// One subscriber's view of a topic. Dropping it unsubscribes.
pub struct Subscription(Receiver);

impl Hub {
    /// A hub over the event bus of `cache`.
    #[must_use]
    pub fn new(cache: &Cache, clock: Clock) -> Arc<Self> {
        Arc::new(Self { bus: Arc::clone(&cache.bus), clock, rooms: Mutex::default() })
    }

    /// Subscribes to a topic from now on. When this returns the bus is being listened to, so that a value asked for
    /// afterwards is not older than the first event.
    pub async fn subscribe(self: &Arc<Self>, topic: &Topic) -> Subscription {
        let (subscription, mut listening) = self.enter(topic);
        let _ = self.clock.timeout(BUS_PATIENCE, listening.wait_for(|listening| *listening)).await;
        subscription
    }

    /// How many topics are listened to now.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.rooms.lock().len()
    }

    fn enter(self: &Arc<Self>, topic: &Topic) -> (Subscription, watch::Receiver<bool>) {
        let mut rooms = self.rooms.lock();
        let room = rooms.entry(topic.clone()).or_insert_with(|| {
            let sender = Sender::new(topic.channel());
            let (says, listening) = watch::channel(false);
            tokio::spawn(Arc::clone(self).pump(topic.clone(), sender.clone(), says));
            Room { sender, listening }
        });
        (Subscription(room.sender.subscribe()), room.listening.clone())
    }

    /// Carries the events of one topic until its last subscriber has left.
    async fn pump(self: Arc<Self>, topic: Topic, sender: Sender, listening: watch::Sender<bool>) {
        let carry = self.carry(&topic, &sender, &listening);
        tokio::pin!(carry);
        loop {
            tokio::select! {
                () = sender.closed() => {
                    let mut rooms = self.rooms.lock();
                    // Somebody may have entered since; the lock keeps new ones out while we look.
                    if sender.is_empty() {
                        rooms.remove(&topic);
                        return;
                    }
                }
                () = &mut carry => return,
            }
        }
    }

    /// Listens to the bus again and again, telling of each hole. Does not end by itself.
    async fn carry(&self, topic: &Topic, sender: &Sender, listening: &watch::Sender<bool>) {
        let (mut pause, longest) = RETRY;
        let mut lost = None;
        loop {
            match self.bus.subscribe(topic).await {
                Ok(mut listener) => {
                    pause = RETRY.0;
                    if let Some(gap) = lost.take() {
                        sender.send(gap);
                    }
                    listening.send_replace(true);
                    let last = forward(&mut *listener, sender).await;
                    lost = Some(bus_lost(last.or(lost)));
                }
                Err(error) => {
                    tracing::warn!(%topic, %error, "the event bus does not take a subscription: trying again");
                    lost = Some(bus_lost(lost));
                }
            }
            self.clock.sleep(pause / 2 + self.clock.jitter(pause / 2)).await;
            pause = (pause * 2).min(longest);
        }
    }
}

/// Forwards until the bus is gone; gives the last event.
async fn forward(listener: &mut dyn BusListener, sender: &Sender) -> Option<BusEvent> {
    let mut last = None;
    while let Some(event) = listener.next().await {
        last = Some(BusEvent { kind: BusEventKind::Gap(GapReason::BusLost), ..event.clone() });
        sender.send(event);
    }
    last
}

/// The gap after `last`.
fn bus_lost(last: Option<BusEvent>) -> BusEvent {
    let (epoch, seq) = last.map_or_else(|| (Arc::from(""), 0), |last| (last.epoch, last.seq));
    BusEvent { epoch, seq, kind: BusEventKind::Gap(GapReason::BusLost) }
}

impl Sender {
    fn new(channel: Channel) -> Self {
        match channel {
            Channel::Ticker => Self::Newest(watch::Sender::new(None)),
            Channel::Trades | Channel::Candles => Self::Queue(broadcast::Sender::new(QUEUED_EVENTS)),
        }
    }

    fn subscribe(&self) -> Receiver {
        match self {
            Self::Newest(sender) => {
                let mut receiver = sender.subscribe();
                receiver.mark_unchanged();
                Receiver::Newest(receiver)
            }
            Self::Queue(sender) => Receiver::Queue(sender.subscribe()),
        }
    }

    fn send(&self, event: BusEvent) {
        match self {
            Self::Newest(sender) => {
                sender.send_replace(Some(event));
            }
            // Fails only when nobody listens.
            Self::Queue(sender) => drop(sender.send(event)),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Newest(sender) => sender.receiver_count() == 0,
            Self::Queue(sender) => sender.receiver_count() == 0,
        }
    }

    async fn closed(&self) {
        match self {
            Self::Newest(sender) => sender.closed().await,
            Self::Queue(sender) => sender.closed().await,
        }
    }
}

impl Subscription {
    /// The next event. Where this subscriber was too slow for some trades or candles, a gap `SlowClient` comes first,
    /// without a position: the event that follows has it. `None` when the hub is gone. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<BusEvent> {
        match &mut self.0 {
            Receiver::Newest(receiver) => {
                receiver.changed().await.ok()?;
                receiver.borrow_and_update().clone()
            }
            Receiver::Queue(receiver) => match receiver.recv().await {
                Ok(event) => Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => Some(slow_client()),
                Err(broadcast::error::RecvError::Closed) => None,
            },
        }
    }

    /// The next event if it is there already.
    pub fn ready(&mut self) -> Option<BusEvent> {
        match &mut self.0 {
            Receiver::Newest(receiver) => {
                receiver.has_changed().ok().filter(|changed| *changed)?;
                receiver.borrow_and_update().clone()
            }
            Receiver::Queue(receiver) => match receiver.try_recv() {
                Ok(event) => Some(event),
                Err(broadcast::error::TryRecvError::Lagged(_)) => Some(slow_client()),
                Err(_) => None,
            },
        }
    }
}

fn slow_client() -> BusEvent {
    BusEvent { epoch: Arc::from(""), seq: 0, kind: BusEventKind::Gap(GapReason::SlowClient) }
}

#[cfg(test)]
mod tests;
