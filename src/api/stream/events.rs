//! `GET /v1/events`: the frames of `/v1/stream` as server-sent events.

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

use super::client_feed::{ClientFeed, HEARTBEAT_INTERVAL, MAX_BATCH_BYTES, MAX_SNAPSHOT, SubscribeOptions};
use super::frame_sink::{FrameSink, Snapshot};
use super::resolve::{TopicRequest, resolve};
use super::{message, status};
use crate::api::access::Client;
use crate::api::problem::{Code, ParameterProblem, Problem};
use crate::api::state::{AppState, ConnectionGuard};
use crate::clock::Timer;
use crate::hub::{Frame, SequenceId, SlotId};
use crate::model::{ExchangeId, Interval, Topic, wire};
use crate::telemetry::hub::ClientEvicted;

/// Maximum number of topics per stream.
const MAX_TOPICS: usize = 32;

/// The query parameters.
#[derive(Deserialize)]
pub struct EventsQuery {
    topics: Option<String>,
    snapshot: Option<String>,
    /// The same as `Last-Event-ID`, for clients that open a new stream and cannot send the header.
    resume: Option<String>,
}

/// `GET /v1/events`
#[handler]
pub async fn events(
    request: &Request,
    Data(state): Data<&Arc<AppState>>,
    Data(client): Data<&Client>,
    Query(query): Query<EventsQuery>,
) -> Result<Response, Problem> {
    let topics = parse_topics(query.topics.as_deref().unwrap_or_default())?;
    let snapshot = parse_snapshot(query.snapshot.as_deref())?;
    let last_ids = parse_last_ids(request.header("Last-Event-ID").or(query.resume.as_deref()), topics.len())?;
    let guard = state.acquire_connection(client, "events")?;
    let mut events = Events {
        feed: ClientFeed::new(state, "events", client.id()),
        out: SseSink { text: Vec::new(), last_ids: last_ids.clone(), topic_index: HashMap::new() },
        state: Arc::clone(state),
        heartbeat: None,
        deadline: None,
        is_closed: false,
        guard,
    };
    for (index, (topic, resume)) in topics.into_iter().zip(last_ids).enumerate() {
        let snapshot = if resume.is_some() { 0 } else { snapshot };
        events.subscribe(index, topic, SubscribeOptions { snapshot, resume }).await?;
    }
    let body = stream::unfold(events, |mut events| async move {
        let text = events.next().await?;
        Some((Ok::<_, io::Error>(text), events))
    });
    Ok(Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))
        // Prevents proxies such as nginx from buffering the stream.
        .header("X-Accel-Buffering", HeaderValue::from_static("no"))
        .body(Body::from_bytes_stream(body)))
}

/// A topic named in the query.
enum TopicName {
    Topic(Topic),
    Status(ExchangeId),
}

fn invalid<T>(parameter: &'static str, detail: impl Into<Cow<'static, str>>) -> Result<T, Problem> {
    Err(Problem::invalid_parameters(vec![ParameterProblem { parameter: parameter.into(), detail: detail.into() }]))
}

fn parse_topics(text: &str) -> Result<Vec<TopicName>, Problem> {
    let mut topics = Vec::new();
    let mut names = HashSet::new();
    for name in text.split(',').filter(|name| !name.is_empty()) {
        if !names.insert(name) {
            return invalid("topics", format!("`{name}` is repeated"));
        }
        let topic = match name.strip_prefix(status::TOPIC) {
            Some(exchange) => exchange.parse().map(TopicName::Status).map_err(|error| format!("{error}")),
            None => name.parse().map(TopicName::Topic).map_err(|error| format!("{error}")),
        };
        match topic {
            Ok(topic) => topics.push(topic),
            Err(error) => return invalid("topics", format!("`{name}`: {error}, or status:EXCHANGE")),
        }
    }
    match topics.len() {
        1..=MAX_TOPICS => Ok(topics),
        _ => invalid("topics", format!("`topics` needs 1 to {MAX_TOPICS} topics, such as ticker:binance:BTC/USDT")),
    }
}

fn parse_snapshot(text: Option<&str>) -> Result<u32, Problem> {
    match text.map_or(Ok(1), str::parse) {
        Ok(count @ 0..=MAX_SNAPSHOT) => Ok(count),
        _ => invalid("snapshot", format!("`snapshot` is a number from 0 to {MAX_SNAPSHOT}")),
    }
}

/// Parses the id of the last received event: `epoch.seq` for each topic in their order, `-` for topics without events.
fn parse_last_ids(id: Option<&str>, topics: usize) -> Result<Vec<Option<SequenceId>>, Problem> {
    let Some(id) = id.filter(|id| !id.is_empty()) else { return Ok(vec![None; topics]) };
    let sequence_id = |text: &str| {
        let (epoch, seq) = text.rsplit_once('.')?;
        let seq = seq.parse().ok().filter(|seq| *seq < u64::MAX)?;
        (!epoch.is_empty()).then(|| SequenceId { epoch: epoch.into(), seq })
    };
    let last_ids: Option<Vec<_>> =
        id.split(',').map(|text| if text == "-" { Some(None) } else { sequence_id(text).map(Some) }).collect();
    match last_ids {
        Some(last_ids) if last_ids.len() == topics => Ok(last_ids),
        _ => invalid("Last-Event-ID", "must be the id of an event of a stream with the same topics in the same order"),
    }
}

