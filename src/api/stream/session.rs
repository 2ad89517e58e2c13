//! `WS /v1/stream`: any number of topics on one socket.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use poem::web::Data;
use poem::{Request as HttpRequest, Response, handler};
use serde_json::Value;

use super::client_feed::{ClientFeed, HEARTBEAT_INTERVAL, SnapshotResult, SubscribeOptions};
use super::client_socket::{ClientSocket, Disconnected, SocketEvent};
use super::frame_sink::{FrameSink, Snapshot};
use super::message::{self, ChannelName, Op, Subscribe};
use super::resolve::{RejectedTopic, ResolvedTopic, TopicRequest, resolve};
use super::status;
use super::upgrade::upgrade;
use crate::api::access::Client;
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::hub::{Frame, SlotId};
use crate::model::{Channel, ExchangeId, Topic, wire};

/// Maximum number of messages per second and client, also the burst size.
const MAX_MESSAGES_PER_SECOND: u32 = 20;

/// A client is disconnected when more than this many of its messages were rejected.
const MAX_ERRORS: u32 = 100;

/// Maximum number of subscribe requests of a client that are processed concurrently. Further ones are rejected.
const MAX_CONCURRENT_SUBSCRIBES: usize = 8;

/// `WS /v1/stream`
#[handler]
pub fn stream(
    request: &HttpRequest,
    Data(state): Data<&Arc<AppState>>,
    Data(client): Data<&Client>,
) -> Result<Response, Problem> {
    let (owned_state, id) = (Arc::clone(state), client.id());
    upgrade(request, state, client, HEARTBEAT_INTERVAL, |socket| async move {
        let limiter = MessageLimiter::new(owned_state.clock.elapsed());
        let (feed, resolving) = (ClientFeed::new(&owned_state, "stream", id), FuturesUnordered::new());
        let resolving_topics = 0;
        let mut session =
            Session { state: owned_state, socket, feed, resolving, resolving_topics, limiter, heartbeats: 0 };
        // The session ends only when the client disconnects.
        let Err(Disconnected) = session.run().await;
    })
}

struct Session {
    state: Arc<AppState>,
    socket: ClientSocket,
    feed: ClientFeed,
    /// Subscribe requests whose topics are being resolved.
    resolving: FuturesUnordered<BoxFuture<'static, Resolution>>,
    /// Number of topics that are being resolved.
    resolving_topics: usize,
    limiter: MessageLimiter,
    heartbeats: u64,
}

/// The resolved topics of a subscribe request.
struct Resolution {
    id: Value,
    /// Number of topics that were resolved.
    topic_count: usize,
    options: Vec<SubscribeOptions>,
    min_interval: Duration,
    results: Vec<Result<ResolvedTopic, RejectedTopic>>,
}

enum Event {
    Resolved(Resolution),
    Ready(Option<SnapshotResult>),
}

impl FrameSink for ClientSocket {
    fn frame(&mut self, _: SlotId, frame: &Frame) {
        self.push_frame(frame.ws_frame());
    }

    fn snapshot(&mut self, snapshot: Snapshot<'_>) {
        ClientSocket::push_text(self, &snapshot.json());
    }

    fn text(&mut self, json: &[u8]) {
        ClientSocket::push_text(self, json);
    }
}

impl Session {
    async fn run(&mut self) -> Result<Infallible, Disconnected> {
        loop {
            self.feed.write_ready(self.socket.remaining_capacity(), &mut self.socket);
            if self.feed.subscriber.missed_bytes() > self.state.config.max_behind_bytes {
                return self.socket.evict("slow", "too slow").await;
            }
            let Self { resolving, feed, socket, .. } = self;
            let event = async {
                tokio::select! {
                    biased;
                    Some(resolution) = resolving.next() => Event::Resolved(resolution),
                    snapshot = feed.ready() => Event::Ready(snapshot),
                }
            };
            match socket.next_event(event).await? {
                SocketEvent::Text(text) => self.handle_message(&text).await?,
                SocketEvent::Binary => self.reject_message(&Value::Null, "messages must be text").await?,
                SocketEvent::HeartbeatDue => self.send_heartbeat(),
                SocketEvent::Other(Event::Resolved(resolution)) => self.finish_subscribe(resolution),
                SocketEvent::Other(Event::Ready(Some(snapshot))) => {
                    self.feed.deliver_snapshot(snapshot, &mut self.socket);
                }
                SocketEvent::Other(Event::Ready(None)) => {}
            }
        }
    }

