//! The topics of one client, read at the client's own pace.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::frame::{Frame, MissedRange, SequenceId, conflates};
use super::ring::ResumePoint;
use super::topic_buffer::{ReadySlots, SlotNotifier, Subscription, TopicHandle};
use crate::cache::{Version, epoch_token};
use crate::clock::Clock;
use crate::model::{GapReason, Topic};
use crate::telemetry::hub::FramesMissed;

/// The subscriptions of one client. Dropping it unsubscribes from all topics.
///
/// It has no queue: frames stay in the ring buffers of their topics until the client reads them with
/// [`read`](Self::read). For tickers a slow client gets only the newest one; for trades and candles it gets a gap with
/// the missed sequence numbers.
pub struct Subscriber {
    clock: Clock,
    ready_slots: Arc<ReadySlots>,
    slots: Vec<Option<TopicSlot>>,
    free: Vec<usize>,
    by_topic: HashMap<Topic, usize>,
    /// Slots with new frames.
    ready: VecDeque<usize>,
    /// Slots with new frames that wait for their minimum interval, by due time.
    delayed: BinaryHeap<Reverse<(Duration, usize)>>,
    /// Bytes missed since all frames were read.
    missed_bytes: u64,
}

/// Identifies a topic of a [`Subscriber`].
pub type SlotId = usize;

/// A topic of a subscriber and its read position.
struct TopicSlot {
    subscription: Subscription,
    notifier: Arc<SlotNotifier>,
    /// Ring index of the next frame to read.
    next_index: u64,
    /// Total size of the frames before `next_index`.
    bytes: u64,
    /// The last sequence id that the client received.
    last_id: Option<SequenceId>,
    /// Version of the cached value in the client's snapshot, until a newer frame is read.
    snapshot_version: Option<Version>,
    /// The client received a gap that ends with the next frame.
    gap_is_open: bool,
    /// Whether reading has started.
    started: bool,
    /// Minimum interval between two reads.
    min_interval: Duration,
    /// Time of the next allowed read, by the clock's `elapsed`.
    due_at: Duration,
}

