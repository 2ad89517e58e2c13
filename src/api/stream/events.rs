//! `GET /v1/events`: the frames of `/v1/stream` as server-sent events, one way.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::{Data, Query};
use poem::{Body, Request, Response, handler};
use serde::Deserialize;

use super::feed::{BEAT, Begin, Feed, GATHER_BYTES, MAX_SNAPSHOT, Outlet, Snapshot};
use super::find::{Wanted, find};
use super::{message, status};
use crate::api::access::Client;
use crate::api::problem::{Code, Problem, Refused};
use crate::api::{Doors, Stay};
use crate::clock::Timer;
use crate::hub::{Frame, Place, SlotId};
use crate::model::{ExchangeId, Interval, Topic, wire};
use crate::telemetry::hub::ClientEvicted;

/// The most topics of one stream.
const MAX_TOPICS: usize = 32;

/// What the query says.
#[derive(Deserialize)]
pub struct Asked {
    topics: Option<String>,
    snapshot: Option<String>,
    /// What `Last-Event-ID` says, for who opens a new stream and cannot send it.
    resume: Option<String>,
}

/// `GET /v1/events`
#[handler]
pub async fn events(
    request: &Request,
    Data(doors): Data<&Arc<Doors>>,
    Data(client): Data<&Client>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let topics = topics(asked.topics.as_deref().unwrap_or_default())?;
    let snapshot = snapshot(asked.snapshot.as_deref())?;
    let places = places(request.header("Last-Event-ID").or(asked.resume.as_deref()), topics.len())?;
    let stay = doors.take_seat(client, "events")?;
    let mut events = Events {
        feed: Feed::new(doors, "events", client.id()),
        out: Sse { text: Vec::new(), places: places.clone(), of_slot: HashMap::new() },
        doors: Arc::clone(doors),
        beat: None,
        end: None,
        ended: false,
        stay,
    };
    for (index, (topic, resume)) in topics.into_iter().zip(places).enumerate() {
        let snapshot = if resume.is_some() { 0 } else { snapshot };
        events.begin(index, topic, Begin { snapshot, resume }).await?;
    }
    let body = stream::unfold(events, |mut events| async move {
        let text = events.next().await?;
        Some((Ok::<_, io::Error>(text), events))
    });
    Ok(Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))
        // Some proxies would gather what should be seen at once.
        .header("X-Accel-Buffering", HeaderValue::from_static("no"))
        .body(Body::from_bytes_stream(body)))
}

/// A topic as it stands in the query.
enum Named {
    Topic(Topic),
    Status(ExchangeId),
}

fn refuse<T>(parameter: &'static str, detail: impl Into<Cow<'static, str>>) -> Result<T, Problem> {
    Err(Problem::invalid(vec![Refused { parameter: parameter.into(), detail: detail.into() }]))
}

fn topics(text: &str) -> Result<Vec<Named>, Problem> {
    let mut topics = Vec::new();
    let mut names = HashSet::new();
    for name in text.split(',').filter(|name| !name.is_empty()) {
        if !names.insert(name) {
            return refuse("topics", format!("`{name}` stands there twice"));
        }
        let topic = match name.strip_prefix(status::TOPIC) {
            Some(exchange) => exchange.parse().map(Named::Status).map_err(|error| format!("{error}")),
            None => name.parse().map(Named::Topic).map_err(|error| format!("{error}")),
        };
        match topic {
            Ok(topic) => topics.push(topic),
            Err(error) => return refuse("topics", format!("`{name}`: {error}, or status:EXCHANGE")),
        }
    }
    match topics.len() {
        1..=MAX_TOPICS => Ok(topics),
        _ => refuse("topics", format!("`topics` names 1 to {MAX_TOPICS} topics, such as ticker:binance:BTC/USDT")),
    }
}

fn snapshot(text: Option<&str>) -> Result<u32, Problem> {
    match text.map_or(Ok(1), str::parse) {
        Ok(count @ 0..=MAX_SNAPSHOT) => Ok(count),
        _ => refuse("snapshot", format!("`snapshot` is a number from 0 to {MAX_SNAPSHOT}")),
    }
}

/// Where a client was that comes back: `epoch.seq` for each topic, in their order; `-` where nothing was told.
fn places(id: Option<&str>, topics: usize) -> Result<Vec<Option<Place>>, Problem> {
    let Some(id) = id.filter(|id| !id.is_empty()) else { return Ok(vec![None; topics]) };
    let place = |text: &str| {
        let (epoch, seq) = text.rsplit_once('.')?;
        let seq = seq.parse().ok().filter(|seq| *seq < u64::MAX)?;
        (!epoch.is_empty()).then(|| Place { epoch: epoch.into(), seq })
    };
    let places: Option<Vec<_>> =
        id.split(',').map(|text| if text == "-" { Some(None) } else { place(text).map(Some) }).collect();
    match places {
        Some(places) if places.len() == topics => Ok(places),
        _ => refuse("Last-Event-ID", "the id of an event of a stream with these topics in this order"),
    }
}

