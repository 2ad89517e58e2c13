//! What one client gets, whatever it came through: snapshots, then frames, with nothing lost between the two.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::find::Found;
use super::status::StatusFeed;
use crate::api::Doors;
use crate::cache::Position;
use crate::hub::{Frame, Place, SlotId, Subscriber, View};
use crate::market::{CandleFields, CandleQuery, ClientId, Listed, Market};
use crate::model::{CandleUpdate, Channel, GapReason, MarketEvent, Topic, wire};
use crate::telemetry::hub::Subscriptions;

/// About how much is sent at once.
pub const GATHER_BYTES: usize = 64 * 1024;

/// A stream without other traffic shows that it lives as often.
pub const BEAT: Duration = Duration::from_secs(1);

/// How many snapshots of a client are made at a time.
const AT_A_TIME: usize = 8;

/// The most values of a snapshot.
pub const MAX_SNAPSHOT: u32 = 1_000;

/// How often a snapshot is made anew because something came while it was made.
const TRIES: usize = 3;

/// Where frames go.
pub trait Outlet {
    /// A frame of a topic.
    fn frame(&mut self, slot: SlotId, frame: &Frame);
    /// A snapshot of a topic.
    fn snapshot(&mut self, snapshot: Snapshot<'_>);
    /// Any other JSON text.
    fn text(&mut self, json: &[u8]);
}

/// The newest values of a topic, and up to which number they tell everything.
pub struct Snapshot<'a> {
    pub slot: SlotId,
    pub topic: &'a Topic,
    pub place: Option<&'a Place>,
    /// Encoded objects.
    pub data: &'a [Bytes],
}

impl Snapshot<'_> {
    /// As a frame.
    pub fn json(&self) -> Vec<u8> {
        wire::snapshot_frame(self.topic, self.place.map(|place| (&*place.epoch, place.seq)), self.data)
    }
}

/// The topics of one client.
pub struct Feed {
    doors: Arc<Doors>,
    /// Who is charged for what its snapshots cost the exchanges.
    client: ClientId,
    pub subscriber: Subscriber,
    count: Subscriptions,
    /// The markets of the topics, and how many values their snapshots have.
    topics: HashMap<SlotId, (Listed, u32)>,
    waiting: VecDeque<Wish>,
    making: FuturesUnordered<BoxFuture<'static, Made>>,
    pub status: StatusFeed,
}

/// How a topic begins.
#[derive(Clone, Debug, Default)]
pub struct Begin {
    /// How many values the snapshot has.
    pub snapshot: u32,
    /// Where the client was.
    pub resume: Option<Place>,
}

/// A topic that was added.
pub struct Added {
    pub slot: SlotId,
    /// Whether the client did not have it.
    is_new: bool,
    listed: Listed,
    topic: Topic,
    view: View,
}

/// A snapshot that is to be made.
struct Wish {
    slot: SlotId,
    listed: Listed,
    topic: Topic,
    count: u32,
    view: View,
}

/// A snapshot that was made.
pub struct Made {
    slot: SlotId,
    topic: Topic,
    data: Vec<Bytes>,
    shows: Shows,
}

/// Up to where a snapshot tells everything.
enum Shows {
    Place(Option<Place>),
    Position(Position),
}

impl Feed {
    pub fn new(doors: &Arc<Doors>, door: &'static str, client: ClientId) -> Self {
        Self {
            client,
            subscriber: doors.hub.subscriber(),
            doors: Arc::clone(doors),
            count: Subscriptions::new(door),
            topics: HashMap::new(),
            waiting: VecDeque::new(),
            making: FuturesUnordered::new(),
            status: StatusFeed::default(),
        }
    }

    /// Adds a topic, if the client does not have it. Nothing of it is sent before [`begin`](Self::begin).
    pub fn add(&mut self, found: Found) -> Added {
        let Found { listed, seat } = found;
        let (topic, view) = (seat.topic().clone(), seat.view());
        let known = self.subscriber.find(&topic);
        let slot = known.unwrap_or_else(|| self.subscriber.add(seat));
        self.count.set(self.subscriber.len());
        Added { slot, is_new: known.is_none(), listed, topic, view }
    }

    /// Begins with a topic. What cannot be resumed is told at once.
    pub fn begin(&mut self, added: Added, begin: &Begin, out: &mut impl Outlet) {
        let Added { slot, is_new, listed, topic, view } = added;
        let mut count = begin.snapshot;
        if let (true, Some(place)) = (is_new, &begin.resume) {
            match self.subscriber.resume(slot, place) {
                None => count = 0,
                Some(missed) => {
                    out.frame(slot, &Frame::gap(&topic, &missed));
                    count = count.max(1);
                }
            }
        }
        self.topics.insert(slot, (listed.clone(), begin.snapshot));
        match &topic {
            _ if count == 0 => self.subscriber.start(slot),
            Topic::Trades { .. } => {
                let latest = self.subscriber.latest(slot, count as usize);
                let data = latest.iter().map(|frame| Bytes::copy_from_slice(frame.payload())).collect();
                let shows = Shows::Place(self.subscriber.newest(slot));
                self.finish(Made { slot, topic, data, shows }, out);
            }
            _ => self.waiting.push_back(Wish { slot, listed, topic, count, view }),
        }
    }

