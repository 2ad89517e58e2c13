//! The topics of one client, whatever the transport: snapshots followed by frames, without loss between the two.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::frame_sink::{FrameSink, Snapshot};
use super::resolve::ResolvedTopic;
use super::status::StatusFeed;
use crate::api::state::AppState;
use crate::cache::Version;
use crate::hub::{Frame, SequenceId, SlotId, Subscriber, TopicHandle};
use crate::market::{CandleParams, CandleQuery, ClientId, ListedMarket, MarketService};
use crate::model::{CandleUpdate, Channel, GapReason, MarketEvent, Topic, wire};
use crate::telemetry::hub::SubscriptionGauge;

/// Approximate maximum number of bytes written at once.
pub const MAX_BATCH_BYTES: usize = 64 * 1024;

/// Interval of heartbeats on a stream without other traffic.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of snapshots of one client that are created concurrently.
const MAX_CONCURRENT_SNAPSHOTS: usize = 8;

/// Maximum number of values in a snapshot.
pub const MAX_SNAPSHOT: u32 = 1_000;

/// Maximum number of attempts to create a snapshot during which no event arrives.
const MAX_SNAPSHOT_ATTEMPTS: usize = 3;

/// The topics of one client.
pub struct ClientFeed {
    state: Arc<AppState>,
    /// Charged for requests to exchanges that its snapshots cause.
    client: ClientId,
    pub subscriber: Subscriber,
    gauge: SubscriptionGauge,
    /// The market and the snapshot length of each topic.
    topics: HashMap<SlotId, (ListedMarket, u32)>,
    pending_snapshots: VecDeque<SnapshotRequest>,
    in_progress: FuturesUnordered<BoxFuture<'static, SnapshotResult>>,
    pub status: StatusFeed,
}

/// Options of a subscription to a topic.
#[derive(Clone, Debug, Default)]
pub struct SubscribeOptions {
    /// Number of values in the snapshot.
    pub snapshot: u32,
    /// The last sequence id that the client received.
    pub resume: Option<SequenceId>,
}

/// A topic that was added but not started.
pub struct AddedTopic {
    pub slot: SlotId,
    /// Whether the client was not subscribed to it before.
    is_new: bool,
    listed: ListedMarket,
    topic: Topic,
    handle: TopicHandle,
}

/// A snapshot to create.
struct SnapshotRequest {
    slot: SlotId,
    listed: ListedMarket,
    topic: Topic,
    count: u32,
    handle: TopicHandle,
}

/// A created snapshot.
pub struct SnapshotResult {
    slot: SlotId,
    topic: Topic,
    data: Vec<Bytes>,
    position: SnapshotPosition,
}

/// The last event that a snapshot includes.
enum SnapshotPosition {
    SequenceId(Option<SequenceId>),
    Version(Version),
}

impl ClientFeed {
    pub fn new(state: &Arc<AppState>, endpoint: &'static str, client: ClientId) -> Self {
        Self {
            client,
            subscriber: state.hub.subscriber(),
            state: Arc::clone(state),
            gauge: SubscriptionGauge::new(endpoint),
            topics: HashMap::new(),
            pending_snapshots: VecDeque::new(),
            in_progress: FuturesUnordered::new(),
            status: StatusFeed::default(),
        }
    }

    /// Adds a topic, unless the client has it. Sends nothing before [`start_topic`](Self::start_topic).
    pub fn add(&mut self, resolved: ResolvedTopic) -> AddedTopic {
        let ResolvedTopic { listed, subscription } = resolved;
        let (topic, handle) = (subscription.topic().clone(), subscription.handle());
        let existing = self.subscriber.find(&topic);
        let slot = existing.unwrap_or_else(|| self.subscriber.add(subscription));
        self.gauge.set(self.subscriber.len());
        AddedTopic { slot, is_new: existing.is_none(), listed, topic, handle }
    }

    /// Starts sending a topic: resumes it or requests a snapshot. Reports a gap if it cannot be resumed.
    pub fn start_topic(&mut self, added: AddedTopic, options: &SubscribeOptions, out: &mut impl FrameSink) {
        let AddedTopic { slot, is_new, listed, topic, handle } = added;
        let mut count = options.snapshot;
        if let (true, Some(sequence_id)) = (is_new, &options.resume) {
            match self.subscriber.resume(slot, sequence_id) {
                None => count = 0,
                Some(missed) => {
                    out.frame(slot, &Frame::gap(&topic, &missed));
                    count = count.max(1);
                }
            }
        }
        self.topics.insert(slot, (listed.clone(), options.snapshot));
        match &topic {
            _ if count == 0 => self.subscriber.start(slot),
            Topic::Trades { .. } => {
                let latest = self.subscriber.recent_data(slot, count as usize);
                let data = latest.iter().map(|frame| Bytes::copy_from_slice(frame.payload())).collect();
                let position = SnapshotPosition::SequenceId(self.subscriber.latest_sequence_id(slot));
                self.deliver_snapshot(SnapshotResult { slot, topic, data, position }, out);
            }
            _ => self.pending_snapshots.push_back(SnapshotRequest { slot, listed, topic, count, handle }),
        }
    }