    fn send_heartbeat(&mut self) {
        self.heartbeats += 1;
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(b"{\"type\":\"heartbeat\",\"n\":");
        wire::integer(&mut out, self.heartbeats);
        out.extend_from_slice(b",\"timestamp\":");
        wire::integer(&mut out, self.state.clock.now().millis());
        out.push(b'}');
        FrameSink::text(&mut self.socket, &out);
    }

    async fn reject_message(&mut self, id: &Value, detail: &str) -> Result<(), Disconnected> {
        self.error(id, "invalid_message", detail).await
    }

    /// Replies with an error. Disconnects the client after too many errors.
    async fn error(&mut self, id: &Value, code: &str, detail: &str) -> Result<(), Disconnected> {
        FrameSink::text(&mut self.socket, &message::error(id, code, detail));
        self.limiter.errors += 1;
        if self.limiter.errors > MAX_ERRORS {
            return self.socket.evict("flood", "too many rejected messages").await;
        }
        Ok(())
    }

    async fn handle_message(&mut self, text: &str) -> Result<(), Disconnected> {
        if !self.limiter.spend(self.state.clock.elapsed()) {
            let detail = format!("at most {MAX_MESSAGES_PER_SECOND} messages per second: this message was ignored");
            return self.error(&Value::Null, "rate_limited", &detail).await;
        }
        let message::Request { id, op } = match message::parse(text) {
            Ok(request) => request,
            Err(invalid) => return self.reject_message(&invalid.id, &invalid.detail).await,
        };
        match op {
            Op::Ping => self.pong(&id),
            Op::List => self.list(&id),
            Op::Unsubscribe { topics } => self.unsubscribe(&id, topics),
            Op::Subscribe(request) if request.channel == ChannelName::Status => {
                self.subscribe_status(&id, request).await;
            }
            Op::Subscribe(_) if self.resolving.len() >= MAX_CONCURRENT_SUBSCRIBES => {
                let detail = format!(
                    "at most {MAX_CONCURRENT_SUBSCRIBES} concurrent subscribe requests: wait for their replies"
                );
                return self.error(&id, "rate_limited", &detail).await;
            }
            Op::Subscribe(request) => self.start_resolving(id, request),
        }
        Ok(())
    }

    fn pong(&mut self, id: &Value) {
        let now = self.state.clock.now().millis();
        let pong = message::reply("pong", id, |out| {
            out.extend_from_slice(b",\"timestamp\":");
            wire::integer(out, now);
        });
        FrameSink::text(&mut self.socket, &pong);
    }

    fn list(&mut self, id: &Value) {
        let feed = &self.feed;
        let topics = feed.subscriber.topics().into_iter().map(Topic::to_string).chain(feed.status.topics());
        let list = message::reply("topics", id, |out| message::topics(out, topics));
        FrameSink::text(&mut self.socket, &list);
    }

    fn unsubscribe(&mut self, id: &Value, topics: Vec<String>) {
        let (mut removed, mut rejected) = (Vec::new(), Vec::new());
        for name in topics {
            let was_subscribed = match name.strip_prefix(status::TOPIC) {
                Some(exchange) => exchange.parse().is_ok_and(|exchange| self.feed.status.unsubscribe(exchange)),
                None => name.parse().is_ok_and(|topic| self.feed.unsubscribe(&topic)),
            };
            if was_subscribed {
                removed.push(name);
            } else {
                rejected.push(name);
            }
        }
        let reply = message::reply("unsubscribed", id, |out| {
            message::topics(out, &removed);
            message::rejected(out, "topic", rejected.iter().map(|name| (&**name, "not_subscribed")));
        });
        FrameSink::text(&mut self.socket, &reply);
    }

