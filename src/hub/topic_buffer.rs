//! One topic of this replica: its recent frames and the notifiers of its subscribers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use tokio::sync::{Notify, watch};

use super::frame::{Frame, MissedRange, SequenceId, conflates};
use super::ring::{Ring, RingLimits};
use crate::cache::{BusEvent, BusEventKind, epoch_token};
use crate::model::{GapReason, Topic};
use crate::telemetry::hub::TopicGap;

/// The recent frames and the subscribers of one topic.
pub(super) struct TopicBuffer {
    pub topic: Topic,
    pub state: RwLock<State>,
    /// Number of open [`Subscription`]s.
    subscriptions: AtomicUsize,
    /// Signals that the first subscription was opened or the last one was closed.
    pub demand_changed: Notify,
    /// Whether the bus subscription is active.
    pub listening: watch::Sender<bool>,
}

pub(super) struct State {
    pub ring: Ring,
    notifiers: Vec<Arc<SlotNotifier>>,
    /// The latest frame is a gap whose end is not known yet.
    gap_is_open: bool,
}

/// Notifies one subscriber about one of its topics.
pub(super) struct SlotNotifier {
    ready_slots: Arc<ReadySlots>,
    slot: usize,
    /// The slot is already in `ready_slots`.
    pending: AtomicBool,
}

/// The slots of a subscriber that have new frames.
#[derive(Default)]
pub(super) struct ReadySlots {
    slots: Mutex<Vec<usize>>,
    pub waker: AtomicWaker,
}

impl ReadySlots {
    pub fn drain_into(&self, slots: &mut impl Extend<usize>) {
        slots.extend(self.slots.lock().drain(..));
    }

    pub fn is_empty(&self) -> bool {
        self.slots.lock().is_empty()
    }
}

impl SlotNotifier {
    pub fn new(ready_slots: &Arc<ReadySlots>, slot: usize) -> Arc<Self> {
        Arc::new(Self { ready_slots: Arc::clone(ready_slots), slot, pending: AtomicBool::new(false) })
    }

    /// Wakes the subscriber. Cheap if a notification is already pending.
    pub fn notify(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.ready_slots.slots.lock().push(self.slot);
            self.ready_slots.waker.wake();
        }
    }

    /// Must be called before the subscriber reads, so that later frames notify it again.
    pub fn rearm(&self) {
        self.pending.store(false, Ordering::Release);
    }
}

impl TopicBuffer {
    pub fn new(topic: Topic, limits: RingLimits) -> Arc<Self> {
        let ring = Ring::new(limits, conflates(topic.channel()));
        Arc::new(Self {
            topic,
            state: RwLock::new(State { ring, notifiers: Vec::new(), gap_is_open: false }),
            subscriptions: AtomicUsize::new(0),
            demand_changed: Notify::new(),
            listening: watch::Sender::new(false),
        })
    }

    pub fn is_unused(&self) -> bool {
        self.subscriptions.load(Ordering::Acquire) == 0
    }

    /// Stores an event of the bus. A jump in the sequence numbers is a gap.
    pub fn receive(&self, event: &BusEvent) {
        let mut state = self.state.write();
        let id = SequenceId { epoch: Arc::clone(&event.epoch), seq: event.seq };
        let latest = state.ring.latest_sequence_id();
        let last_seq = latest.filter(|latest| latest.epoch == id.epoch).map_or(0, |latest| latest.seq);
        let is_first = latest.is_none();
        match &event.kind {
            BusEventKind::Gap(GapReason::BusLost) => return self.push_open_gap(state),
            // The sequence number of the next event shows what was missed.
            BusEventKind::Gap(GapReason::SlowClient) => return,
            _ if id.seq <= last_seq => return,
            // From a collector that does not know yet that another one has taken over.
            _ if latest.is_some_and(|latest| epoch_token(&latest.epoch) > epoch_token(&id.epoch)) => return,
            _ => {}
        }
        let jumped = id.seq > last_seq + 1 && !is_first && !state.gap_is_open && !conflates(self.topic.channel());
        if jumped {
            let reason = if last_seq == 0 { GapReason::NewEpoch } else { GapReason::BusLost };
            let (from, to) = (Some(last_seq + 1), Some(id.seq - 1));
            let missed = MissedRange { epoch: Some(Arc::clone(&id.epoch)), from, to, reason };
            self.report_gap(reason);
            state.ring.push(Frame::gap(&self.topic, &missed));
        }
        state.gap_is_open = false;
        state.ring.push(match &event.kind {
            BusEventKind::Data(data) => Frame::data(&self.topic, id, data),
            BusEventKind::Gap(reason) => {
                self.report_gap(*reason);
                let (from, to) = (Some(id.seq), Some(id.seq));
                Frame::gap(&self.topic, &MissedRange { epoch: Some(id.epoch), from, to, reason: *reason })
            }
        });
        Self::notify_all(state);
    }

    /// Adds an open gap: the bus may have lost events, and their sequence numbers are not known yet.
    pub fn mark_lost(&self) {
        self.push_open_gap(self.state.write());
    }

    fn push_open_gap(&self, mut state: RwLockWriteGuard<'_, State>) {
        if state.gap_is_open {
            return;
        }
        state.gap_is_open = true;
        self.report_gap(GapReason::BusLost);
        let latest = state.ring.latest_sequence_id();
        let (epoch, from) = (latest.map(|id| Arc::clone(&id.epoch)), latest.map(|id| id.seq + 1));
        state.ring.push(Frame::gap(&self.topic, &MissedRange { epoch, from, to: None, reason: GapReason::BusLost }));
        Self::notify_all(state);
    }

    fn report_gap(&self, reason: GapReason) {
        TopicGap { channel: self.topic.channel(), reason }.emit();
    }

    fn notify_all(state: RwLockWriteGuard<'_, State>) {
        let state = RwLockWriteGuard::downgrade(state);
        for notifier in &state.notifiers {
            notifier.notify();
        }
    }

    pub fn add_notifier(&self, notifier: Arc<SlotNotifier>) {
        self.state.write().notifiers.push(notifier);
    }

    pub fn remove_notifier(&self, notifier: &Arc<SlotNotifier>) {
        let notifiers = &mut self.state.write().notifiers;
        if let Some(at) = notifiers.iter().position(|one| Arc::ptr_eq(one, notifier)) {
            notifiers.swap_remove(at);
        }
    }
}

/// Holds a topic open: the hub listens to it while a subscription exists.
pub struct Subscription(pub(super) Arc<TopicBuffer>);

impl Subscription {
    /// Opens a subscription. The caller holds the lock under which unused topics are closed.
    pub(super) fn new(buffer: &Arc<TopicBuffer>) -> Self {
        if buffer.subscriptions.fetch_add(1, Ordering::AcqRel) == 0 {
            buffer.demand_changed.notify_one();
        }
        Self(Arc::clone(buffer))
    }

    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.0.topic
    }

    /// A handle that does not hold the topic open.
    #[must_use]
    pub fn handle(&self) -> TopicHandle {
        TopicHandle(Arc::clone(&self.0))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.0.subscriptions.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.demand_changed.notify_one();
        }
    }
}

/// Reads the state of a topic without a subscription.
pub struct TopicHandle(Arc<TopicBuffer>);

impl TopicHandle {
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.0.topic
    }

    /// The sequence id of the latest event received.
    #[must_use]
    pub fn latest_sequence_id(&self) -> Option<SequenceId> {
        self.0.state.read().ring.latest_sequence_id().cloned()
    }
}