    /// Another collector took over: what it knows is shown anew, if the client wants snapshots at all.
    fn show_again(&mut self, slot: SlotId) {
        let (Some((listed, count)), Some(view)) = (self.topics.get(&slot), self.subscriber.view(slot)) else { return };
        let topic = view.topic().clone();
        if *count > 0 && topic.channel() != Channel::Trades {
            self.waiting.push_back(Wish { slot, listed: listed.clone(), topic, count: *count, view });
        }
    }

    /// Unsubscribes from a topic; says whether it was subscribed to.
    pub fn unsubscribe(&mut self, topic: &Topic) -> bool {
        let slot = self.subscriber.find(topic);
        slot.map(|slot| self.topics.remove(&slot));
        let was = self.subscriber.remove(topic);
        self.count.set(self.subscriber.len());
        was
    }

    /// Sends a snapshot, and begins with what came since.
    pub fn finish(&mut self, made: Made, out: &mut impl Outlet) {
        let Made { slot, topic, data, shows } = made;
        // Meanwhile the client may have left the topic, or left and come again.
        if self.subscriber.find(&topic) != Some(slot) {
            return;
        }
        let place = match shows {
            Shows::Place(place) => {
                if let Some(place) = &place {
                    self.subscriber.skip_to(slot, place.clone());
                }
                place
            }
            Shows::Position(position) => self.subscriber.skip_to_position(slot, position),
        };
        out.snapshot(Snapshot { slot, topic: &topic, place: place.as_ref(), data: &data });
        self.subscriber.start(slot);
    }

    /// Gives what is ready, about `budget` bytes of it.
    pub fn gather(&mut self, budget: usize, out: &mut impl Outlet) {
        let mut again = Vec::new();
        self.subscriber.gather(budget, |slot, frame| {
            out.frame(slot, frame);
            if frame.reason() == Some(GapReason::NewEpoch) {
                again.push(slot);
            }
        });
        for slot in again {
            self.show_again(slot);
        }
        self.status.gather(out);
    }

    /// Waits until there is something to gather, or a snapshot to finish. Cancelling loses nothing.
    pub async fn ready(&mut self) -> Option<Made> {
        while self.making.len() < AT_A_TIME
            && let Some(wish) = self.waiting.pop_front()
        {
            let (market, client) = (Arc::clone(&self.doors.market), self.client.clone());
            self.making.push(Box::pin(make(market, client, wish)));
        }
        let Self { making, subscriber, status, .. } = self;
        tokio::select! {
            biased;
            Some(made) = making.next() => Some(made),
            () = subscriber.ready() => None,
            () = status.changed() => None,
        }
    }
}

async fn make(market: Arc<Market>, client: ClientId, wish: Wish) -> Made {
    let Wish { slot, listed, topic, count, view } = wish;
    match &topic {
        Topic::Ticker { .. } => {
            let Ok(answer) = market.ticker(&listed, &client).await else {
                return Made { slot, topic, data: Vec::new(), shows: Shows::Place(view.newest()) };
            };
            let data = vec![[&answer.kept.json[..], b"}"].concat().into()];
            Made { slot, topic, data, shows: Shows::Position(answer.kept.position) }
        }
        Topic::Trades { .. } => Made { slot, topic, data: Vec::new(), shows: Shows::Place(view.newest()) },
        Topic::Candles(series) => {
            let limit = count.min(MAX_SNAPSHOT).to_string();
            let fields = CandleFields {
                interval: Some(series.interval.as_str()),
                limit: Some(&limit),
                ..CandleFields::default()
            };
            let now = market.exchange_now(listed.exchange).await;
            let (mut shows, mut data) = (None, Vec::new());
            for _ in 0..TRIES {
                let Ok(query) = CandleQuery::new(fields, now) else { break };
                // What was heard before the question, the answer shows; of what comes meanwhile nobody knows. It is told
                // after the snapshot, though it may be an older state of a candle: so the question is asked anew.
                shows = view.newest();
                data = market.history(&listed, &query, &client).await.map(|page| page.candles).unwrap_or_default();
                if view.newest() == shows {
                    break;
                }
            }
            let event = |candle| MarketEvent::Candle(CandleUpdate { series: series.clone(), candle });
            let data =
                data.into_iter().map(|candle| wire::event_data(&event(candle), listed.simulated).into()).collect();
            Made { slot, topic, data, shows: Shows::Place(shows) }
        }
    }
}
