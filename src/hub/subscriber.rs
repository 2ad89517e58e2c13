//! One client's topics, each read at the client's own pace.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::frame::{Frame, Missed, Place, conflates};
use super::ring::Resumed;
use super::room::{Member, Seat, Signal, View};
use crate::cache::{Position, token_of};
use crate::clock::Clock;
use crate::model::{GapReason, Topic};
use crate::telemetry::hub::FramesMissed;

/// What one client subscribed to. Dropping it unsubscribes all.
///
/// Nothing waits here: frames lie in the rings of their topics until the client takes them with
/// [`gather`](Self::gather). Of a ticker a slow client gets the newest; of trades and candles a gap names what it missed.
pub struct Subscriber {
    clock: Clock,
    signal: Arc<Signal>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    by_topic: HashMap<Topic, usize>,
    /// Slots with something to read.
    ready: VecDeque<usize>,
    /// Slots that have something and wait until their pace allows it.
    parked: BinaryHeap<Reverse<(Duration, usize)>>,
    /// How many bytes went by unread since everything was read.
    behind: u64,
}

/// A topic of a [`Subscriber`].
pub type SlotId = usize;

struct Slot {
    seat: Seat,
    member: Arc<Member>,
    /// The index in the ring of what comes next, and the bytes that went by before it.
    cursor: u64,
    bytes: u64,
    /// The last number that the client was told of.
    last: Option<Place>,
    /// The client was shown a value of the cache, until a newer one comes.
    shown: Option<Position>,
    /// The client was told of a gap that ends with the next number.
    is_open: bool,
    /// Whether it is read.
    started: bool,
    pace: Duration,
    /// Not read before this time.
    due: Duration,
}

