//! Questions to collectors, and their answers.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::cache::{Answer, Asked, CacheError, Question, Questions, RequestError, Requests};
use crate::clock::Clock;
use crate::model::ExchangeId;
use crate::telemetry::trace;

/// The most different questions about an exchange that may wait for their answers.
const MOST: usize = 1_024;

type Reply = Result<Answer, RequestError>;

/// The collectors that serve, and what they were asked.
pub struct MemoryRequests {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    servers: HashMap<ExchangeId, Server>,
}

/// A collector that serves an exchange. When it goes, so do the senders of all its pending answers, and whoever waits
/// for one learns that it is offline.
struct Server {
    id: u64,
    queue: mpsc::Sender<Asked>,
    pending: HashMap<Question, watch::Sender<Option<Reply>>>,
}

impl MemoryRequests {
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default() }
    }

    /// Joins those who wait for the answer to this question already, or asks it.
    fn join(&self, question: Question) -> Result<watch::Receiver<Option<Reply>>, RequestError> {
        let mut state = self.state.lock();
        let server = state.servers.get_mut(&question.exchange()).ok_or(RequestError::Offline)?;
        if let Some(pending) = server.pending.get(&question) {
            return Ok(pending.subscribe());
        }
        if server.pending.len() >= MOST {
            return Err(RequestError::Failed("too many questions wait for the exchange".to_owned()));
        }
        let slip = Slip { state: Some(Arc::downgrade(&self.state)), server: server.id, question: question.clone() };
        let answer = Box::new(move |reply| slip.answer(reply));
        let asked = Asked { question: question.clone(), trace: trace::current(), answer };
        if let Err(refused) = server.queue.try_send(asked) {
            // Its slip takes the lock when it is dropped.
            drop(state);
            drop(refused);
            return Err(RequestError::Offline);
        }
        let (sender, receiver) = watch::channel(None);
        server.pending.insert(question, sender);
        Ok(receiver)
    }
}

#[async_trait]
impl Requests for MemoryRequests {
    async fn ask(&self, question: Question, budget: Duration) -> Reply {
        let mut answer = self.join(question)?;
        match self.clock.timeout(budget, answer.wait_for(Option::is_some)).await {
            Err(_) => Err(RequestError::Pending),
            Ok(Err(_)) => Err(RequestError::Offline),
            Ok(Ok(reply)) => reply.clone().unwrap_or(Err(RequestError::Offline)),
        }
    }

    async fn serve(&self, exchange: ExchangeId) -> Result<Box<dyn Questions>, CacheError> {
        // The queue holds pending questions only, so it has a place for each.
        let (queue, questions) = mpsc::channel(MOST);
        let mut state = self.state.lock();
        state.last_id += 1;
        let id = state.last_id;
        let before = state.servers.insert(exchange, Server { id, queue, pending: HashMap::new() });
        drop(state);
        drop(before);
        Ok(Box::new(Desk { exchange, id, questions, state: Arc::downgrade(&self.state) }))
    }
}

/// A collector's end.
struct Desk {
    exchange: ExchangeId,
    id: u64,
    questions: mpsc::Receiver<Asked>,
    state: Weak<Mutex<State>>,
}

#[async_trait]
impl Questions for Desk {
    async fn next(&mut self) -> Option<Asked> {
        self.questions.recv().await
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let Some(state) = self.state.upgrade() else { return };
        let mut state = state.lock();
        let gone = match state.servers.get(&self.exchange) {
            Some(server) if server.id == self.id => state.servers.remove(&self.exchange),
            _ => None,
        };
        // Outside of the lock: the questions that it still holds take it.
        drop(state);
        drop(gone);
    }
}

/// The right to answer a question once; dropping it is an answer, too.
struct Slip {
    state: Option<Weak<Mutex<State>>>,
    server: u64,
    question: Question,
}

impl Slip {
    fn answer(mut self, reply: Reply) {
        self.settle(reply);
    }

    fn settle(&mut self, reply: Reply) {
        let Some(state) = self.state.take().and_then(|state| state.upgrade()) else { return };
        let mut state = state.lock();
        let server = state.servers.get_mut(&self.question.exchange()).filter(|server| server.id == self.server);
        let waiting = server.and_then(|server| server.pending.remove(&self.question));
        drop(state);
        if let Some(waiting) = waiting {
            waiting.send_replace(Some(reply));
        }
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        self.settle(Err(RequestError::Failed("the collector gave the question up".to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Symbol, Timestamp};

    #[tokio::test]
    async fn questions_have_a_bound() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let requests = MemoryRequests::new(clock);
        let desk = requests.serve(ExchangeId::Binance).await.unwrap();
        let question = |n: usize| Question::Ticker {
            exchange: ExchangeId::Binance,
            symbol: format!("C{n}/USDT").parse::<Symbol>().unwrap(),
        };
        for n in 0..MOST {
            assert_eq!(requests.ask(question(n), Duration::ZERO).await, Err(RequestError::Pending));
        }
        let refused = requests.ask(question(MOST), Duration::ZERO).await;
        assert!(matches!(refused, Err(RequestError::Failed(_))), "{refused:?}");
        // Joining costs no place.
        assert_eq!(requests.ask(question(0), Duration::ZERO).await, Err(RequestError::Pending));
        drop(desk);
        assert_eq!(requests.ask(question(0), Duration::ZERO).await, Err(RequestError::Offline));
    }
}
