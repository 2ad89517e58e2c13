//! Requests to collectors: over two channels if requester and collector are in different processes.

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

use super::codec::{ReplyMessage, RequestMessage};
use super::link::{Message, RedisLink};
use super::ownership::{LocalOwnership, OwnershipGuard};
use super::scripts;
use crate::cache::memory::requests::MemoryRequests;
use crate::cache::{
    CacheError, CollectorReply, CollectorRequest, IncomingRequest, RequestBus, RequestError, RequestReceiver,
};
use crate::clock::Clock;
use crate::model::ExchangeId;
use crate::telemetry::trace;

/// Lifetime of the key that says which replica serves an exchange.
const SERVING_TTL: Duration = Duration::from_secs(5);

/// Interval at which a serving replica renews that key.
const SERVING_RENEWAL: Duration = Duration::from_secs(1);

/// How long a request of another replica waits for the local collector, which continues after that.
const REMOTE_TIMEOUT: Duration = Duration::from_mins(2);

/// Maximum number of pending requests to other replicas, and of requests from other replicas processed concurrently.
const MAX_PENDING: usize = 4_096;

type Reply = Result<CollectorReply, RequestError>;

pub(super) struct RedisRequests(Arc<Inner>);

struct Inner {
    link: Arc<RedisLink>,
    ownership: Arc<LocalOwnership>,
    clock: Clock,
    /// The collectors of this process. They serve local and remote requests.
    local: MemoryRequests,
    /// Requests to other replicas that wait for a reply, by id.
    pending: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    /// Permits for requests from other replicas. Without a permit a request is dropped, and its requester times out.
    permits: Arc<Semaphore>,
    /// The exchanges whose requests this process serves.
    served: Mutex<HashSet<ExchangeId>>,
}

impl RedisRequests {
    pub fn start(link: &Arc<RedisLink>, ownership: &Arc<LocalOwnership>, clock: Clock) -> Arc<Self> {
        let inner = Arc::new(Inner {
            link: Arc::clone(link),
            ownership: Arc::clone(ownership),
            local: MemoryRequests::new(clock.clone()),
            clock,
            pending: Mutex::default(),
            permits: Arc::new(Semaphore::new(MAX_PENDING)),
            served: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&inner).receive());
        tokio::spawn(Arc::clone(&inner).keep_subscribed());
        Arc::new(Self(inner))
    }
}

#[async_trait]
impl RequestBus for RedisRequests {
    async fn request(&self, request: CollectorRequest, timeout: Duration) -> Reply {
        if self.0.ownership.is_local(request.exchange()) {
            return self.0.local.request(request, timeout).await;
        }
        match self.0.clock.timeout(timeout, Box::pin(self.0.request_remote(&request))).await {
            Ok(reply) => reply,
            Err(_) => Err(RequestError::Pending),
        }
    }

    async fn serve(&self, exchange: ExchangeId) -> Result<Box<dyn RequestReceiver>, CacheError> {
        let requests = self.0.local.serve(exchange).await?;
        let ownership = self.0.ownership.acquire(exchange);
        self.0.served.lock().insert(exchange);
        // If Redis is down, `keep_subscribed` does this after the reconnect.
        let _ = self.0.announce(exchange).await;
        let _ = self.0.subscribe_requests(exchange).await;
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&self.0).keep_announcing(exchange, stop.clone()));
        Ok(Box::new(RequestServer { requests, _ownership: ownership, _stop: stop.drop_guard() }))
    }
}

/// The collector's end of the channel. Dropping it ends the announcement that this replica serves the exchange.
struct RequestServer {
    requests: Box<dyn RequestReceiver>,
    // Dropped before `_stop`: `keep_announcing` then checks whether another server of this process remains.
    _ownership: OwnershipGuard,
    _stop: DropGuard,
}

#[async_trait]
impl RequestReceiver for RequestServer {
    async fn next(&mut self) -> Option<IncomingRequest> {
        self.requests.next().await
    }
}

/// Removes a pending request when its requester stops waiting.
struct PendingGuard<'a> {
    inner: &'a Inner,
    id: u64,
}

impl Drop for PendingGuard<'_> {
    fn drop(&mut self) {
        self.inner.pending.lock().remove(&self.id);
    }
}