impl Subscriber {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            signal: Arc::default(),
            slots: Vec::new(),
            free: Vec::new(),
            by_topic: HashMap::new(),
            ready: VecDeque::new(),
            parked: BinaryHeap::new(),
            behind: 0,
        }
    }

    /// Adds a topic, from now on; nothing of it is read before [`start`](Self::start).
    pub fn add(&mut self, seat: Seat) -> SlotId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let member = Member::new(&self.signal, id);
        let room = Arc::clone(&seat.0);
        room.join(Arc::clone(&member));
        let state = room.state.read();
        let (cursor, last) = (state.ring.end(), state.ring.newest().cloned());
        let bytes = state.ring.bytes_before(cursor);
        drop(state);
        self.by_topic.insert(seat.topic().clone(), id);
        let (pace, due) = (Duration::ZERO, Duration::ZERO);
        let slot = Slot { seat, member, cursor, bytes, last, shown: None, is_open: false, started: false, pace, due };
        self.slots[id] = Some(slot);
        id
    }

    /// Goes back to a place. What lies between and is no longer kept is returned.
    pub fn resume(&mut self, id: SlotId, place: &Place) -> Option<Missed> {
        let slot = self.slots.get_mut(id)?.as_mut()?;
        let state = slot.seat.0.state.read();
        match state.ring.resume(place) {
            Resumed::Whole(index) => {
                slot.cursor = index;
                slot.bytes = state.ring.bytes_before(index);
                slot.last = Some(place.clone());
                None
            }
            Resumed::Expired(index) => {
                slot.cursor = index;
                slot.bytes = state.ring.bytes_before(index);
                slot.last = state.ring.newest().cloned();
                slot.is_open = slot.last.is_none();
                Some(match &slot.last {
                    Some(newest) => {
                        let same = newest.epoch == place.epoch;
                        let reason = if same { GapReason::ResumeExpired } else { GapReason::NewEpoch };
                        let from = if same { place.seq + 1 } else { 1 };
                        Missed {
                            epoch: Some(Arc::clone(&newest.epoch)),
                            from: Some(from),
                            to: Some(newest.seq),
                            reason,
                        }
                    }
                    None => Missed {
                        epoch: Some(Arc::clone(&place.epoch)),
                        from: Some(place.seq + 1),
                        to: None,
                        reason: GapReason::ResumeExpired,
                    },
                })
            }
        }
    }

    /// A snapshot shows everything up to `shown`: what is not newer need not be told. Has no effect on a topic that is read
    /// already.
    pub fn skip_to(&mut self, id: SlotId, shown: Place) {
        if let Some(slot) = self.waiting(id) {
            slot.last = Some(shown);
        }
    }

    /// The same for a value of the cache, which knows its position only. Its place, if numbers of its run were heard.
    pub fn skip_to_position(&mut self, id: SlotId, shown: Position) -> Option<Place> {
        self.waiting(id)?.shown = Some(shown);
        let newest = self.newest(id)?;
        (token_of(&newest.epoch) == shown.token).then_some(Place { epoch: newest.epoch, seq: shown.seq })
    }

    fn waiting(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.slots.get_mut(id)?.as_mut().filter(|slot| !slot.started)
    }

    /// The last number that was heard of a topic.
    #[must_use]
    pub fn newest(&self, id: SlotId) -> Option<Place> {
        let slot = self.slots.get(id)?.as_ref()?;
        slot.seat.0.state.read().ring.newest().cloned()
    }

    /// A look at a topic.
    #[must_use]
    pub fn view(&self, id: SlotId) -> Option<View> {
        Some(self.slots.get(id)?.as_ref()?.seat.view())
    }

    /// The newest data of a topic that were heard before this subscriber came.
    #[must_use]
    pub fn latest(&self, id: SlotId, count: usize) -> Vec<Frame> {
        let Some(Some(slot)) = self.slots.get(id) else { return Vec::new() };
        slot.seat.0.state.read().ring.latest(count, slot.cursor)
    }

    /// Begins to read a topic.
    pub fn start(&mut self, id: SlotId) {
        if let Some(Some(slot)) = self.slots.get_mut(id) {
            slot.started = true;
            slot.member.tell();
        }
    }

    /// Asks for the newest value at most so often.
    pub fn set_pace(&mut self, id: SlotId, pace: Duration) {
        if let Some(Some(slot)) = self.slots.get_mut(id) {
            slot.pace = pace;
        }
    }

    /// The slot of a topic.
    #[must_use]
    pub fn find(&self, topic: &Topic) -> Option<SlotId> {
        self.by_topic.get(topic).copied()
    }

    /// Unsubscribes from a topic; says whether it was subscribed to.
    pub fn remove(&mut self, topic: &Topic) -> bool {
        let Some(id) = self.by_topic.remove(topic) else { return false };
        if let Some(slot) = self.slots[id].take() {
            slot.seat.0.leave(&slot.member);
        }
        self.free.push(id);
        true
    }

    /// The topics, in their order.
    #[must_use]
    pub fn topics(&self) -> Vec<&Topic> {
        let mut topics: Vec<&Topic> = self.by_topic.keys().collect();
        topics.sort_unstable();
        topics
    }

    /// How many topics there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_topic.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_topic.is_empty()
    }

    /// How many bytes this client missed since it had read everything for the last time.
    #[must_use]
    pub const fn behind(&self) -> u64 {
        self.behind
    }

    /// Waits until there is something to read. Cancelling loses nothing.
    pub async fn ready(&self) {
        let told = poll_fn(|context| {
            // Registered first and looked at then, so that nothing is missed.
            self.signal.wake.register(context.waker());
            if self.ready.is_empty() && self.signal.is_silent() { Poll::Pending } else { Poll::Ready(()) }
        });
        match self.parked.peek() {
            None => told.await,
            Some(Reverse((due, _))) => {
                tokio::select! {
                    () = told => {}
                    () = self.clock.sleep(due.saturating_sub(self.clock.elapsed())) => {}
                }
            }
        }
    }

    /// Gives what is ready to `sink`, until it has taken about `budget` bytes.
    pub fn gather(&mut self, budget: usize, mut sink: impl FnMut(SlotId, &Frame)) {
        self.signal.take(&mut self.ready);
        if self.ready.is_empty() && self.parked.is_empty() {
            return;
        }
        let now = self.clock.elapsed();
        while self.parked.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            self.ready.extend(self.parked.pop().map(|Reverse((_, id))| id));
        }
        let mut left = budget;
        while let Some(id) = self.ready.pop_front() {
            let Some(Some(slot)) = self.slots.get_mut(id) else { continue };
            slot.member.looks();
            if !slot.started {
                continue;
            }
            if slot.due > now {
                self.parked.push(Reverse((slot.due, id)));
                continue;
            }
            let (taken, more) = slot.read(left, &mut self.behind, |frame| sink(id, frame));
            left = left.saturating_sub(taken);
            if taken > 0 {
                slot.due = now + slot.pace;
            }
            if more {
                self.ready.push_front(id);
                return;
            }
        }
        self.behind = 0;
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        for slot in self.slots.iter().flatten() {
            slot.seat.0.leave(&slot.member);
        }
    }
}

