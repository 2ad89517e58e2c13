//! Requests to collectors within one process.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::cache::{
    CacheError, CollectorReply, CollectorRequest, IncomingRequest, RequestBus, RequestError, RequestReceiver,
};
use crate::clock::Clock;
use crate::model::ExchangeId;
use crate::telemetry::trace;

/// Maximum number of distinct pending requests per exchange.
const MAX_PENDING: usize = 1_024;

type Reply = Result<CollectorReply, RequestError>;

/// The serving collectors and their pending requests.
pub struct MemoryRequests {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    servers: HashMap<ExchangeId, Server>,
}

/// A collector that serves an exchange. When it is removed, the senders of its pending replies are dropped, and all
/// waiting requesters get [`RequestError::Offline`].
struct Server {
    id: u64,
    queue: mpsc::Sender<IncomingRequest>,
    pending: HashMap<CollectorRequest, watch::Sender<Option<Reply>>>,
}

impl MemoryRequests {
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default() }
    }

    /// Joins an identical pending request, or sends this one.
    fn join(&self, request: CollectorRequest) -> Result<watch::Receiver<Option<Reply>>, RequestError> {
        let mut state = self.state.lock();
        let server = state.servers.get_mut(&request.exchange()).ok_or(RequestError::Offline)?;
        if let Some(pending) = server.pending.get(&request) {
            return Ok(pending.subscribe());
        }
        if server.pending.len() >= MAX_PENDING {
            return Err(RequestError::Failed("too many requests wait for the exchange".to_owned()));
        }
        let guard =
            ReplyGuard { state: Some(Arc::downgrade(&self.state)), server: server.id, request: request.clone() };
        let reply = Box::new(move |reply| guard.reply(reply));
        let incoming = IncomingRequest { request: request.clone(), trace: trace::current(), reply };
        if let Err(unsent) = server.queue.try_send(incoming) {
            // Dropping its guard takes the lock.
            drop(state);
            drop(unsent);
            return Err(RequestError::Offline);
        }
        let (sender, receiver) = watch::channel(None);
        server.pending.insert(request, sender);
        Ok(receiver)
    }
}

#[async_trait]
impl RequestBus for MemoryRequests {
    async fn request(&self, request: CollectorRequest, timeout: Duration) -> Reply {
        let mut reply = self.join(request)?;
        match self.clock.timeout(timeout, reply.wait_for(Option::is_some)).await {
            Err(_) => Err(RequestError::Pending),
            Ok(Err(_)) => Err(RequestError::Offline),
            Ok(Ok(reply)) => reply.clone().unwrap_or(Err(RequestError::Offline)),
        }
    }

    async fn serve(&self, exchange: ExchangeId) -> Result<Box<dyn RequestReceiver>, CacheError> {
        // The queue holds only pending requests, so it never overflows.
        let (queue, requests) = mpsc::channel(MAX_PENDING);
        let mut state = self.state.lock();
        state.last_id += 1;
        let id = state.last_id;
        let previous = state.servers.insert(exchange, Server { id, queue, pending: HashMap::new() });
        drop(state);
        drop(previous);
        Ok(Box::new(RequestServer { exchange, id, requests, state: Arc::downgrade(&self.state) }))
    }
}

/// The collector's end of the channel.
struct RequestServer {
    exchange: ExchangeId,
    id: u64,
    requests: mpsc::Receiver<IncomingRequest>,
    state: Weak<Mutex<State>>,
}

#[async_trait]
impl RequestReceiver for RequestServer {
    async fn next(&mut self) -> Option<IncomingRequest> {
        self.requests.recv().await
    }
}

impl Drop for RequestServer {
    fn drop(&mut self) {
        let Some(state) = self.state.upgrade() else { return };
        let mut state = state.lock();
        let removed = match state.servers.get(&self.exchange) {
            Some(server) if server.id == self.id => state.servers.remove(&self.exchange),
            _ => None,
        };
        // Dropping the requests in its queue takes the lock.
        drop(state);
        drop(removed);
    }
}

/// Replies to a request once. Dropped without a reply, it replies with an error.
struct ReplyGuard {
    state: Option<Weak<Mutex<State>>>,
    server: u64,
    request: CollectorRequest,
}

impl ReplyGuard {
    fn reply(mut self, reply: Reply) {
        self.send(reply);
    }

    fn send(&mut self, reply: Reply) {
        let Some(state) = self.state.take().and_then(|state| state.upgrade()) else { return };
        let mut state = state.lock();
        let server = state.servers.get_mut(&self.request.exchange()).filter(|server| server.id == self.server);
        let waiting = server.and_then(|server| server.pending.remove(&self.request));
        drop(state);
        if let Some(waiting) = waiting {
            waiting.send_replace(Some(reply));
        }
    }
}

impl Drop for ReplyGuard {
    fn drop(&mut self) {
        self.send(Err(RequestError::Failed("the collector dropped the request".to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Symbol, Timestamp};

    #[tokio::test]
    async fn pending_requests_are_bounded() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let requests = MemoryRequests::new(clock);
        let server = requests.serve(ExchangeId::BINANCE).await.unwrap();
        let request = |n: usize| CollectorRequest::Ticker {
            exchange: ExchangeId::BINANCE,
            symbol: format!("C{n}/USDT").parse::<Symbol>().unwrap(),
        };
        for n in 0..MAX_PENDING {
            assert_eq!(requests.request(request(n), Duration::ZERO).await, Err(RequestError::Pending));
        }
        let rejected = requests.request(request(MAX_PENDING), Duration::ZERO).await;
        assert!(matches!(rejected, Err(RequestError::Failed(_))), "{rejected:?}");
        // Joining a pending request is not limited.
        assert_eq!(requests.request(request(0), Duration::ZERO).await, Err(RequestError::Pending));
        drop(server);
        assert_eq!(requests.request(request(0), Duration::ZERO).await, Err(RequestError::Offline));
    }
}