impl Subscriber {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            ready_slots: Arc::default(),
            slots: Vec::new(),
            free: Vec::new(),
            by_topic: HashMap::new(),
            ready: VecDeque::new(),
            delayed: BinaryHeap::new(),
            missed_bytes: 0,
        }
    }

    /// Adds a topic at its current end. Reading begins with [`start`](Self::start).
    pub fn add(&mut self, subscription: Subscription) -> SlotId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let notifier = SlotNotifier::new(&self.ready_slots, id);
        let buffer = Arc::clone(&subscription.0);
        buffer.add_notifier(Arc::clone(&notifier));
        let state = buffer.state.read();
        let (next_index, last_id) = (state.ring.end(), state.ring.latest_sequence_id().cloned());
        let bytes = state.ring.bytes_before(next_index);
        drop(state);
        self.by_topic.insert(subscription.topic().clone(), id);
        self.slots[id] = Some(TopicSlot {
            subscription,
            notifier,
            next_index,
            bytes,
            last_id,
            snapshot_version: None,
            gap_is_open: false,
            started: false,
            min_interval: Duration::ZERO,
            due_at: Duration::ZERO,
        });
        id
    }

    /// Continues after a sequence id. Returns the missed range if frames after it were evicted.
    pub fn resume(&mut self, id: SlotId, sequence_id: &SequenceId) -> Option<MissedRange> {
        let slot = self.slots.get_mut(id)?.as_mut()?;
        let state = slot.subscription.0.state.read();
        match state.ring.resume(sequence_id) {
            ResumePoint::Continue(index) => {
                slot.next_index = index;
                slot.bytes = state.ring.bytes_before(index);
                slot.last_id = Some(sequence_id.clone());
                None
            }
            ResumePoint::Expired(index) => {
                slot.next_index = index;
                slot.bytes = state.ring.bytes_before(index);
                slot.last_id = state.ring.latest_sequence_id().cloned();
                slot.gap_is_open = slot.last_id.is_none();
                Some(match &slot.last_id {
                    Some(latest) => {
                        let same_epoch = latest.epoch == sequence_id.epoch;
                        let reason = if same_epoch { GapReason::ResumeExpired } else { GapReason::NewEpoch };
                        let from = if same_epoch { sequence_id.seq + 1 } else { 1 };
                        MissedRange {
                            epoch: Some(Arc::clone(&latest.epoch)),
                            from: Some(from),
                            to: Some(latest.seq),
                            reason,
                        }
                    }
                    None => MissedRange {
                        epoch: Some(Arc::clone(&sequence_id.epoch)),
                        from: Some(sequence_id.seq + 1),
                        to: None,
                        reason: GapReason::ResumeExpired,
                    },
                })
            }
        }
    }

    /// Skips frames up to `snapshot`, the sequence id that the client's snapshot includes. No effect on a started
    /// topic.
    pub fn skip_to(&mut self, id: SlotId, snapshot: SequenceId) {
        if let Some(slot) = self.unstarted(id) {
            slot.last_id = Some(snapshot);
        }
    }

    /// As [`skip_to`](Self::skip_to) for a cached value, which has a version but no epoch. Returns its sequence id if
    /// the latest event received has the same lease token.
    pub fn skip_to_version(&mut self, id: SlotId, snapshot_version: Version) -> Option<SequenceId> {
        self.unstarted(id)?.snapshot_version = Some(snapshot_version);
        let latest = self.latest_sequence_id(id)?;
        (epoch_token(&latest.epoch) == snapshot_version.token)
            .then_some(SequenceId { epoch: latest.epoch, seq: snapshot_version.seq })
    }

    fn unstarted(&mut self, id: SlotId) -> Option<&mut TopicSlot> {
        self.slots.get_mut(id)?.as_mut().filter(|slot| !slot.started)
    }

    /// The sequence id of the latest event received for a topic.
    #[must_use]
    pub fn latest_sequence_id(&self, id: SlotId) -> Option<SequenceId> {
        let slot = self.slots.get(id)?.as_ref()?;
        slot.subscription.0.state.read().ring.latest_sequence_id().cloned()
    }

    /// A handle of a topic.
    #[must_use]
    pub fn handle(&self, id: SlotId) -> Option<TopicHandle> {
        Some(self.slots.get(id)?.as_ref()?.subscription.handle())
    }

    /// The newest data frames of a topic before the read position, oldest first.
    #[must_use]
    pub fn recent_data(&self, id: SlotId, count: usize) -> Vec<Frame> {
        let Some(Some(slot)) = self.slots.get(id) else { return Vec::new() };
        slot.subscription.0.state.read().ring.recent_data(count, slot.next_index)
    }

    /// Starts reading a topic.
    pub fn start(&mut self, id: SlotId) {
        if let Some(Some(slot)) = self.slots.get_mut(id) {
            slot.started = true;
            slot.notifier.notify();
        }
    }

    /// Sets the minimum interval between two reads of a topic.
    pub fn set_min_interval(&mut self, id: SlotId, min_interval: Duration) {
        if let Some(Some(slot)) = self.slots.get_mut(id) {
            slot.min_interval = min_interval;
        }
    }

    /// The slot of a topic.
    #[must_use]
    pub fn find(&self, topic: &Topic) -> Option<SlotId> {
        self.by_topic.get(topic).copied()
    }

    /// Unsubscribes from a topic. Returns whether it was subscribed.
    pub fn remove(&mut self, topic: &Topic) -> bool {
        let Some(id) = self.by_topic.remove(topic) else { return false };
        if let Some(slot) = self.slots[id].take() {
            slot.subscription.0.remove_notifier(&slot.notifier);
        }
        self.free.push(id);
        true
    }

    /// The subscribed topics, sorted.
    #[must_use]
    pub fn topics(&self) -> Vec<&Topic> {
        let mut topics: Vec<&Topic> = self.by_topic.keys().collect();
        topics.sort_unstable();
        topics
    }

    /// The number of topics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_topic.len()
    }

    /// Whether there are no topics.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_topic.is_empty()
    }

    /// Bytes that this client missed since it last read all frames.
    #[must_use]
    pub const fn missed_bytes(&self) -> u64 {
        self.missed_bytes
    }

    /// Waits until there are frames to read. Cancel-safe.
    pub async fn ready(&self) {
        let notified = poll_fn(|context| {
            // Registers the waker before the check, so that no notification is missed.
            self.ready_slots.waker.register(context.waker());
            if self.ready.is_empty() && self.ready_slots.is_empty() { Poll::Pending } else { Poll::Ready(()) }
        });
        match self.delayed.peek() {
            None => notified.await,
            Some(Reverse((due_at, _))) => {
                tokio::select! {
                    () = notified => {}
                    () = self.clock.sleep(due_at.saturating_sub(self.clock.elapsed())) => {}
                }
            }
        }
    }

    /// Passes ready frames to `sink`, about `budget` bytes.
    pub fn read(&mut self, budget: usize, mut sink: impl FnMut(SlotId, &Frame)) {
        self.ready_slots.drain_into(&mut self.ready);
        if self.ready.is_empty() && self.delayed.is_empty() {
            return;
        }
        let now = self.clock.elapsed();
        while self.delayed.peek().is_some_and(|Reverse((due_at, _))| *due_at <= now) {
            self.ready.extend(self.delayed.pop().map(|Reverse((_, id))| id));
        }
        let mut remaining = budget;
        while let Some(id) = self.ready.pop_front() {
            let Some(Some(slot)) = self.slots.get_mut(id) else { continue };
            slot.notifier.rearm();
            if !slot.started {
                continue;
            }
            if slot.due_at > now {
                self.delayed.push(Reverse((slot.due_at, id)));
                continue;
            }
            let (bytes_read, has_more) = slot.read(remaining, &mut self.missed_bytes, |frame| sink(id, frame));
            remaining = remaining.saturating_sub(bytes_read);
            if bytes_read > 0 {
                slot.due_at = now + slot.min_interval;
            }
            if has_more {
                self.ready.push_front(id);
                return;
            }
        }
        self.missed_bytes = 0;
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        for slot in self.slots.iter().flatten() {
            slot.subscription.0.remove_notifier(&slot.notifier);
        }
    }
}

