//! The event bus.

use std::sync::Arc;

use candlewick::cache::{BusEvent, BusEventKind, BusListener};
use candlewick::model::{ExchangeId, GapReason, Topic};
use futures_util::FutureExt;

use super::Backend;

fn topic(symbol: &str) -> Topic {
    Topic::Trades { exchange: ExchangeId::Binance, symbol: symbol.parse().unwrap() }
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

    async fn listen(&self, topic: &Topic) -> Box<dyn BusListener> {
        self.cache.bus.subscribe(topic).await.unwrap()
    }
}

pub async fn events_come_in_their_order(backend: Backend) {
    let topic = topic("BTC/USDT");
    let mut listeners = [backend.listen(&topic).await, backend.listen(&topic).await];
    backend.publish(&topic, 1..=50).await;
    let told = BusEvent { kind: BusEventKind::Gap(GapReason::UpstreamDisconnect), ..event(51) };
    backend.cache.bus.publish(&topic, told.clone()).await.unwrap();
    for listener in &mut listeners {
        for seq in 1..=50 {
            assert_eq!(listener.next().await, Some(event(seq)));
        }
        assert_eq!(listener.next().await, Some(told.clone()), "a collector's gap is an event like others");
    }
}

pub async fn events_before_subscribing_do_not_come(backend: Backend) {
    let topic = topic("BTC/USDT");
    backend.publish(&topic, 1..=3).await;
    let mut first = backend.listen(&topic).await;
    backend.publish(&topic, 4..=5).await;
    let mut second = backend.listen(&topic).await;
    backend.publish(&topic, 6..=6).await;
    assert_eq!(first.next().await, Some(event(4)));
    assert_eq!(second.next().await, Some(event(6)));
}

pub async fn topics_do_not_mix(backend: Backend) {
    let topics = [topic("BTC/USDT"), topic("ETH/USDT"), {
        let Topic::Trades { exchange, symbol } = topic("BTC/USDT") else { unreachable!() };
        Topic::Ticker { exchange, symbol }
    }];
    let mut listeners = Vec::new();
    for topic in &topics {
        listeners.push(backend.listen(topic).await);
    }
    for (topic, seq) in topics.iter().zip(10..) {
        backend.publish(topic, [seq]).await;
    }
    for (listener, seq) in listeners.iter_mut().zip(10..) {
        assert_eq!(listener.next().await, Some(event(seq)));
    }
}

/// Reads on from a gap to the last event, in order.
async fn read_to(listener: &mut Box<dyn BusListener>, mut next: u64, last: u64) {
    while next <= last {
        assert_eq!(listener.next().await, Some(event(next)));
        next += 1;
    }
}

pub async fn a_slow_listener_learns_that_it_missed_some(backend: Backend) {
    const LAST: u64 = 100_000;
    let topic = topic("BTC/USDT");
    let mut slow = backend.listen(&topic).await;
    backend.publish(&topic, 1..=1).await;
    assert_eq!(slow.next().await, Some(event(1)));
    backend.publish(&topic, 2..=LAST).await;
    let gap = slow.next().await.unwrap();
    assert_eq!(gap.kind, BusEventKind::Gap(GapReason::SlowClient));
    assert_eq!(&*gap.epoch, "k3f9");
    assert!(gap.seq > 2, "it carries the number of the event that follows it: {}", gap.seq);
    read_to(&mut slow, gap.seq, LAST).await;
    // One gap, and all is as before.
    backend.publish(&topic, [LAST + 1]).await;
    assert_eq!(slow.next().await, Some(event(LAST + 1)));
}

pub async fn a_gap_is_not_lost_with_a_cancelled_wait(backend: Backend) {
    const LAST: u64 = 100_000;
    let topic = topic("BTC/USDT");
    let mut slow = backend.listen(&topic).await;
    assert_eq!(slow.next().now_or_never(), None, "there is nothing yet");
    backend.publish(&topic, 1..=LAST).await;
    // Polled once at a time, as in a `select!` that another branch wins.
    let mut polled = || slow.next().now_or_never().flatten();
    let gap = loop {
        if let Some(event) = polled() {
            break event;
        }
    };
    assert_eq!(gap.kind, BusEventKind::Gap(GapReason::SlowClient));
    read_to(&mut slow, gap.seq, LAST).await;
}

pub async fn who_left_is_not_waited_for(backend: Backend) {
    let topic = topic("BTC/USDT");
    let (left, mut stays) = (backend.listen(&topic).await, backend.listen(&topic).await);
    drop(left);
    backend.publish(&topic, 1..=2).await;
    assert_eq!(stays.next().await, Some(event(1)));
    assert_eq!(stays.next().await, Some(event(2)));
    drop(stays);
    backend.publish(&topic, 3..=3).await;
    let mut back = backend.listen(&topic).await;
    backend.publish(&topic, 4..=4).await;
    assert_eq!(back.next().await, Some(event(4)));
}
