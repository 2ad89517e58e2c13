//! One event in, many subscribers out.
//!
//! A topic that somebody wants has a room: one listener of the bus, and a ring of recent frames. An event arrives numbered
//! and encoded; it is framed once, put into the ring, and who listens is woken. Each client reads the rings of its topics
//! at its own pace ([`Subscriber`]), so that nothing here waits for a slow one, nor keeps anything for it.
//!
//! A room stays for a while after its last subscriber has left ([`HubConfig::linger`]), so that a client that lost its
//! connection may go on where it was; and as long as it is wanted, so is its market ([`crate::cache::Demand`]).

mod frame;
mod ring;
mod room;
mod status;
mod subscriber;

pub use frame::{Frame, Missed, Place, put_text_frame};
pub use ring::Bounds;
pub use room::{Seat, View};
pub use status::Statuses;
pub use subscriber::{SlotId, Subscriber};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::room::Room;
use crate::cache::{BusListener, Cache, Demand, EventBus};
use crate::clock::Clock;
use crate::lifecycle::outlive_panics;
use crate::model::Topic;
use crate::telemetry::hub::{RoomClosed, RoomOpened};

/// How long [`Hub::enter`] waits for the bus. A bus that takes longer is down; its return is a gap in the stream.
const BUS_PATIENCE: Duration = Duration::from_secs(1);

/// Pauses between attempts to listen to a bus that does not answer: doubled from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How often at least a market that someone listens to is said to be wanted.
const WANT_EVERY: Duration = Duration::from_secs(10);

/// What the hub keeps, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct HubConfig {
    /// The recent frames of a topic, for slow clients and those that come back.
    pub ring: Bounds,
    /// How long a topic is listened to and its market wanted after the last subscriber left.
    pub linger: Duration,
    /// The most topics at a time, with those that nobody listens to any more.
    pub max_topics: usize,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self { ring: Bounds { frames: 1_024, bytes: 256 * 1024 }, linger: Duration::from_mins(1), max_topics: 20_000 }
    }
}

/// So many topics are listened to here that there is no room for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many topics are listened to here")]
pub struct Full;

/// Hands events of the bus to the subscribers of this replica.
pub struct Hub {
    bus: Arc<dyn EventBus>,
    demand: Arc<dyn Demand>,
    statuses: Arc<Statuses>,
    clock: Clock,
    config: HubConfig,
    rooms: Mutex<HashMap<Topic, Arc<Room>>>,
}

impl Hub {
    /// A hub over the event bus of `cache`.
    #[must_use]
    pub fn new(cache: &Cache, clock: Clock, config: HubConfig) -> Arc<Self> {
        Arc::new(Self {
            bus: Arc::clone(&cache.bus),
            demand: Arc::clone(&cache.demand),
            statuses: Statuses::new(Arc::clone(&cache.states), clock.clone()),
            clock,
            config,
            rooms: Mutex::default(),
        })
    }

    /// A client without topics yet.
    #[must_use]
    pub fn subscriber(&self) -> Subscriber {
        Subscriber::new(self.clock.clone())
    }

    /// The states of exchanges, as they change.
    #[must_use]
    pub fn statuses(&self) -> &Arc<Statuses> {
        &self.statuses
    }

    /// Takes a seat at a topic, from now on. When this returns the bus is being listened to, so that a value asked for
    /// afterwards is not older than the first event.
    ///
    /// # Errors
    /// [`Full`].
    pub async fn enter(self: &Arc<Self>, topic: &Topic) -> Result<Seat, Full> {
        let seat = self.seat(topic)?;
        let mut listening = seat.0.listening.subscribe();
        let _ = self.clock.timeout(BUS_PATIENCE, listening.wait_for(|listening| *listening)).await;
        Ok(seat)
    }

    /// How many topics are listened to now.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.rooms.lock().len()
    }

    fn seat(self: &Arc<Self>, topic: &Topic) -> Result<Seat, Full> {
        let mut rooms = self.rooms.lock();
        if let Some(room) = rooms.get(topic) {
            return Ok(Seat::take(room));
        }
        if rooms.len() >= self.config.max_topics {
            return Err(Full);
        }
        let room = Room::new(topic.clone(), self.config.ring);
        let seat = Seat::take(&room);
        rooms.insert(topic.clone(), Arc::clone(&room));
        RoomOpened { channel: topic.channel() }.emit();
        let hub = Arc::clone(self);
        tokio::spawn(async move {
            let mut again = false;
            outlive_panics("topic", &hub.clock.clone(), || {
                let (hub, room, was_lost) = (Arc::clone(&hub), Arc::clone(&room), std::mem::replace(&mut again, true));
                hub.keep(room, was_lost)
            })
            .await;
        });
        Ok(seat)
    }

    /// Keeps a room until nobody has wanted it for a while. What was told before a panic of its task `was_lost`.
    async fn keep(self: Arc<Self>, room: Arc<Room>, was_lost: bool) {
        if was_lost {
            room.changed.notify_one();
        }
        tokio::select! {
            () = self.carry(&room, was_lost) => {}
            () = self.attend(&room) => {}
        }
    }

    /// Says that the market is wanted while somebody listens; ends when the room was empty for a while, and is closed.
    async fn attend(&self, room: &Room) {
        let linger = self.config.linger;
        let mut left_at = None;
        // The first one has come.
        room.changed.notified().await;
        loop {
            let now = self.clock.elapsed();
            let was_left = left_at.is_some();
            left_at = if room.is_empty() { left_at.or(Some(now)) } else { None };
            let pause = match left_at {
                None => WANT_EVERY.min(linger / 3),
                Some(at) => (at + linger).saturating_sub(now),
            };
            if pause.is_zero() {
                let mut rooms = self.rooms.lock();
                // Somebody may have come since; the lock keeps new ones out while we look.
                if room.is_empty() {
                    rooms.remove(&room.topic);
                    RoomClosed { channel: room.topic.channel() }.emit();
                    return;
                }
                continue;
            }
            // Wanted once more when the last one leaves, and then no longer. What fails is said again.
            if !(was_left && left_at.is_some()) {
                let _ = self.demand.want(room.topic.exchange(), room.topic.symbol(), linger).await;
            }
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = room.changed.notified() => {}
            }
        }
    }

    /// Listens to the bus again and again, telling of each hole. Does not end by itself.
    async fn carry(&self, room: &Room, mut was_lost: bool) {
        let (mut pause, longest) = RETRY;
        loop {
            match self.bus.subscribe(&room.topic).await {
                Ok(mut listener) => {
                    pause = RETRY.0;
                    if std::mem::take(&mut was_lost) {
                        room.lost();
                    }
                    room.listening.send_replace(true);
                    hear(&mut *listener, room).await;
                }
                Err(error) => {
                    tracing::warn!(topic = %room.topic, %error, "the event bus does not take a subscription: trying again");
                }
            }
            was_lost = true;
            self.clock.sleep(pause / 2 + self.clock.jitter(pause / 2)).await;
            pause = (pause * 2).min(longest);
        }
    }
}

/// Hands on what is heard until the bus is gone.
async fn hear(listener: &mut dyn BusListener, room: &Room) {
    while let Some(event) = listener.next().await {
        room.take(&event);
    }
}

#[cfg(test)]
mod tests;
