//! Contract of requests to collectors.

use std::time::Duration;

use candlewick::cache::{CollectorReply, CollectorRequest, IncomingRequest, RequestError, RequestReceiver};
use candlewick::model::{ExchangeId, Interval, Series, TimeRange, Timestamp};
use tokio::task::JoinHandle;

use super::Backend;

const BUDGET: Duration = Duration::from_secs(2);
const BINANCE: ExchangeId = ExchangeId::BINANCE;

type RequestResult = Result<CollectorReply, RequestError>;

fn candles_request(exchange: ExchangeId, minutes: i64) -> CollectorRequest {
    let series = Series { exchange, symbol: "BTC/USDT".parse().unwrap(), interval: Interval::M1 };
    CollectorRequest::Candles { series, range: TimeRange::new(Timestamp::EPOCH, Timestamp::from_secs(minutes * 60)) }
}

impl Backend {
    /// Sends a request in its own task and waits up to [`BUDGET`] for the reply.
    fn spawn_request(&self, request: CollectorRequest) -> JoinHandle<RequestResult> {
        let requests = self.cache.requests.clone();
        tokio::spawn(async move { requests.request(request, BUDGET).await })
    }

    async fn serve(&self) -> Box<dyn RequestReceiver> {
        self.cache.requests.serve(BINANCE).await.unwrap()
    }

    /// The next request that reaches the collector.
    async fn next(&self, receiver: &mut Box<dyn RequestReceiver>) -> IncomingRequest {
        receiver.next().await.unwrap()
    }
}

pub async fn reply_reaches_caller(backend: Backend) {
    let mut receiver = backend.serve().await;
    let caller = backend.spawn_request(candles_request(BINANCE, 1));
    let incoming = backend.next(&mut receiver).await;
    assert_eq!(incoming.request, candles_request(BINANCE, 1));
    assert!(!caller.is_finished());
    (incoming.reply)(Ok(CollectorReply::Stored));
    assert_eq!(caller.await.unwrap(), Ok(CollectorReply::Stored));
    // After the reply, the same request is sent again.
    let caller = backend.spawn_request(candles_request(BINANCE, 1));
    let incoming = backend.next(&mut receiver).await;
    (incoming.reply)(Err(RequestError::UnknownSymbol));
    assert_eq!(caller.await.unwrap(), Err(RequestError::UnknownSymbol));
}

pub async fn identical_requests_are_sent_once(backend: Backend) {
    let mut receiver = backend.serve().await;
    let callers: Vec<_> = (0..20).map(|_| backend.spawn_request(candles_request(BINANCE, 1))).collect();
    let first = backend.next(&mut receiver).await;
    backend.advance(BUDGET / 4).await;
    let late = backend.spawn_request(candles_request(BINANCE, 1));
    let other = backend.spawn_request(candles_request(BINANCE, 2));
    backend.advance(BUDGET / 4).await;
    // A duplicate of the first request would arrive before this one.
    let second = backend.next(&mut receiver).await;
    assert_eq!(second.request, candles_request(BINANCE, 2));
    (first.reply)(Ok(CollectorReply::Stored));
    for caller in callers.into_iter().chain([late]) {
        assert_eq!(caller.await.unwrap(), Ok(CollectorReply::Stored));
    }
    assert!(!other.is_finished());
    (second.reply)(Err(RequestError::UnknownSymbol));
    assert_eq!(other.await.unwrap(), Err(RequestError::UnknownSymbol));
}

pub async fn request_past_time_budget_is_pending(backend: Backend) {
    let mut receiver = backend.serve().await;
    let caller = backend.spawn_request(candles_request(BINANCE, 1));
    let incoming = backend.next(&mut receiver).await;
    backend.advance(BUDGET).await;
    assert_eq!(caller.await.unwrap(), Err(RequestError::Pending));
    // The request continues: a second caller waits for the same reply.
    let second = backend.spawn_request(candles_request(BINANCE, 1));
    backend.advance(BUDGET / 2).await;
    assert!(!second.is_finished());
    (incoming.reply)(Ok(CollectorReply::Stored));
    assert_eq!(second.await.unwrap(), Ok(CollectorReply::Stored));
}

