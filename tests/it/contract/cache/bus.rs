//! Contract of the event bus.

use std::sync::Arc;

use candlewick::cache::{BusEvent, BusEventKind, BusSubscription};
use candlewick::model::{ExchangeId, GapReason, Topic};
use futures_util::FutureExt;

use super::Backend;

fn topic(symbol: &str) -> Topic {
    Topic::Trades { exchange: ExchangeId::BINANCE, symbol: symbol.parse().unwrap() }
}

fn event(seq: u64) -> BusEvent {
    BusEvent { epoch: Arc::from("k3f9"), seq, kind: BusEventKind::Data(format!("{{\"n\":{seq}}}").into()) }
}

impl Backend {
    async fn publish(&self, topic: &Topic, numbers: impl IntoIterator<Item = u64>) {
        for seq in numbers {
            self.cache.bus.publish(topic, event(seq)).await.unwrap();
        }
    }

    async fn subscribe(&self, topic: &Topic) -> Box<dyn BusSubscription> {
        self.cache.bus.subscribe(topic).await.unwrap()
    }
}

pub async fn events_are_received_in_order(backend: Backend) {
    let topic = topic("BTC/USDT");
    let mut subscribers = [backend.subscribe(&topic).await, backend.subscribe(&topic).await];
    backend.publish(&topic, 1..=50).await;
    let gap = BusEvent { kind: BusEventKind::Gap(GapReason::UpstreamDisconnect), ..event(51) };
    backend.cache.bus.publish(&topic, gap.clone()).await.unwrap();
    for subscriber in &mut subscribers {
        for seq in 1..=50 {
            assert_eq!(subscriber.next().await, Some(event(seq)));
        }
        assert_eq!(subscriber.next().await, Some(gap.clone()), "a gap of the collector is delivered like any event");
    }
}

pub async fn events_before_subscribe_are_not_received(backend: Backend) {
    let topic = topic("BTC/USDT");
    backend.publish(&topic, 1..=3).await;
    let mut first = backend.subscribe(&topic).await;
    backend.publish(&topic, 4..=5).await;
    let mut second = backend.subscribe(&topic).await;
    backend.publish(&topic, 6..=6).await;
    assert_eq!(first.next().await, Some(event(4)));
    assert_eq!(second.next().await, Some(event(6)));
}

pub async fn topics_are_separate(backend: Backend) {
    let topics = [topic("BTC/USDT"), topic("BTC/USDT:USDT"), topic("ETH/USDT"), {
        let Topic::Trades { exchange, symbol } = topic("BTC/USDT") else { unreachable!() };
        Topic::Ticker { exchange, symbol }
    }];
    let mut subscribers = Vec::new();
    for topic in &topics {
        subscribers.push(backend.subscribe(topic).await);
    }
    for (topic, seq) in topics.iter().zip(10..) {
        backend.publish(topic, [seq]).await;
    }
    for (subscriber, seq) in subscribers.iter_mut().zip(10..) {
        assert_eq!(subscriber.next().await, Some(event(seq)));
    }
}

/// Checks that events `next` to `last` arrive in order.
async fn expect_events(subscriber: &mut Box<dyn BusSubscription>, mut next: u64, last: u64) {
    while next <= last {
        assert_eq!(subscriber.next().await, Some(event(next)));
        next += 1;
    }
}

pub async fn slow_subscriber_receives_gap(backend: Backend) {
    const LAST: u64 = 100_000;
    let topic = topic("BTC/USDT");
    let mut slow = backend.subscribe(&topic).await;
    backend.publish(&topic, 1..=1).await;
    assert_eq!(slow.next().await, Some(event(1)));
    backend.publish(&topic, 2..=LAST).await;
    let gap = slow.next().await.unwrap();
    assert_eq!(gap.kind, BusEventKind::Gap(GapReason::SlowClient));
    assert_eq!(&*gap.epoch, "k3f9");
    assert!(gap.seq > 2, "the gap carries the sequence number of the next event: {}", gap.seq);
    expect_events(&mut slow, gap.seq, LAST).await;
    // After one gap, events arrive again.
    backend.publish(&topic, [LAST + 1]).await;
    assert_eq!(slow.next().await, Some(event(LAST + 1)));
}

pub async fn cancelled_wait_does_not_lose_gap(backend: Backend) {
    const LAST: u64 = 100_000;
    let topic = topic("BTC/USDT");
    let mut slow = backend.subscribe(&topic).await;
    assert_eq!(slow.next().now_or_never(), None, "no event yet");
    backend.publish(&topic, 1..=LAST).await;
    // Poll once at a time, as in a `select!` where another branch completes first.
    let mut poll_once = || slow.next().now_or_never().flatten();
    let gap = loop {
        if let Some(event) = poll_once() {
            break event;
        }
    };
    assert_eq!(gap.kind, BusEventKind::Gap(GapReason::SlowClient));
    expect_events(&mut slow, gap.seq, LAST).await;
}

pub async fn dropped_subscriber_does_not_block_publish(backend: Backend) {
    let topic = topic("BTC/USDT");
    let (dropped, mut active) = (backend.subscribe(&topic).await, backend.subscribe(&topic).await);
    drop(dropped);
    backend.publish(&topic, 1..=2).await;
    assert_eq!(active.next().await, Some(event(1)));
    assert_eq!(active.next().await, Some(event(2)));
    drop(active);
    backend.publish(&topic, 3..=3).await;
    let mut new = backend.subscribe(&topic).await;
    backend.publish(&topic, 4..=4).await;
    assert_eq!(new.next().await, Some(event(4)));
}