    /// Subscribes to the state of one exchange or of all exchanges.
    async fn subscribe_status(&mut self, id: &Value, request: Subscribe) {
        let market = &self.state.market;
        let exchanges: Vec<ExchangeId> = match &request.exchange {
            None => market.exchanges().await.iter().map(|state| state.exchange).collect(),
            Some(name) => match market.exchange_id(name) {
                Ok(exchange) => vec![exchange],
                Err(error) => {
                    let problem = Problem::from(error);
                    FrameSink::text(&mut self.socket, &message::error(id, problem.code.as_str(), &problem.detail));
                    return;
                }
            },
        };
        let states = self.state.hub.exchange_states().subscribe().await;
        let reply = message::reply("subscribed", id, |out| {
            message::topics(out, exchanges.iter().copied().map(status::topic));
            message::rejected(out, "symbol", []);
        });
        FrameSink::text(&mut self.socket, &reply);
        for exchange in exchanges {
            self.feed.status.subscribe(exchange, &states);
        }
    }

    fn start_resolving(&mut self, id: Value, request: Subscribe) {
        let Subscribe { channel, exchange, symbols, interval, snapshot, resume, conflate_ms } = request;
        let channel = match channel {
            ChannelName::Trades => Channel::Trades,
            ChannelName::Candles => Channel::Candles,
            ChannelName::Ticker | ChannelName::Status => Channel::Ticker,
        };
        let used = self.feed.subscriber.len() + self.resolving_topics;
        let max_topics = self.state.config.max_topics.saturating_sub(used);
        let topic_count = symbols.len().min(max_topics);
        self.resolving_topics += topic_count;
        let options = resume.into_iter().map(|resume| SubscribeOptions { snapshot, resume }).collect();
        let request = TopicRequest { channel, exchange, symbols, interval, max_topics, hint: false };
        let results = resolve(Arc::clone(&self.state), request);
        let min_interval = Duration::from_millis(conflate_ms);
        self.resolving.push(Box::pin(async move {
            Resolution { id, topic_count, options, min_interval, results: results.await }
        }));
    }

    /// Replies to a subscribe request and starts its topics.
    fn finish_subscribe(&mut self, resolution: Resolution) {
        let Resolution { id, topic_count, options, min_interval, results } = resolution;
        self.resolving_topics -= topic_count;
        let names = results
            .iter()
            .filter_map(|result| Some(result.as_ref().ok()?.subscription.topic().to_string()))
            .collect::<Vec<_>>();
        let (mut topics, mut rejections) = (Vec::new(), Vec::new());
        for (result, options) in results.into_iter().zip(options) {
            match result {
                Ok(topic) => topics.push((topic, options)),
                Err(rejected) => rejections.push(rejected),
            }
        }
        let subscribed = message::reply("subscribed", &id, |out| {
            message::topics(out, names);
            message::rejected(out, "symbol", rejections.iter().map(|one| (&*one.symbol, one.code())));
        });
        FrameSink::text(&mut self.socket, &subscribed);
        for (topic, options) in topics {
            let added = self.feed.add(topic);
            self.feed.subscriber.set_min_interval(added.slot, min_interval);
            self.feed.start_topic(added, &options, &mut self.socket);
        }
    }
}

/// Token bucket for the messages of a client, and its number of rejected messages.
struct MessageLimiter {
    tokens: f64,
    updated_at: Duration,
    errors: u32,
}

impl MessageLimiter {
    fn new(now: Duration) -> Self {
        Self { tokens: f64::from(MAX_MESSAGES_PER_SECOND), updated_at: now, errors: 0 }
    }

    fn spend(&mut self, now: Duration) -> bool {
        let max = f64::from(MAX_MESSAGES_PER_SECOND);
        let gained = now.saturating_sub(self.updated_at).as_secs_f64() * max;
        self.tokens = (self.tokens + gained).min(max);
        self.updated_at = now;
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}
