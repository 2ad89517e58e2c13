//! Questions to collectors, and their answers: over two channels, where asker and collector are not in one process.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::interfaces::{EventInterface, KeysInterface, PubsubInterface};
use fred::prelude::Expiration;
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;
use tracing::field::Empty;

use super::codec::{Answering, Asking};
use super::link::{Link, Message};
use super::{AtHome, Home, scripts};
use crate::cache::memory::requests::MemoryRequests;
use crate::cache::{Answer, Asked, CacheError, Question, Questions, RequestError, Requests};
use crate::clock::Clock;
use crate::model::ExchangeId;
use crate::telemetry::trace;

/// How long others believe that a collector serves which says so no more.
const SERVES: Duration = Duration::from_secs(5);

/// How often a collector says so.
const SAYS: Duration = Duration::from_secs(1);

/// The longest that a collector works for one who asks from elsewhere; it goes on after that for who asks again.
const WORKS: Duration = Duration::from_mins(2);

/// The most questions of this replica that wait for an answer from elsewhere.
const MOST: usize = 4_096;

type Reply = Result<Answer, RequestError>;

pub(super) struct RedisRequests(Arc<Inner>);

struct Inner {
    link: Arc<Link>,
    home: Arc<Home>,
    clock: Clock,
    /// The collectors of this process, for whoever asks from here or from elsewhere.
    local: MemoryRequests,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    /// Of questions from elsewhere so many are worked on at a time; who asks more hears nothing, and asks again.
    places: Arc<Semaphore>,
    /// The exchanges whose questions are listened to.
    served: Mutex<HashSet<ExchangeId>>,
}

impl RedisRequests {
    pub fn start(link: &Arc<Link>, home: &Arc<Home>, clock: Clock) -> Arc<Self> {
        let inner = Arc::new(Inner {
            link: Arc::clone(link),
            home: Arc::clone(home),
            local: MemoryRequests::new(clock.clone()),
            clock,
            waiting: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST)),
            served: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&inner).hear());
        tokio::spawn(Arc::clone(&inner).listen());
        Arc::new(Self(inner))
    }
}

#[async_trait]
impl Requests for RedisRequests {
    async fn ask(&self, question: Question, budget: Duration) -> Reply {
        if self.0.home.collects(question.exchange()) {
            return self.0.local.ask(question, budget).await;
        }
        match self.0.clock.timeout(budget, Box::pin(self.0.ask_elsewhere(&question))).await {
            Ok(reply) => reply,
            Err(_) => Err(RequestError::Pending),
        }
    }

    async fn serve(&self, exchange: ExchangeId) -> Result<Box<dyn Questions>, CacheError> {
        let questions = self.0.local.serve(exchange).await?;
        let at_home = self.0.home.enter(exchange);
        self.0.served.lock().insert(exchange);
        // Where Redis is away this is done when it is back.
        let _ = self.0.say(exchange).await;
        let _ = self.0.subscribe(exchange).await;
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&self.0).keep_saying(exchange, stop.clone()));
        Ok(Box::new(Desk { questions, _at_home: at_home, _stop: stop.drop_guard() }))
    }
}

/// A collector's end. When it goes, so does the word that it serves.
struct Desk {
    questions: Box<dyn Questions>,
    // Before the other: who stops saying that it serves looks whether another desk of this process does.
    _at_home: AtHome,
    _stop: DropGuard,
}

#[async_trait]
impl Questions for Desk {
    async fn next(&mut self) -> Option<Asked> {
        self.questions.next().await
    }
}

/// Forgets a question when nobody waits for its answer any more.
struct Waiting<'a> {
    inner: &'a Inner,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.inner.waiting.lock().remove(&self.id);
    }
}