/// The event stream of one client.
struct Events {
    state: Arc<AppState>,
    feed: ClientFeed,
    out: SseSink,
    heartbeat: Option<Timer>,
    /// When the stream closes, during shutdown.
    deadline: Option<Timer>,
    is_closed: bool,
    guard: ConnectionGuard,
}

impl Events {
    async fn subscribe(&mut self, index: usize, topic: TopicName, options: SubscribeOptions) -> Result<(), Problem> {
        let topic = match topic {
            TopicName::Status(exchange) => {
                self.state.market.exchange_id(exchange.as_str())?;
                let states = self.state.hub.exchange_states().subscribe().await;
                self.feed.status.subscribe(exchange, &states);
                return Ok(());
            }
            TopicName::Topic(topic) => topic,
        };
        let interval = if let Topic::Candles(series) = &topic { series.interval } else { Interval::M1 };
        let (exchange, symbol) = (topic.exchange().to_string(), topic.symbol().to_string());
        let request = TopicRequest {
            channel: topic.channel(),
            exchange: Some(exchange),
            symbols: vec![symbol],
            interval,
            max_topics: 1,
            hint: true,
        };
        match resolve(Arc::clone(&self.state), request).await.pop() {
            Some(Ok(resolved)) => {
                let added = self.feed.add(resolved);
                self.out.topic_index.insert(added.slot, index);
                self.feed.start_topic(added, &options, &mut self.out);
                Ok(())
            }
            Some(Err(rejected)) => Err(rejected.into_problem()),
            None => Err(Problem::new(Code::Internal, "no topic was resolved")),
        }
    }

    /// Returns the next bytes to send; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.feed.write_ready(MAX_BATCH_BYTES, &mut self.out);
            if self.feed.subscriber.missed_bytes() > self.state.config.max_behind_bytes {
                ClientEvicted { reason: "slow" }.emit();
                return None;
            }
            if !self.out.text.is_empty() {
                self.heartbeat = None;
                return Some(std::mem::take(&mut self.out.text).into());
            }
            if self.is_closed {
                return None;
            }
            let Self { state, feed, out, heartbeat, deadline, is_closed, guard } = self;
            let heartbeat_due = heartbeat.get_or_insert_with(|| state.clock.timer(HEARTBEAT_INTERVAL));
            let is_closing = deadline.is_some();
            tokio::select! {
                biased;
                () = guard.disconnect.cancelled(), if !is_closing => {
                    out.text(&message::shutdown(state.config.shutdown_notice));
                    *deadline = Some(state.clock.timer(state.config.shutdown_notice));
                }
                () = async { if let Some(deadline) = deadline { deadline.await } }, if is_closing => *is_closed = true,
                result = feed.ready() => if let Some(result) = result { feed.deliver_snapshot(result, out) },
                () = heartbeat_due => {
                    *heartbeat = None;
                    out.text.extend_from_slice(b": heartbeat\n\n");
                }
            }
        }
    }
}

/// Encodes frames as server-sent events.
struct SseSink {
    text: Vec<u8>,
    /// The last sequence id of each topic, in the order of the query.
    last_ids: Vec<Option<SequenceId>>,
    topic_index: HashMap<SlotId, usize>,
}

impl SseSink {
    /// Updates the last sequence id of a topic and writes the event id, which contains those of all topics.
    fn write_id(&mut self, slot: SlotId, sequence_id: Option<&SequenceId>) {
        if let (Some(sequence_id), Some(index)) = (sequence_id, self.topic_index.get(&slot)) {
            self.last_ids[*index] = Some(sequence_id.clone());
        }
        self.text.extend_from_slice(b"id: ");
        for (index, sequence_id) in self.last_ids.iter().enumerate() {
            if index > 0 {
                self.text.push(b',');
            }
            match sequence_id {
                None => self.text.push(b'-'),
                Some(sequence_id) => {
                    self.text.extend_from_slice(sequence_id.epoch.as_bytes());
                    self.text.push(b'.');
                    wire::integer(&mut self.text, sequence_id.seq);
                }
            }
        }
        self.text.push(b'\n');
    }
}

impl FrameSink for SseSink {
    fn frame(&mut self, slot: SlotId, frame: &Frame) {
        self.write_id(slot, frame.sequence_id());
        self.text(frame.json());
    }

    fn snapshot(&mut self, snapshot: Snapshot<'_>) {
        self.write_id(snapshot.slot, snapshot.sequence_id);
        self.text(&snapshot.json());
    }

    fn text(&mut self, json: &[u8]) {
        self.text.extend_from_slice(b"data: ");
        self.text.extend_from_slice(json);
        self.text.extend_from_slice(b"\n\n");
    }
}