impl Inner {
    async fn request_remote(&self, request: &CollectorRequest) -> Reply {
        let exchange = request.exchange();
        let failed = |error: CacheError| RequestError::Failed(error.to_string());
        let is_served =
            self.link.run(self.link.client.exists::<i64, _>(self.link.exchange_key(exchange, "serves"))).await;
        if is_served.map_err(failed)? == 0 {
            return Err(RequestError::Offline);
        }
        let id = self.clock.random_u64() >> 1;
        let (sender, receiver) = oneshot::channel();
        {
            let mut pending = self.pending.lock();
            if pending.len() >= MAX_PENDING {
                return Err(RequestError::Failed("too many requests wait for collectors".to_owned()));
            }
            pending.insert(id, sender);
        }
        let guard = PendingGuard { inner: self, id };
        let trace = trace::current().map(|context| context.to_string());
        let message = RequestMessage { id, reply_to: self.reply_channel(), request: request.into(), trace };
        let text = serde_json::to_string(&message).map_err(|error| RequestError::Failed(error.to_string()))?;
        self.link
            .run(self.link.client.publish::<i64, _, _>(self.request_channel(exchange), text))
            .await
            .map_err(failed)?;
        let reply = receiver.await.unwrap_or(Err(RequestError::Offline));
        drop(guard);
        reply
    }

    fn reply_channel(&self) -> String {
        self.link.key(&format!("answer:{}", self.link.replica))
    }

    fn request_channel(&self, exchange: ExchangeId) -> String {
        self.link.key(&format!("ask:{exchange}"))
    }

    /// Announces that this replica serves an exchange.
    async fn announce(&self, exchange: ExchangeId) -> Result<(), CacheError> {
        let ttl = Expiration::PX(i64::try_from(SERVING_TTL.as_millis()).unwrap_or(i64::MAX));
        let key = self.link.exchange_key(exchange, "serves");
        let announced = self.link.client.set::<(), _, _>(key, self.link.replica.as_str(), Some(ttl), None, false);
        self.link.run(announced).await
    }

    async fn keep_announcing(self: Arc<Self>, exchange: ExchangeId, stop: CancellationToken) {
        let clock = Clock::system();
        while stop.run_until_cancelled(clock.sleep(SERVING_RENEWAL)).await.is_some() {
            let _ = self.announce(exchange).await;
        }
        if self.ownership.is_local(exchange) {
            return;
        }
        self.served.lock().remove(&exchange);
        let key = self.link.exchange_key(exchange, "serves");
        let keys = [key.as_str()];
        let replica = vec![self.link.replica.as_str().into()];
        let _ = self.link.run(scripts::run::<i64>(&self.link.client, &scripts::DELETE_IF_EQUAL, &keys, replica)).await;
        let _ = self.link.run(self.link.subscriber.unsubscribe(self.request_channel(exchange))).await;
    }

    async fn subscribe_requests(&self, exchange: ExchangeId) -> Result<(), CacheError> {
        self.link.subscribe(vec![self.request_channel(exchange)]).await
    }

    /// Subscribes to the channels of this replica, and again after each reconnect.
    async fn keep_subscribed(self: Arc<Self>) {
        let mut reconnects = self.link.reconnects();
        loop {
            let _ = self.link.subscribe(vec![self.reply_channel()]).await;
            let served: Vec<ExchangeId> = self.served.lock().iter().copied().collect();
            for exchange in served {
                let _ = self.announce(exchange).await;
                let _ = self.subscribe_requests(exchange).await;
            }
            if reconnects.changed().await.is_err() {
                return;
            }
        }
    }

    async fn receive(self: Arc<Self>) {
        let mut messages = self.link.subscriber.message_rx();
        let (replies, requests) = (self.reply_channel(), self.link.key("ask:"));
        loop {
            match messages.recv().await {
                Ok(message) if *message.channel == *replies => self.on_reply(&message),
                Ok(message) if message.channel.starts_with(&requests) => self.on_request(&message),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn on_reply(&self, message: &Message) {
        let Some(Ok(ReplyMessage { id, reply })) = message.value.as_bytes().map(serde_json::from_slice) else { return };
        if let Some(requester) = self.pending.lock().remove(&id) {
            // Fails if the requester was dropped.
            let _ = requester.send(reply.into());
        }
    }

    /// Passes a request of another replica to the local collector and publishes the reply.
    fn on_request(self: &Arc<Self>, message: &Message) {
        let parsed: Option<RequestMessage> =
            message.value.as_bytes().and_then(|text| serde_json::from_slice(text).ok());
        let Some(RequestMessage { id, reply_to, request, trace }) = parsed else { return };
        let request = CollectorRequest::from(request);
        if !self.ownership.is_local(request.exchange()) {
            return;
        }
        let inner = Arc::clone(self);
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return };
        let span = tracing::info_span!("asked", exchange = request.exchange().as_str(), trace_id = Empty);
        trace::set_parent(&span, trace.and_then(|parent| parent.parse().ok()));
        let work = async move {
            let reply = inner.local.request(request, inner.clock.to_clock_time(REMOTE_TIMEOUT)).await;
            drop(permit);
            if let Ok(text) = serde_json::to_string(&ReplyMessage { id, reply: reply.into() }) {
                let _ = inner.link.run(inner.link.client.publish::<i64, _, _>(reply_to, text)).await;
            }
        };
        tokio::spawn(work.instrument(span));
    }
}
