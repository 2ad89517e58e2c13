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

use super::feed::{BEAT, Begin, Feed, Made, Outlet, Snapshot};
use super::find::{Found, Rejected, Wanted, find};
use super::line::{Line, Lost, Turn};
use super::message::{self, ChannelName, Op, Subscribe};
use super::status;
use super::upgrade::open;
use crate::api::Doors;
use crate::api::access::Client;
use crate::api::problem::Problem;
use crate::hub::{Frame, SlotId};
use crate::model::{Channel, ExchangeId, Topic, wire};

/// How many messages a second a client may send, and how many at once.
const MESSAGES: u32 = 20;

/// A client that goes on after so many messages were refused is cut off.
const PATIENCE: u32 = 100;

/// How many requests of a client are worked on at a time; the next ones wait in the socket.
const AT_A_TIME: usize = 8;

/// `WS /v1/stream`
#[handler]
pub fn stream(
    request: &HttpRequest,
    Data(doors): Data<&Arc<Doors>>,
    Data(client): Data<&Client>,
) -> Result<Response, Problem> {
    let (own, id) = (Arc::clone(doors), client.id());
    open(request, doors, client, BEAT, |line| async move {
        let allowance = Allowance::new(own.clock.elapsed());
        let (feed, finding) = (Feed::new(&own, "stream", id), FuturesUnordered::new());
        // It ends when the client is gone: nobody is left to be told.
        let Err(Lost) = Session { doors: own, line, feed, finding, asked: 0, allowance, beats: 0 }.run().await;
    })
}

struct Session {
    doors: Arc<Doors>,
    line: Line,
    feed: Feed,
    finding: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// How many topics are being looked for.
    asked: usize,
    allowance: Allowance,
    beats: u64,
}

/// What was found for a request.
struct Answer {
    id: Value,
    /// How many topics were looked for.
    asked: usize,
    begins: Vec<Begin>,
    pace: Duration,
    found: Vec<Result<Found, Rejected>>,
}

enum Event {
    Found(Answer),
    Ready(Option<Made>),
}

impl Outlet for Line {
    fn frame(&mut self, _: SlotId, frame: &Frame) {
        self.framed(frame.framed());
    }

    fn snapshot(&mut self, snapshot: Snapshot<'_>) {
        Line::text(self, &snapshot.json());
    }

    fn text(&mut self, json: &[u8]) {
        Line::text(self, json);
    }
}

impl Session {
    async fn run(&mut self) -> Result<Infallible, Lost> {
        loop {
            self.feed.gather(self.line.room(), &mut self.line);
            if self.feed.subscriber.behind() > self.doors.config.max_behind_bytes {
                return self.line.cut_off("slow", "too slow").await;
            }
            let Self { finding, feed, line, .. } = self;
            let event = async {
                tokio::select! {
                    biased;
                    Some(answer) = finding.next() => Event::Found(answer),
                    made = feed.ready() => Event::Ready(made),
                }
            };
            match line.turn(event).await? {
                Turn::Text(text) => self.take(&text).await?,
                Turn::Binary => self.refuse(&Value::Null, "messages are texts").await?,
                Turn::Beat => self.beat(),
                Turn::Other(Event::Found(answer)) => self.begin(answer),
                Turn::Other(Event::Ready(Some(made))) => self.feed.finish(made, &mut self.line),
                Turn::Other(Event::Ready(None)) => {}
            }
        }
    }

    fn beat(&mut self) {
        self.beats += 1;
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(b"{\"type\":\"heartbeat\",\"n\":");
        wire::integer(&mut out, self.beats);
        out.extend_from_slice(b",\"timestamp\":");
        wire::integer(&mut out, self.doors.clock.now().millis());
        out.push(b'}');
        Outlet::text(&mut self.line, &out);
    }

    async fn refuse(&mut self, id: &Value, detail: &str) -> Result<(), Lost> {
        self.error(id, "invalid_message", detail).await
    }

    /// Answers with an error; who earns too many of them is cut off.
    async fn error(&mut self, id: &Value, code: &str, detail: &str) -> Result<(), Lost> {
        Outlet::text(&mut self.line, &message::error(id, code, detail));
        self.allowance.refused += 1;
        if self.allowance.refused > PATIENCE {
            return self.line.cut_off("flood", "too many messages that were refused").await;
        }
        Ok(())
    }

    async fn take(&mut self, text: &str) -> Result<(), Lost> {
        if !self.allowance.spend(self.doors.clock.elapsed()) {
            let detail = format!("at most {MESSAGES} messages a second: this one was not read");
            return self.error(&Value::Null, "rate_limited", &detail).await;
        }
        let message::Request { id, op } = match message::read(text) {
            Ok(request) => request,
            Err(invalid) => return self.refuse(&invalid.id, &invalid.detail).await,
        };
        match op {
            Op::Ping => self.pong(&id),
            Op::List => self.list(&id),
            Op::Unsubscribe { topics } => self.unsubscribe(&id, topics),
            Op::Subscribe(wanted) if wanted.channel == ChannelName::Status => self.follow(&id, wanted).await,
            Op::Subscribe(_) if self.finding.len() >= AT_A_TIME => {
                let detail = format!("at most {AT_A_TIME} subscriptions at a time: wait for their answers");
                return self.error(&id, "rate_limited", &detail).await;
            }
            Op::Subscribe(wanted) => self.search(id, wanted),
        }
        Ok(())
    }