impl Inner {
    async fn ask_elsewhere(&self, question: &Question) -> Reply {
        let exchange = question.exchange();
        let failed = |error: CacheError| RequestError::Failed(error.to_string());
        let serves = self.link.run(self.link.client.exists::<i64, _>(self.link.of(exchange, "serves"))).await;
        if serves.map_err(failed)? == 0 {
            return Err(RequestError::Offline);
        }
        let id = self.clock.random_u64() >> 1;
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= MOST {
                return Err(RequestError::Failed("too many questions wait for collectors".to_owned()));
            }
            waiting.insert(id, sender);
        }
        let waiting = Waiting { inner: self, id };
        let trace = trace::current().map(|here| here.to_string());
        let asking = Asking { id, answer_to: self.answers(), question: question.into(), trace };
        let text = serde_json::to_string(&asking).map_err(|error| RequestError::Failed(error.to_string()))?;
        self.link.run(self.link.client.publish::<i64, _, _>(self.asks(exchange), text)).await.map_err(failed)?;
        let reply = receiver.await.unwrap_or(Err(RequestError::Offline));
        drop(waiting);
        reply
    }

    fn answers(&self) -> String {
        self.link.key(&format!("answer:{}", self.link.replica))
    }

    fn asks(&self, exchange: ExchangeId) -> String {
        self.link.key(&format!("ask:{exchange}"))
    }

    /// Says that this process serves an exchange.
    async fn say(&self, exchange: ExchangeId) -> Result<(), CacheError> {
        let lifetime = Expiration::PX(i64::try_from(SERVES.as_millis()).unwrap_or(i64::MAX));
        let key = self.link.of(exchange, "serves");
        let said = self.link.client.set::<(), _, _>(key, self.link.replica.as_str(), Some(lifetime), None, false);
        self.link.run(said).await
    }

    async fn keep_saying(self: Arc<Self>, exchange: ExchangeId, stop: CancellationToken) {
        let machine = Clock::system();
        while stop.run_until_cancelled(machine.sleep(SAYS)).await.is_some() {
            let _ = self.say(exchange).await;
        }
        if self.home.collects(exchange) {
            return;
        }
        self.served.lock().remove(&exchange);
        let key = self.link.of(exchange, "serves");
        let keys = [key.as_str()];
        let replica = vec![self.link.replica.as_str().into()];
        let _ = self.link.run(scripts::run::<i64>(&self.link.client, &scripts::RELEASE, &keys, replica)).await;
        let _ = self.link.run(self.link.subscriber.unsubscribe(self.asks(exchange))).await;
    }

    async fn subscribe(&self, exchange: ExchangeId) -> Result<(), CacheError> {
        self.link.listen(vec![self.asks(exchange)]).await
    }

    /// Listens to what this replica must hear, and again whenever Redis is back.
    async fn listen(self: Arc<Self>) {
        let mut revived = self.link.revived();
        loop {
            let _ = self.link.listen(vec![self.answers()]).await;
            let served: Vec<ExchangeId> = self.served.lock().iter().copied().collect();
            for exchange in served {
                let _ = self.say(exchange).await;
                let _ = self.subscribe(exchange).await;
            }
            if revived.changed().await.is_err() {
                return;
            }
        }
    }

    async fn hear(self: Arc<Self>) {
        let mut messages = self.link.subscriber.message_rx();
        let (answers, asks) = (self.answers(), self.link.key("ask:"));
        loop {
            match messages.recv().await {
                Ok(message) if *message.channel == *answers => self.answered(&message),
                Ok(message) if message.channel.starts_with(&asks) => self.asked(&message),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn answered(&self, message: &Message) {
        let Some(Ok(Answering { id, reply })) = message.value.as_bytes().map(serde_json::from_slice) else { return };
        if let Some(waiting) = self.waiting.lock().remove(&id) {
            // Whoever asked may have gone.
            let _ = waiting.send(reply.into());
        }
    }

    /// Asks the collector of this process, and sends back what it says.
    fn asked(self: &Arc<Self>, message: &Message) {
        let asking: Option<Asking> = message.value.as_bytes().and_then(|text| serde_json::from_slice(text).ok());
        let Some(Asking { id, answer_to, question, trace }) = asking else { return };
        let question = Question::from(question);
        if !self.home.collects(question.exchange()) {
            return;
        }
        let inner = Arc::clone(self);
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let span = tracing::info_span!("asked", exchange = question.exchange().as_str(), trace_id = Empty);
        trace::follow(&span, trace.and_then(|caller| caller.parse().ok()));
        let work = async move {
            let reply = inner.local.ask(question, inner.clock.inside(WORKS)).await;
            drop(place);
            if let Ok(text) = serde_json::to_string(&Answering { id, reply: reply.into() }) {
                let _ = inner.link.run(inner.link.client.publish::<i64, _, _>(answer_to, text)).await;
            }
        };
        tokio::spawn(work.instrument(span));
    }
}
