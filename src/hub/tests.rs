//! One hub over a bus that a test can break.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::*;
use crate::cache::CacheError;
use crate::model::Timestamp;

/// A bus that counts its listeners and can be broken.
#[derive(Default)]
struct FakeBus {
    listeners: Mutex<Vec<mpsc::UnboundedSender<BusEvent>>>,
    subscribed: Mutex<usize>,
    broken: Mutex<bool>,
}

struct FakeListener(mpsc::UnboundedReceiver<BusEvent>);

#[async_trait]
impl BusListener for FakeListener {
    async fn next(&mut self) -> Option<BusEvent> {
        self.0.recv().await
    }
}

#[async_trait]
impl EventBus for FakeBus {
    async fn publish(&self, _: &Topic, event: BusEvent) -> Result<(), CacheError> {
        self.listeners.lock().retain(|listener| listener.send(event.clone()).is_ok());
        Ok(())
    }

    async fn subscribe(&self, _: &Topic) -> Result<Box<dyn BusListener>, CacheError> {
        if *self.broken.lock() {
            return Err(CacheError("broken".to_owned()));
        }
        *self.subscribed.lock() += 1;
        let (sender, receiver) = mpsc::unbounded_channel();
        self.listeners.lock().push(sender);
        Ok(Box::new(FakeListener(receiver)))
    }
}

fn house() -> (Arc<FakeBus>, Arc<Hub>, Clock) {
    let bus = Arc::new(FakeBus::default());
    let clock = Clock::manual(Timestamp::EPOCH);
    let hub = Hub { bus: Arc::clone(&bus) as Arc<dyn EventBus>, clock: clock.clone(), rooms: Mutex::default() };
    (bus, Arc::new(hub), clock)
}

fn data(seq: u64) -> BusEvent {
    BusEvent { epoch: "e".into(), seq, kind: BusEventKind::Data(Bytes::from(seq.to_string())) }
}

fn topic(text: &str) -> Topic {
    text.parse().unwrap()
}

#[tokio::test]
async fn subscribers_of_a_topic_share_one_listener_and_the_last_one_shuts_the_door() {
    let (bus, hub, clock) = house();
    let trades = topic("trades:binance:BTC/USDT");
    let mut first = hub.subscribe(&trades).await;
    let mut second = hub.subscribe(&trades).await;
    assert_eq!((*bus.subscribed.lock(), hub.topics()), (1, 1));
    bus.publish(&trades, data(1)).await.unwrap();
    assert_eq!(first.next().await, Some(data(1)));
    assert_eq!(second.next().await, Some(data(1)));
    drop(first);
    clock.advance(Duration::ZERO).await;
    bus.publish(&trades, data(2)).await.unwrap();
    assert_eq!(second.next().await, Some(data(2)));
    drop(second);
    clock.advance(Duration::ZERO).await;
    assert_eq!(hub.topics(), 0);
    bus.publish(&trades, data(3)).await.unwrap();
    assert!(bus.listeners.lock().is_empty(), "the bus is let go");
}

#[tokio::test]
async fn a_slow_subscriber_of_a_ticker_gets_the_newest() {
    let (bus, hub, clock) = house();
    let ticker = topic("ticker:binance:BTC/USDT");
    let mut slow = hub.subscribe(&ticker).await;
    assert_eq!(slow.ready(), None);
    for seq in 1..=500 {
        bus.publish(&ticker, data(seq)).await.unwrap();
    }
    clock.advance(Duration::ZERO).await;
    assert_eq!(slow.ready(), Some(data(500)));
    assert_eq!(slow.ready(), None);
    let mut late = hub.subscribe(&ticker).await;
    assert_eq!(late.ready(), None, "only what comes from now on");
}

#[tokio::test]
async fn a_slow_subscriber_of_trades_is_told_of_the_hole() {
    let (bus, hub, clock) = house();
    let trades = topic("trades:binance:BTC/USDT");
    let mut slow = hub.subscribe(&trades).await;
    let sent = QUEUED_EVENTS as u64 + 10;
    for seq in 1..=sent {
        bus.publish(&trades, data(seq)).await.unwrap();
        clock.advance(Duration::ZERO).await;
    }
    assert_eq!(slow.next().await.unwrap().kind, BusEventKind::Gap(GapReason::SlowClient));
    assert_eq!(slow.next().await, Some(data(11)));
}

#[tokio::test]
async fn a_lost_bus_is_a_gap_and_is_listened_to_again() {
    let (bus, hub, clock) = house();
    let trades = topic("trades:binance:BTC/USDT");
    let mut subscriber = hub.subscribe(&trades).await;
    bus.publish(&trades, data(7)).await.unwrap();
    assert_eq!(subscriber.next().await, Some(data(7)));
    *bus.broken.lock() = true;
    bus.listeners.lock().clear();
    clock.advance(Duration::from_mins(1)).await;
    assert_eq!(subscriber.ready(), None);
    *bus.broken.lock() = false;
    clock.advance(Duration::from_secs(6)).await;
    let gap = BusEvent { kind: BusEventKind::Gap(GapReason::BusLost), ..data(7) };
    assert_eq!(subscriber.ready(), Some(gap));
    bus.publish(&trades, data(9)).await.unwrap();
    assert_eq!(subscriber.next().await, Some(data(9)));
}

#[tokio::test]
async fn a_dead_bus_does_not_hold_a_subscriber_for_ever() {
    let (bus, hub, clock) = house();
    *bus.broken.lock() = true;
    let trades = topic("trades:binance:BTC/USDT");
    let (mut subscriber, ()) = tokio::join!(hub.subscribe(&trades), clock.advance(Duration::from_secs(2)));
    assert_eq!(subscriber.ready(), None);
}