impl TopicSlot {
    /// Passes frames to `sink`. Returns their total size and whether more frames are left.
    fn read(&mut self, budget: usize, missed_bytes: &mut u64, mut sink: impl FnMut(&Frame)) -> (usize, bool) {
        let buffer = Arc::clone(&self.subscription.0);
        let latest_only = conflates(buffer.topic.channel());
        let state = buffer.state.read();
        let (first, frames) = state.ring.since(self.next_index);
        if first > self.next_index {
            FramesMissed { channel: buffer.topic.channel(), frames: first - self.next_index }.emit();
            if !latest_only {
                *missed_bytes += state.ring.evicted_bytes().saturating_sub(self.bytes);
            }
            self.bytes = state.ring.evicted_bytes();
            self.next_index = first;
        }
        let latest_data = latest_only.then(|| state.ring.latest_data_index()).flatten();
        let mut bytes_read = 0;
        for frame in frames {
            if bytes_read >= budget {
                return (bytes_read, true);
            }
            let index = self.next_index;
            self.next_index += 1;
            self.bytes += frame.ws_frame().len() as u64;
            if latest_only && !frame.is_gap() && latest_data != Some(index) {
                continue;
            }
            match frame.sequence_id() {
                Some(sequence_id) => match self.advance(sequence_id, frame.first_seq(), latest_only) {
                    Continuity::Duplicate => continue,
                    Continuity::Next => {}
                    Continuity::Gap(missed) => {
                        let gap = Frame::gap(&buffer.topic, &missed);
                        bytes_read += gap.ws_frame().len();
                        sink(&gap);
                    }
                },
                None => self.gap_is_open = true,
            }
            bytes_read += frame.ws_frame().len();
            sink(frame);
        }
        (bytes_read, false)
    }

    /// Compares a frame with the last one and, unless it is a duplicate, makes it the last one.
    fn advance(&mut self, sequence_id: &SequenceId, from: u64, latest_only: bool) -> Continuity {
        let is_in =
            |snapshot: Version| epoch_token(&sequence_id.epoch) == snapshot.token && sequence_id.seq <= snapshot.seq;
        if self.snapshot_version.is_some_and(is_in) {
            return Continuity::Duplicate;
        }
        self.snapshot_version = None;
        let gap_was_open = std::mem::take(&mut self.gap_is_open);
        let Some(last_id) = &mut self.last_id else {
            self.last_id = Some(sequence_id.clone());
            return Continuity::Next;
        };
        let expected = if last_id.epoch == sequence_id.epoch {
            if sequence_id.seq <= last_id.seq {
                self.gap_is_open = gap_was_open;
                return Continuity::Duplicate;
            }
            let expected = last_id.seq + 1;
            last_id.seq = sequence_id.seq;
            expected
        } else if epoch_token(&sequence_id.epoch) < epoch_token(&last_id.epoch) {
            // From a collector that does not know yet that another one has taken over.
            self.gap_is_open = gap_was_open;
            return Continuity::Duplicate;
        } else {
            *last_id = sequence_id.clone();
            1
        };
        if from <= expected || gap_was_open || latest_only {
            return Continuity::Next;
        }
        Continuity::Gap(MissedRange {
            epoch: Some(Arc::clone(&sequence_id.epoch)),
            from: Some(expected),
            to: Some(from - 1),
            reason: GapReason::SlowClient,
        })
    }
}

/// How a frame follows the last one.
enum Continuity {
    /// The client already has it, or its epoch is older.
    Duplicate,
    /// Nothing is missing in between.
    Next,
    /// This range is missing in between.
    Gap(MissedRange),
}