impl Slot {
    /// Gives frames to `sink`; says how many bytes that were, and whether more is there.
    fn read(&mut self, budget: usize, behind: &mut u64, mut sink: impl FnMut(&Frame)) -> (usize, bool) {
        let room = Arc::clone(&self.seat.0);
        let newest_only = conflates(room.topic.channel());
        let state = room.state.read();
        let (first, frames) = state.ring.since(self.cursor);
        if first > self.cursor {
            FramesMissed { channel: room.topic.channel(), frames: first - self.cursor }.emit();
            if !newest_only {
                *behind += state.ring.passed().saturating_sub(self.bytes);
            }
            self.bytes = state.ring.passed();
            self.cursor = first;
        }
        let last_data = newest_only.then(|| state.ring.newest_data()).flatten();
        let mut taken = 0;
        for frame in frames {
            if taken >= budget {
                return (taken, true);
            }
            let index = self.cursor;
            self.cursor += 1;
            self.bytes += frame.framed().len() as u64;
            if newest_only && !frame.is_gap() && last_data != Some(index) {
                continue;
            }
            match frame.place() {
                Some(place) => match self.before(place, frame.from(), newest_only) {
                    Before::Told => continue,
                    Before::Next => {}
                    Before::Missing(missed) => {
                        let gap = Frame::gap(&room.topic, &missed);
                        taken += gap.framed().len();
                        sink(&gap);
                    }
                },
                None => self.is_open = true,
            }
            taken += frame.framed().len();
            sink(frame);
        }
        (taken, false)
    }

    /// What lies between the last frame and this one, which is the last from here on.
    fn before(&mut self, place: &Place, from: u64, newest_only: bool) -> Before {
        if self.shown.is_some_and(|shown| token_of(&place.epoch) == shown.token && place.seq <= shown.seq) {
            return Before::Told;
        }
        self.shown = None;
        let was_open = std::mem::take(&mut self.is_open);
        let Some(last) = &mut self.last else {
            self.last = Some(place.clone());
            return Before::Next;
        };
        let expected = if last.epoch == place.epoch {
            if place.seq <= last.seq {
                self.is_open = was_open;
                return Before::Told;
            }
            let expected = last.seq + 1;
            last.seq = place.seq;
            expected
        } else if token_of(&place.epoch) < token_of(&last.epoch) {
            // A collector that does not know yet that another took over.
            self.is_open = was_open;
            return Before::Told;
        } else {
            *last = place.clone();
            1
        };
        if from <= expected || was_open || newest_only {
            return Before::Next;
        }
        Before::Missing(Missed {
            epoch: Some(Arc::clone(&place.epoch)),
            from: Some(expected),
            to: Some(from - 1),
            reason: GapReason::SlowClient,
        })
    }
}

/// How a frame goes on from the one before it.
enum Before {
    /// The client has it.
    Told,
    Next,
    Missing(Missed),
}
