//! Questions to collectors.

use std::time::Duration;

use candlewick::cache::{Answer, Asked, Question, Questions, RequestError};
use candlewick::model::{ExchangeId, Interval, Series, TimeRange, Timestamp};
use tokio::task::JoinHandle;

use super::Backend;

const BUDGET: Duration = Duration::from_secs(2);
const BINANCE: ExchangeId = ExchangeId::Binance;

type Reply = Result<Answer, RequestError>;

fn question(exchange: ExchangeId, minutes: i64) -> Question {
    let series = Series { exchange, symbol: "BTC/USDT".parse().unwrap(), interval: Interval::M1 };
    Question::Candles { series, range: TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(minutes * 60)) }
}

impl Backend {
    /// Asks in a task of its own, within the budget.
    fn asks(&self, question: Question) -> JoinHandle<Reply> {
        let requests = self.cache.requests.clone();
        tokio::spawn(async move { requests.ask(question, BUDGET).await })
    }

    async fn serve(&self) -> Box<dyn Questions> {
        self.cache.requests.serve(BINANCE).await.unwrap()
    }

    /// The next question that reaches the collector.
    async fn next(&self, desk: &mut Box<dyn Questions>) -> Asked {
        desk.next().await.unwrap()
    }
}

pub async fn an_answer_reaches_who_asked(backend: Backend) {
    let mut desk = backend.serve().await;
    let asker = backend.asks(question(BINANCE, 1));
    let job = backend.next(&mut desk).await;
    assert_eq!(job.question, question(BINANCE, 1));
    assert!(!asker.is_finished());
    (job.answer)(Ok(Answer::Stored));
    assert_eq!(asker.await.unwrap(), Ok(Answer::Stored));
    // The same question again is a new one.
    let asker = backend.asks(question(BINANCE, 1));
    let job = backend.next(&mut desk).await;
    (job.answer)(Err(RequestError::UnknownSymbol));
    assert_eq!(asker.await.unwrap(), Err(RequestError::UnknownSymbol));
}

pub async fn identical_questions_are_asked_once(backend: Backend) {
    let mut desk = backend.serve().await;
    let askers: Vec<_> = (0..20).map(|_| backend.asks(question(BINANCE, 1))).collect();
    let first = backend.next(&mut desk).await;
    backend.pass(BUDGET / 4).await;
    let late = backend.asks(question(BINANCE, 1));
    let other = backend.asks(question(BINANCE, 2));
    backend.pass(BUDGET / 4).await;
    // Had there been another of the same, it would come before the other.
    let second = backend.next(&mut desk).await;
    assert_eq!(second.question, question(BINANCE, 2));
    (first.answer)(Ok(Answer::Stored));
    for asker in askers.into_iter().chain([late]) {
        assert_eq!(asker.await.unwrap(), Ok(Answer::Stored));
    }
    assert!(!other.is_finished());
    (second.answer)(Err(RequestError::UnknownSymbol));
    assert_eq!(other.await.unwrap(), Err(RequestError::UnknownSymbol));
}

pub async fn who_waits_too_long_learns_that_it_is_pending(backend: Backend) {
    let mut desk = backend.serve().await;
    let asker = backend.asks(question(BINANCE, 1));
    let job = backend.next(&mut desk).await;
    backend.pass(BUDGET).await;
    assert_eq!(asker.await.unwrap(), Err(RequestError::Pending));
    // The collector goes on: who asks again waits for the same answer.
    let again = backend.asks(question(BINANCE, 1));
    backend.pass(BUDGET / 2).await;
    assert!(!again.is_finished());
    (job.answer)(Ok(Answer::Stored));
    assert_eq!(again.await.unwrap(), Ok(Answer::Stored));
}

pub async fn nobody_serves(backend: Backend) {
    // At once: no time passes here.
    let offline = Err(RequestError::Offline);
    assert_eq!(backend.asks(question(BINANCE, 1)).await.unwrap(), offline);
    let _desk = backend.serve().await;
    assert_eq!(backend.asks(question(ExchangeId::Kraken, 1)).await.unwrap(), offline);
}

pub async fn a_collector_that_goes_leaves_nobody_waiting(backend: Backend) {
    let mut desk = backend.serve().await;
    let taken = backend.asks(question(BINANCE, 1));
    let job = backend.next(&mut desk).await;
    let queued = backend.asks(question(BINANCE, 2));
    backend.pass(BUDGET / 2).await;
    drop(desk);
    assert_eq!(taken.await.unwrap(), Err(RequestError::Offline));
    assert_eq!(queued.await.unwrap(), Err(RequestError::Offline));
    assert_eq!(backend.asks(question(BINANCE, 1)).await.unwrap(), Err(RequestError::Offline));
    // Too late, and harmless.
    (job.answer)(Ok(Answer::Stored));
}

pub async fn a_question_that_is_dropped_has_failed(backend: Backend) {
    let mut desk = backend.serve().await;
    let asker = backend.asks(question(BINANCE, 1));
    drop(backend.next(&mut desk).await);
    let reply = asker.await.unwrap();
    assert!(matches!(reply, Err(RequestError::Failed(_))), "{reply:?}");
}

pub async fn an_asker_that_leaves_does_not_stop_the_collector(backend: Backend) {
    let mut desk = backend.serve().await;
    let left = backend.asks(question(BINANCE, 1));
    let stays = backend.asks(question(BINANCE, 1));
    let job = backend.next(&mut desk).await;
    left.abort();
    assert!(left.await.unwrap_err().is_cancelled());
    (job.answer)(Ok(Answer::Stored));
    assert_eq!(stays.await.unwrap(), Ok(Answer::Stored));
    // Even when nobody is left, the question stands until it is answered.
    let alone = backend.asks(question(BINANCE, 2));
    let job = backend.next(&mut desk).await;
    alone.abort();
    assert!(alone.await.unwrap_err().is_cancelled());
    let joined = backend.asks(question(BINANCE, 2));
    backend.pass(BUDGET / 4).await;
    (job.answer)(Ok(Answer::Stored));
    assert_eq!(joined.await.unwrap(), Ok(Answer::Stored));
}

pub async fn a_new_collector_takes_over(backend: Backend) {
    let mut old = backend.serve().await;
    let asker = backend.asks(question(BINANCE, 1));
    let stale = backend.next(&mut old).await;
    let mut new = backend.serve().await;
    // The old one's leaving does not end the new one's service.
    drop(old);
    assert_eq!(asker.await.unwrap(), Err(RequestError::Offline));
    let asker = backend.asks(question(BINANCE, 1));
    let job = backend.next(&mut new).await;
    // Nor does the old one's giving up answer what the new one was asked.
    drop(stale);
    (job.answer)(Ok(Answer::Stored));
    assert_eq!(asker.await.unwrap(), Ok(Answer::Stored));
}

pub async fn errors_are_answers(backend: Backend) {
    let mut desk = backend.serve().await;
    for error in [
        RequestError::RateLimited(Timestamp::from_secs(9)),
        RequestError::UnknownSymbol,
        RequestError::Failed("the exchange is in maintenance".to_owned()),
    ] {
        let asker = backend.asks(question(BINANCE, 1));
        let job = backend.next(&mut desk).await;
        (job.answer)(Err(error.clone()));
        assert_eq!(asker.await.unwrap(), Err(error));
    }
}