pub async fn request_without_collector_is_offline(backend: Backend) {
    // The error is immediate: the clock does not advance.
    let offline = Err(RequestError::Offline);
    assert_eq!(backend.spawn_request(candles_request(BINANCE, 1)).await.unwrap(), offline);
    let _receiver = backend.serve().await;
    assert_eq!(backend.spawn_request(candles_request(ExchangeId::KRAKEN, 1)).await.unwrap(), offline);
}

pub async fn dropped_receiver_fails_requests_as_offline(backend: Backend) {
    let mut receiver = backend.serve().await;
    let received = backend.spawn_request(candles_request(BINANCE, 1));
    let incoming = backend.next(&mut receiver).await;
    let queued = backend.spawn_request(candles_request(BINANCE, 2));
    backend.advance(BUDGET / 2).await;
    drop(receiver);
    assert_eq!(received.await.unwrap(), Err(RequestError::Offline));
    assert_eq!(queued.await.unwrap(), Err(RequestError::Offline));
    assert_eq!(backend.spawn_request(candles_request(BINANCE, 1)).await.unwrap(), Err(RequestError::Offline));
    // A late reply has no effect.
    (incoming.reply)(Ok(CollectorReply::Stored));
}

pub async fn dropped_request_fails(backend: Backend) {
    let mut receiver = backend.serve().await;
    let caller = backend.spawn_request(candles_request(BINANCE, 1));
    drop(backend.next(&mut receiver).await);
    let reply = caller.await.unwrap();
    assert!(matches!(reply, Err(RequestError::Failed(_))), "{reply:?}");
}

pub async fn cancelled_caller_does_not_cancel_request(backend: Backend) {
    let mut receiver = backend.serve().await;
    let cancelled = backend.spawn_request(candles_request(BINANCE, 1));
    let waiting = backend.spawn_request(candles_request(BINANCE, 1));
    let incoming = backend.next(&mut receiver).await;
    cancelled.abort();
    assert!(cancelled.await.unwrap_err().is_cancelled());
    (incoming.reply)(Ok(CollectorReply::Stored));
    assert_eq!(waiting.await.unwrap(), Ok(CollectorReply::Stored));
    // Without any caller, the request stays open until its reply.
    let only_caller = backend.spawn_request(candles_request(BINANCE, 2));
    let incoming = backend.next(&mut receiver).await;
    only_caller.abort();
    assert!(only_caller.await.unwrap_err().is_cancelled());
    let joined = backend.spawn_request(candles_request(BINANCE, 2));
    backend.advance(BUDGET / 4).await;
    (incoming.reply)(Ok(CollectorReply::Stored));
    assert_eq!(joined.await.unwrap(), Ok(CollectorReply::Stored));
}

pub async fn new_collector_takes_over(backend: Backend) {
    let mut old = backend.serve().await;
    let caller = backend.spawn_request(candles_request(BINANCE, 1));
    let stale = backend.next(&mut old).await;
    let mut new = backend.serve().await;
    // Dropping the old receiver does not end the new one.
    drop(old);
    assert_eq!(caller.await.unwrap(), Err(RequestError::Offline));
    let caller = backend.spawn_request(candles_request(BINANCE, 1));
    let incoming = backend.next(&mut new).await;
    // Dropping the old request does not reply to the new one.
    drop(stale);
    (incoming.reply)(Ok(CollectorReply::Stored));
    assert_eq!(caller.await.unwrap(), Ok(CollectorReply::Stored));
}

pub async fn errors_are_returned_to_caller(backend: Backend) {
    let mut receiver = backend.serve().await;
    for error in [
        RequestError::RateLimited(Timestamp::from_secs(9)),
        RequestError::UnknownSymbol,
        RequestError::Failed("the exchange is in maintenance".to_owned()),
    ] {
        let caller = backend.spawn_request(candles_request(BINANCE, 1));
        let incoming = backend.next(&mut receiver).await;
        (incoming.reply)(Err(error.clone()));
        assert_eq!(caller.await.unwrap(), Err(error));
    }
}
