//! One topic of this replica: its recent frames, and whom to wake when there is a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use tokio::sync::{Notify, watch};

use super::frame::{Frame, Missed, Place, conflates};
use super::ring::{Bounds, Ring};
use crate::cache::{BusEvent, BusEventKind, token_of};
use crate::model::{GapReason, Topic};
use crate::telemetry::hub::TopicGap;

/// The subscribers of one topic and what they read.
pub(super) struct Room {
    pub topic: Topic,
    pub state: RwLock<State>,
    /// How many have a seat here.
    seats: AtomicUsize,
    /// Somebody came, or the last one left.
    pub changed: Notify,
    /// Whether the bus is being listened to.
    pub listening: watch::Sender<bool>,
}

pub(super) struct State {
    pub ring: Ring,
    members: Vec<Arc<Member>>,
    /// A gap was told whose end is not known yet.
    is_open: bool,
}

/// A subscriber's place in a room.
pub(super) struct Member {
    signal: Arc<Signal>,
    slot: usize,
    /// The subscriber knows already that there is something to read here.
    knows: AtomicBool,
}

/// Where a subscriber learns which of its topics have something to read.
#[derive(Default)]
pub(super) struct Signal {
    slots: Mutex<Vec<usize>>,
    pub wake: AtomicWaker,
}

impl Signal {
    pub fn take(&self, slots: &mut impl Extend<usize>) {
        slots.extend(self.slots.lock().drain(..));
    }

    pub fn is_silent(&self) -> bool {
        self.slots.lock().is_empty()
    }
}

impl Member {
    pub fn new(signal: &Arc<Signal>, slot: usize) -> Arc<Self> {
        Arc::new(Self { signal: Arc::clone(signal), slot, knows: AtomicBool::new(false) })
    }

    /// Says that there is something to read. While the subscriber has not looked, saying it again costs nothing.
    pub fn tell(&self) {
        if !self.knows.swap(true, Ordering::AcqRel) {
            self.signal.slots.lock().push(self.slot);
            self.signal.wake.wake();
        }
    }

    /// The subscriber looks now: what comes from here on must be told again.
    pub fn looks(&self) {
        self.knows.store(false, Ordering::Release);
    }
}

impl Room {
    pub fn new(topic: Topic, bounds: Bounds) -> Arc<Self> {
        let ring = Ring::new(bounds, conflates(topic.channel()));
        Arc::new(Self {
            topic,
            state: RwLock::new(State { ring, members: Vec::new(), is_open: false }),
            seats: AtomicUsize::new(0),
            changed: Notify::new(),
            listening: watch::Sender::new(false),
        })
    }

    pub fn is_empty(&self) -> bool {
        self.seats.load(Ordering::Acquire) == 0
    }

    /// Takes an event of the bus. A jump in its numbers is a gap.
    pub fn take(&self, event: &BusEvent) {
        let mut state = self.state.write();
        let place = Place { epoch: Arc::clone(&event.epoch), seq: event.seq };
        let newest = state.ring.newest();
        let last = newest.filter(|newest| newest.epoch == place.epoch).map_or(0, |newest| newest.seq);
        let is_first = newest.is_none();
        match &event.kind {
            BusEventKind::Gap(GapReason::BusLost) => return self.lose(state),
            // The number of the event that follows says what was missed.
            BusEventKind::Gap(GapReason::SlowClient) => return,
            _ if place.seq <= last => return,
            // A collector that does not know yet that another took over.
            _ if newest.is_some_and(|newest| token_of(&newest.epoch) > token_of(&place.epoch)) => return,
            _ => {}
        }
        let jumped = place.seq > last + 1 && !is_first && !state.is_open && !conflates(self.topic.channel());
        if jumped {
            let reason = if last == 0 { GapReason::NewEpoch } else { GapReason::BusLost };
            let missed =
                Missed { epoch: Some(Arc::clone(&place.epoch)), from: Some(last + 1), to: Some(place.seq - 1), reason };
            self.tell_gap(reason);
            state.ring.push(Frame::gap(&self.topic, &missed));
        }
        state.is_open = false;
        state.ring.push(match &event.kind {
            BusEventKind::Data(data) => Frame::data(&self.topic, place, data),
            BusEventKind::Gap(reason) => {
                self.tell_gap(*reason);
                let (from, to) = (Some(place.seq), Some(place.seq));
                Frame::gap(&self.topic, &Missed { epoch: Some(place.epoch), from, to, reason: *reason })
            }
        });
        Self::tell(state);
    }

    /// The bus may have lost events that nobody can name yet.
    pub fn lost(&self) {
        self.lose(self.state.write());
    }

    fn lose(&self, mut state: RwLockWriteGuard<'_, State>) {
        if state.is_open {
            return;
        }
        state.is_open = true;
        self.tell_gap(GapReason::BusLost);
        let newest = state.ring.newest();
        let (epoch, from) = (newest.map(|at| Arc::clone(&at.epoch)), newest.map(|at| at.seq + 1));
        state.ring.push(Frame::gap(&self.topic, &Missed { epoch, from, to: None, reason: GapReason::BusLost }));
        Self::tell(state);
    }

    fn tell_gap(&self, reason: GapReason) {
        TopicGap { channel: self.topic.channel(), reason }.emit();
    }

    fn tell(state: RwLockWriteGuard<'_, State>) {
        let state = RwLockWriteGuard::downgrade(state);
        for member in &state.members {
            member.tell();
        }
    }

    pub fn join(&self, member: Arc<Member>) {
        self.state.write().members.push(member);
    }

    pub fn leave(&self, member: &Arc<Member>) {
        let members = &mut self.state.write().members;
        if let Some(at) = members.iter().position(|one| Arc::ptr_eq(one, member)) {
            members.swap_remove(at);
        }
    }
}

/// A seat in a room: the topic is listened to as long as somebody has one.
pub struct Seat(pub(super) Arc<Room>);

impl Seat {
    /// Takes a seat. Whoever may close the room holds the same lock.
    pub(super) fn take(room: &Arc<Room>) -> Self {
        if room.seats.fetch_add(1, Ordering::AcqRel) == 0 {
            room.changed.notify_one();
        }
        Self(Arc::clone(room))
    }

    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.0.topic
    }

    /// A look at the topic that does not hold it.
    #[must_use]
    pub fn view(&self) -> View {
        View(Arc::clone(&self.0))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.0.seats.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_one();
        }
    }
}

/// Looks at what was heard of a topic.
pub struct View(Arc<Room>);

impl View {
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.0.topic
    }

    /// The last number that was heard.
    #[must_use]
    pub fn newest(&self) -> Option<Place> {
        self.0.state.read().ring.newest().cloned()
    }
}