/// One client's events.
struct Events {
    doors: Arc<Doors>,
    feed: Feed,
    out: Sse,
    beat: Option<Timer>,
    /// When the stream ends, once the process is ending.
    end: Option<Timer>,
    ended: bool,
    stay: Stay,
}

impl Events {
    async fn begin(&mut self, index: usize, topic: Named, begin: Begin) -> Result<(), Problem> {
        let topic = match topic {
            Named::Status(exchange) => {
                self.doors.market.exchange_id(exchange.as_str())?;
                let states = self.doors.hub.statuses().subscribe().await;
                self.feed.status.follow(exchange, &states);
                return Ok(());
            }
            Named::Topic(topic) => topic,
        };
        let interval = if let Topic::Candles(series) = &topic { series.interval } else { Interval::M1 };
        let (exchange, symbol) = (topic.exchange().to_string(), topic.symbol().to_string());
        let wanted = Wanted {
            channel: topic.channel(),
            exchange: Some(exchange),
            symbols: vec![symbol],
            interval,
            room: 1,
            hint: true,
        };
        match find(Arc::clone(&self.doors), wanted).await.pop() {
            Some(Ok(found)) => {
                let added = self.feed.add(found);
                self.out.of_slot.insert(added.slot, index);
                self.feed.begin(added, &begin, &mut self.out);
                Ok(())
            }
            Some(Err(rejected)) => Err(rejected.problem()),
            None => Err(Problem::new(Code::Internal, "no topic was looked for")),
        }
    }

    /// What is sent next; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.feed.gather(GATHER_BYTES, &mut self.out);
            if self.feed.subscriber.behind() > self.doors.config.max_behind_bytes {
                ClientEvicted { reason: "slow" }.emit();
                return None;
            }
            if !self.out.text.is_empty() {
                self.beat = None;
                return Some(std::mem::take(&mut self.out.text).into());
            }
            if self.ended {
                return None;
            }
            let Self { doors, feed, out, beat, end, ended, stay } = self;
            let beat_at = beat.get_or_insert_with(|| doors.clock.timer(BEAT));
            let leaving = end.is_some();
            tokio::select! {
                biased;
                () = stay.leave.cancelled(), if !leaving => {
                    out.text(&message::shutdown(doors.config.notice));
                    *end = Some(doors.clock.timer(doors.config.notice));
                }
                () = async { if let Some(end) = end { end.await } }, if leaving => *ended = true,
                made = feed.ready() => if let Some(made) = made { feed.finish(made, out) },
                () = beat_at => {
                    *beat = None;
                    out.text.extend_from_slice(b": heartbeat\n\n");
                }
            }
        }
    }
}

/// Events as they are written.
struct Sse {
    text: Vec<u8>,
    /// Where the client is in each topic, in the order of the query.
    places: Vec<Option<Place>>,
    of_slot: HashMap<SlotId, usize>,
}

impl Sse {
    /// Notes where the client is, and writes the id that says so.
    fn id(&mut self, slot: SlotId, place: Option<&Place>) {
        if let (Some(place), Some(index)) = (place, self.of_slot.get(&slot)) {
            self.places[*index] = Some(place.clone());
        }
        self.text.extend_from_slice(b"id: ");
        for (index, place) in self.places.iter().enumerate() {
            if index > 0 {
                self.text.push(b',');
            }
            match place {
                None => self.text.push(b'-'),
                Some(place) => {
                    self.text.extend_from_slice(place.epoch.as_bytes());
                    self.text.push(b'.');
                    wire::integer(&mut self.text, place.seq);
                }
            }
        }
        self.text.push(b'\n');
    }
}

impl Outlet for Sse {
    fn frame(&mut self, slot: SlotId, frame: &Frame) {
        self.id(slot, frame.place());
        self.text(frame.json());
    }

    fn snapshot(&mut self, snapshot: Snapshot<'_>) {
        self.id(snapshot.slot, snapshot.place);
        self.text(&snapshot.json());
    }

    fn text(&mut self, json: &[u8]) {
        self.text.extend_from_slice(b"data: ");
        self.text.extend_from_slice(json);
        self.text.extend_from_slice(b"\n\n");
    }
}