    fn pong(&mut self, id: &Value) {
        let now = self.doors.clock.now().millis();
        let pong = message::answer("pong", id, |out| {
            out.extend_from_slice(b",\"timestamp\":");
            wire::integer(out, now);
        });
        Outlet::text(&mut self.line, &pong);
    }

    fn list(&mut self, id: &Value) {
        let feed = &self.feed;
        let topics = feed.subscriber.topics().into_iter().map(Topic::to_string).chain(feed.status.topics());
        let list = message::answer("topics", id, |out| message::topics(out, topics));
        Outlet::text(&mut self.line, &list);
    }

    fn unsubscribe(&mut self, id: &Value, topics: Vec<String>) {
        let (mut left, mut rejected) = (Vec::new(), Vec::new());
        for name in topics {
            let was = match name.strip_prefix(status::TOPIC) {
                Some(exchange) => exchange.parse().is_ok_and(|exchange| self.feed.status.leave(exchange)),
                None => name.parse().is_ok_and(|topic| self.feed.unsubscribe(&topic)),
            };
            if was {
                left.push(name);
            } else {
                rejected.push(name);
            }
        }
        let answer = message::answer("unsubscribed", id, |out| {
            message::topics(out, &left);
            message::rejected(out, "topic", rejected.iter().map(|name| (&**name, "not_subscribed")));
        });
        Outlet::text(&mut self.line, &answer);
    }

    /// Follows the state of an exchange, or of all.
    async fn follow(&mut self, id: &Value, wanted: Subscribe) {
        let market = &self.doors.market;
        let exchanges: Vec<ExchangeId> = match &wanted.exchange {
            None => market.exchanges().await.iter().map(|state| state.exchange).collect(),
            Some(name) => match market.exchange_id(name) {
                Ok(exchange) => vec![exchange],
                Err(error) => {
                    let problem = Problem::from(error);
                    Outlet::text(&mut self.line, &message::error(id, problem.code.as_str(), &problem.detail));
                    return;
                }
            },
        };
        let states = self.doors.hub.statuses().subscribe().await;
        let answer = message::answer("subscribed", id, |out| {
            message::topics(out, exchanges.iter().copied().map(status::topic));
            message::rejected(out, "symbol", []);
        });
        Outlet::text(&mut self.line, &answer);
        for exchange in exchanges {
            self.feed.status.follow(exchange, &states);
        }
    }

    fn search(&mut self, id: Value, wanted: Subscribe) {
        let Subscribe { channel, exchange, symbols, interval, snapshot, resume, conflate_ms } = wanted;
        let channel = match channel {
            ChannelName::Trades => Channel::Trades,
            ChannelName::Candles => Channel::Candles,
            ChannelName::Ticker | ChannelName::Status => Channel::Ticker,
        };
        let taken = self.feed.subscriber.len() + self.asked;
        let room = self.doors.config.max_topics.saturating_sub(taken);
        let asked = symbols.len().min(room);
        self.asked += asked;
        let begins = resume.into_iter().map(|resume| Begin { snapshot, resume }).collect();
        let wanted = Wanted { channel, exchange, symbols, interval, room, hint: false };
        let searching = find(Arc::clone(&self.doors), wanted);
        let pace = Duration::from_millis(conflate_ms);
        self.finding.push(Box::pin(async move { Answer { id, asked, begins, pace, found: searching.await } }));
    }

    /// Answers a subscription, and begins with its topics.
    fn begin(&mut self, answer: Answer) {
        let Answer { id, asked, begins, pace, found } = answer;
        self.asked -= asked;
        let names =
            found.iter().filter_map(|found| Some(found.as_ref().ok()?.seat.topic().to_string())).collect::<Vec<_>>();
        let (mut topics, mut refused) = (Vec::new(), Vec::new());
        for (found, begin) in found.into_iter().zip(begins) {
            match found {
                Ok(found) => topics.push((found, begin)),
                Err(rejected) => refused.push(rejected),
            }
        }
        let subscribed = message::answer("subscribed", &id, |out| {
            message::topics(out, names);
            message::rejected(out, "symbol", refused.iter().map(|one| (&*one.symbol, one.code())));
        });
        Outlet::text(&mut self.line, &subscribed);
        for (found, begin) in topics {
            let added = self.feed.add(found);
            self.feed.subscriber.set_pace(added.slot, pace);
            self.feed.begin(added, &begin, &mut self.line);
        }
    }
}

/// How much a client may still say.
struct Allowance {
    left: f64,
    at: Duration,
    refused: u32,
}

impl Allowance {
    fn new(at: Duration) -> Self {
        Self { left: f64::from(MESSAGES), at, refused: 0 }
    }

    fn spend(&mut self, now: Duration) -> bool {
        let most = f64::from(MESSAGES);
        let gained = now.saturating_sub(self.at).as_secs_f64() * most;
        self.left = (self.left + gained).min(most);
        self.at = now;
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}