    /// Requests a new snapshot after another collector took over, if the client wants snapshots.
    fn refresh_snapshot(&mut self, slot: SlotId) {
        let (Some((listed, count)), Some(handle)) = (self.topics.get(&slot), self.subscriber.handle(slot)) else {
            return;
        };
        let topic = handle.topic().clone();
        if *count > 0 && topic.channel() != Channel::Trades {
            self.pending_snapshots.push_back(SnapshotRequest {
                slot,
                listed: listed.clone(),
                topic,
                count: *count,
                handle,
            });
        }
    }

    /// Unsubscribes from a topic. Returns whether the client was subscribed.
    pub fn unsubscribe(&mut self, topic: &Topic) -> bool {
        let slot = self.subscriber.find(topic);
        slot.map(|slot| self.topics.remove(&slot));
        let was_subscribed = self.subscriber.remove(topic);
        self.gauge.set(self.subscriber.len());
        was_subscribed
    }

    /// Writes a snapshot and starts sending the events after it.
    pub fn deliver_snapshot(&mut self, result: SnapshotResult, out: &mut impl FrameSink) {
        let SnapshotResult { slot, topic, data, position } = result;
        // The client may have unsubscribed, or subscribed again, in the meantime.
        if self.subscriber.find(&topic) != Some(slot) {
            return;
        }
        let sequence_id = match position {
            SnapshotPosition::SequenceId(sequence_id) => {
                if let Some(sequence_id) = &sequence_id {
                    self.subscriber.skip_to(slot, sequence_id.clone());
                }
                sequence_id
            }
            SnapshotPosition::Version(version) => self.subscriber.skip_to_version(slot, version),
        };
        out.snapshot(Snapshot { slot, topic: &topic, sequence_id: sequence_id.as_ref(), data: &data });
        self.subscriber.start(slot);
    }

    /// Writes pending frames, about `budget` bytes, and changed exchange states.
    pub fn write_ready(&mut self, budget: usize, out: &mut impl FrameSink) {
        let mut new_epochs = Vec::new();
        self.subscriber.read(budget, |slot, frame| {
            out.frame(slot, frame);
            if frame.gap_reason() == Some(GapReason::NewEpoch) {
                new_epochs.push(slot);
            }
        });
        for slot in new_epochs {
            self.refresh_snapshot(slot);
        }
        self.status.write_changes(out);
    }

    /// Waits until frames or a snapshot are ready. Cancelling it loses nothing.
    pub async fn ready(&mut self) -> Option<SnapshotResult> {
        while self.in_progress.len() < MAX_CONCURRENT_SNAPSHOTS
            && let Some(request) = self.pending_snapshots.pop_front()
        {
            let (market, client) = (Arc::clone(&self.state.market), self.client.clone());
            self.in_progress.push(Box::pin(create_snapshot(market, client, request)));
        }
        let Self { in_progress, subscriber, status, .. } = self;
        tokio::select! {
            biased;
            Some(result) = in_progress.next() => Some(result),
            () = subscriber.ready() => None,
            () = status.changed() => None,
        }
    }
}

async fn create_snapshot(market: Arc<MarketService>, client: ClientId, request: SnapshotRequest) -> SnapshotResult {
    let SnapshotRequest { slot, listed, topic, count, handle } = request;
    match &topic {
        Topic::Ticker { .. } => {
            let Ok(ticker) = market.ticker(&listed, &client).await else {
                let position = SnapshotPosition::SequenceId(handle.latest_sequence_id());
                return SnapshotResult { slot, topic, data: Vec::new(), position };
            };
            let data = vec![[&ticker.cached.json[..], b"}"].concat().into()];
            SnapshotResult { slot, topic, data, position: SnapshotPosition::Version(ticker.cached.version) }
        }
        Topic::Trades { .. } => {
            let position = SnapshotPosition::SequenceId(handle.latest_sequence_id());
            SnapshotResult { slot, topic, data: Vec::new(), position }
        }
        Topic::Candles(series) => {
            let limit = count.min(MAX_SNAPSHOT).to_string();
            let params = CandleParams {
                interval: Some(series.interval.as_str()),
                limit: Some(&limit),
                ..CandleParams::default()
            };
            let now = market.exchange_now(listed.exchange);
            let (mut sequence_id, mut data) = (None, Vec::new());
            for _ in 0..MAX_SNAPSHOT_ATTEMPTS {
                let Ok(query) = CandleQuery::new(params, now) else { break };
                // The history includes all events received before the request. Whether it includes events received
                // during the request is unknown: they are sent after the snapshot, but may be older states of a candle.
                // So the request is repeated.
                sequence_id = handle.latest_sequence_id();
                data = market.history(&listed, &query, &client).await.map(|page| page.candles).unwrap_or_default();
                if handle.latest_sequence_id() == sequence_id {
                    break;
                }
            }
            let event = |candle| MarketEvent::Candle(CandleUpdate { series: series.clone(), candle });
            let data =
                data.into_iter().map(|candle| wire::event_data(&event(candle), listed.simulated).into()).collect();
            SnapshotResult { slot, topic, data, position: SnapshotPosition::SequenceId(sequence_id) }
        }
    }
}
