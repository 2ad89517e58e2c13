//! A hub on a bus that tests can interrupt.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::*;
use crate::cache::{BusEvent, BusEventKind, CacheError};
use crate::model::{ExchangeId, GapReason, Symbol, Timestamp};

/// A bus that counts its subscriptions and can be down.
#[derive(Default)]
struct FakeBus {
    subscriptions: Mutex<Vec<mpsc::UnboundedSender<BusEvent>>>,
    subscribe_count: Mutex<usize>,
    is_down: Mutex<bool>,
}

struct FakeSubscription(mpsc::UnboundedReceiver<BusEvent>);

#[async_trait]
impl BusSubscription for FakeSubscription {
    async fn next(&mut self) -> Option<BusEvent> {
        self.0.recv().await
    }
}

#[async_trait]
impl EventBus for FakeBus {
    async fn publish(&self, _: &Topic, event: BusEvent) -> Result<(), CacheError> {
        self.subscriptions.lock().retain(|listener| listener.send(event.clone()).is_ok());
        Ok(())
    }

    async fn subscribe(&self, _: &Topic) -> Result<Box<dyn BusSubscription>, CacheError> {
        if *self.is_down.lock() {
            return Err(CacheError("broken".to_owned()));
        }
        *self.subscribe_count.lock() += 1;
        let (sender, receiver) = mpsc::unbounded_channel();
        self.subscriptions.lock().push(sender);
        Ok(Box::new(FakeSubscription(receiver)))
    }
}

/// Records each registered demand and its time to live.
#[derive(Default)]
struct FakeDemand(Mutex<Vec<(Symbol, Duration)>>);

#[async_trait]
impl Demand for FakeDemand {
    async fn add(&self, _: ExchangeId, symbol: &Symbol, ttl: Duration) -> Result<(), CacheError> {
        self.0.lock().push((symbol.clone(), ttl));
        Ok(())
    }

    async fn symbols(&self, _: ExchangeId) -> Result<Vec<Symbol>, CacheError> {
        Ok(Vec::new())
    }
}

struct TestEnv {
    bus: Arc<FakeBus>,
    demand: Arc<FakeDemand>,
    hub: Arc<Hub>,
    clock: Clock,
}

fn env() -> TestEnv {
    let bus = Arc::new(FakeBus::default());
    let demand = Arc::new(FakeDemand::default());
    let clock = Clock::manual(Timestamp::EPOCH);
    let mut cache = crate::cache::memory(clock.clone());
    cache.bus = Arc::clone(&bus) as Arc<dyn EventBus>;
    cache.demand = Arc::clone(&demand) as Arc<dyn Demand>;
    let config = HubConfig { ring: RingLimits { frames: 16, bytes: 1 << 20 }, max_topics: 3, ..HubConfig::default() };
    TestEnv { bus, demand, hub: Hub::new(&cache, clock.clone(), config), clock }
}

impl TestEnv {
    /// Subscribes a new client to one topic.
    async fn client(&self, topic: &Topic) -> Subscriber {
        let mut client = self.hub.subscriber();
        let slot = client.add(self.hub.subscribe(topic).await.unwrap());
        client.start(slot);
        client
    }

    async fn publish(&self, topic: &Topic, event: BusEvent) {
        self.bus.publish(topic, event).await.unwrap();
        self.clock.advance(Duration::ZERO).await;
    }
}

/// Reads all frames, as JSON.
fn read_json(client: &mut Subscriber) -> Vec<String> {
    let mut all = Vec::new();
    client.read(usize::MAX, |_, frame| all.push(String::from_utf8(frame.json().to_vec()).unwrap()));
    all
}

/// Reads all frames, as sequence numbers: `(seq, None)` for data, `(first, last)` for a gap.
fn read_numbers(client: &mut Subscriber) -> Vec<(u64, Option<u64>)> {
    let mut all = Vec::new();
    client.read(usize::MAX, |_, frame| {
        let last = frame.sequence_id().map(|id| id.seq);
        all.push(if frame.is_gap() { (frame.first_seq(), last) } else { (frame.first_seq(), None) });
    });
    all
}

fn data(seq: u64) -> BusEvent {
    BusEvent { epoch: "e".into(), seq, kind: BusEventKind::Data(Bytes::from(seq.to_string())) }
}

fn topic(text: &str) -> Topic {
    text.parse().unwrap()
}

fn trades() -> Topic {
    topic("trades:binance:BTC/USDT")
}

#[tokio::test]
async fn subscribers_share_one_bus_subscription_that_ends_after_linger() {
    let env = env();
    let mut first = env.client(&trades()).await;
    let mut second = env.client(&trades()).await;
    assert_eq!((*env.bus.subscribe_count.lock(), env.hub.topic_count()), (1, 1));
    env.publish(&trades(), data(1)).await;
    assert_eq!((read_numbers(&mut first), read_numbers(&mut second)), (vec![(1, None)], vec![(1, None)]));
    drop((first, second));
    env.clock.advance(Duration::from_secs(59)).await;
    assert_eq!(env.hub.topic_count(), 1, "a disconnected client may resume");
    let mut third = env.client(&trades()).await;
    env.clock.advance(Duration::from_mins(10)).await;
    env.publish(&trades(), data(2)).await;
    assert_eq!(read_numbers(&mut third), [(2, None)]);
    assert_eq!(*env.bus.subscribe_count.lock(), 1);
    drop(third);
    env.clock.advance(Duration::from_secs(61)).await;
    assert_eq!(env.hub.topic_count(), 0);
    env.publish(&trades(), data(3)).await;
    assert!(env.bus.subscriptions.lock().is_empty(), "the bus subscription is dropped");
}

#[tokio::test]
async fn demand_is_renewed_until_last_client_leaves() {
    let env = env();
    let client = env.client(&trades()).await;
    env.clock.advance(Duration::from_secs(25)).await;
    let linger = env.hub.config.linger;
    let expected = vec![("BTC/USDT".parse::<Symbol>().unwrap(), linger); 3];
    assert_eq!(*env.demand.0.lock(), expected, "at once and every ten seconds");
    drop(client);
    env.clock.advance(Duration::from_secs(59)).await;
    assert_eq!(env.demand.0.lock().len(), 4, "once more at the end");
}

#[tokio::test]
async fn rejects_topics_above_maximum() {
    let env = env();
    for name in ["trades:kraken:A/B", "trades:kraken:B/B", "trades:kraken:C/B"] {
        env.hub.subscribe(&topic(name)).await.unwrap();
    }
    assert_eq!(env.hub.subscribe(&trades()).await.err(), Some(HubFull));
    assert!(env.hub.subscribe(&topic("trades:kraken:A/B")).await.is_ok());
}

#[tokio::test]
async fn slow_client_gets_only_newest_ticker() {
    let env = env();
    let ticker = topic("ticker:binance:BTC/USDT");
    let mut slow = env.client(&ticker).await;
    assert_eq!(read_numbers(&mut slow), []);
    for seq in 1..=500 {
        env.bus.publish(&ticker, data(seq)).await.unwrap();
    }
    env.clock.advance(Duration::ZERO).await;
    assert_eq!(read_numbers(&mut slow), [(500, None)]);
    assert_eq!((read_numbers(&mut slow), slow.missed_bytes()), (vec![], 0));
    let mut late = env.client(&ticker).await;
    assert_eq!(read_numbers(&mut late), [], "only later events");
}

#[tokio::test]
async fn tickers_respect_minimum_interval() {
    let env = env();
    let ticker = topic("ticker:binance:BTC/USDT");
    let mut client = env.client(&ticker).await;
    let slot = client.find(&ticker).unwrap();
    client.set_min_interval(slot, Duration::from_millis(250));
    let mut seen = Vec::new();
    for seq in 1..=100 {
        env.publish(&ticker, data(seq)).await;
        seen.extend(read_numbers(&mut client).into_iter().map(|(seq, _)| seq));
        env.clock.advance(Duration::from_millis(100)).await;
    }
    assert_eq!(seen.len(), 34, "{seen:?}");
    assert!(seen.is_sorted());
    env.publish(&ticker, data(101)).await;
    assert_eq!(read_numbers(&mut client), [], "the interval has not passed yet");
    {
        let waiting = client.ready();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        env.clock.advance(Duration::from_millis(250)).await;
        waiting.await;
    }
    assert_eq!(read_numbers(&mut client), [(101, None)], "the newest ticker is read after the interval");
}

#[tokio::test]
async fn slow_client_gets_gap_with_missed_trades() {
    let env = env();
    let mut slow = env.client(&trades()).await;
    env.publish(&trades(), data(1)).await;
    assert_eq!(read_numbers(&mut slow), [(1, None)]);
    for seq in 2..=30 {
        env.publish(&trades(), data(seq)).await;
    }
    let mut messages = Vec::new();
    slow.read(1, |_, frame| messages.push(String::from_utf8(frame.json().to_vec()).unwrap()));
    assert_eq!(messages.len(), 2, "about as much as the budget: {messages:?}");
    assert!(messages[0].contains("\"from_seq\":2,\"to_seq\":14,\"reason\":\"slow_client\""), "{}", messages[0]);
    assert!(slow.missed_bytes() > 0);
    let rest = read_numbers(&mut slow);
    assert_eq!((rest.first(), rest.last(), rest.len()), (Some(&(16, None)), Some(&(30, None)), 15));
    assert_eq!(slow.missed_bytes(), 0, "reset after reading all frames");
}

#[tokio::test]
async fn jump_in_sequence_numbers_is_a_gap() {
    let env = env();
    let mut client = env.client(&trades()).await;
    env.publish(&trades(), data(5)).await;
    env.publish(&trades(), data(5)).await;
    env.publish(&trades(), data(9)).await;
    let messages = read_json(&mut client);
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(
        messages[1].contains("\"epoch\":\"e\",\"from_seq\":6,\"to_seq\":8,\"reason\":\"bus_lost\""),
        "{}",
        messages[1]
    );
    env.publish(&trades(), BusEvent { epoch: "f".into(), ..data(3) }).await;
    let messages = read_json(&mut client);
    assert!(
        messages[0].contains("\"epoch\":\"f\",\"from_seq\":1,\"to_seq\":2,\"reason\":\"new_epoch\""),
        "{}",
        messages[0]
    );
}

#[tokio::test]
async fn bus_outage_is_a_gap_and_hub_resubscribes() {
    let env = env();
    let mut client = env.client(&trades()).await;
    env.publish(&trades(), data(7)).await;
    assert_eq!(read_numbers(&mut client), [(7, None)]);
    *env.bus.is_down.lock() = true;
    env.bus.subscriptions.lock().clear();
    env.clock.advance(Duration::from_mins(1)).await;
    assert!(read_json(&mut client).is_empty());
    *env.bus.is_down.lock() = false;
    env.clock.advance(Duration::from_secs(6)).await;
    let messages = read_json(&mut client);
    assert!(messages[0].contains("\"from_seq\":8,\"to_seq\":null,\"reason\":\"bus_lost\""), "{messages:?}");
    env.publish(&trades(), data(9)).await;
    assert_eq!(read_numbers(&mut client), [(9, None)], "the gap ends with the next event");
}

#[tokio::test]
async fn subscribe_returns_while_bus_is_down() {
    let env = env();
    *env.bus.is_down.lock() = true;
    let trades = trades();
    let (subscription, ()) = tokio::join!(env.hub.subscribe(&trades), env.clock.advance(Duration::from_secs(2)));
    assert!(subscription.is_ok());
}

#[tokio::test]
async fn client_resumes_after_last_sequence_id() {
    let env = env();
    let mut client = env.client(&trades()).await;
    for seq in 1..=10 {
        env.publish(&trades(), data(seq)).await;
    }
    assert_eq!(read_numbers(&mut client).len(), 10);
    drop(client);
    for seq in 11..=20 {
        env.publish(&trades(), data(seq)).await;
    }
    let id = |seq| SequenceId { epoch: "e".into(), seq };
    let mut resumed = env.hub.subscriber();
    let slot = resumed.add(env.hub.subscribe(&trades()).await.unwrap());
    assert_eq!(resumed.resume(slot, &id(10)), None);
    resumed.start(slot);
    assert_eq!(
        read_numbers(&mut resumed).into_iter().map(|(seq, _)| seq).collect::<Vec<_>>(),
        (11..=20).collect::<Vec<_>>()
    );

    let mut late = env.hub.subscriber();
    let slot = late.add(env.hub.subscribe(&trades()).await.unwrap());
    let missed = late.resume(slot, &id(2)).unwrap();
    assert_eq!((missed.from, missed.to, missed.reason), (Some(3), Some(20), GapReason::ResumeExpired));
    late.start(slot);
    env.publish(&trades(), data(21)).await;
    assert_eq!(read_numbers(&mut late), [(21, None)]);

    let mut unrelated = env.hub.subscriber();
    let slot = unrelated.add(env.hub.subscribe(&topic("trades:kraken:A/B")).await.unwrap());
    let missed = unrelated.resume(slot, &id(2)).unwrap();
    assert_eq!((missed.from, missed.to, missed.reason), (Some(3), None, GapReason::ResumeExpired));
}

proptest::proptest! {
    /// For any sequence of events, losses and reconnects, each sequence number is received once or is part of one gap.
    #[test]
    fn sequence_numbers_are_received_once_or_in_a_gap(steps in proptest::collection::vec((0_u8..10, 1_u64..30), 1..80)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run_steps(steps));
    }
}

/// The frames that a client received: epoch, first and last sequence number.
#[derive(Default)]
struct ReceivedLog(Vec<(Arc<str>, u64, u64)>);

impl ReceivedLog {
    fn read(&mut self, client: &mut Subscriber, budget: usize) {
        client.read(budget, |_, frame| self.record(frame));
    }

    fn record(&mut self, frame: &Frame) {
        let id = frame.sequence_id().expect("every gap has an end");
        self.0.push((Arc::clone(&id.epoch), frame.first_seq(), id.seq));
    }

    fn last_id(&self) -> Option<SequenceId> {
        self.0.last().map(|(epoch, _, seq)| SequenceId { epoch: Arc::clone(epoch), seq: *seq })
    }

    /// Checks that each frame continues the previous one and that a new epoch starts with 1.
    fn check(&self) {
        for pair in self.0.windows(2) {
            let [(before, _, last), (epoch, from, to)] = pair else { unreachable!() };
            let expected = if before == epoch { last + 1 } else { 1 };
            assert_eq!(*from, expected, "{:?}", self.0);
            assert!(to >= from, "{:?}", self.0);
        }
    }
}

async fn run_steps(steps: Vec<(u8, u64)>) {
    let env = env();
    let mut client = env.client(&trades()).await;
    let mut log = ReceivedLog::default();
    let (mut epoch, mut seq) = (0_u32, 0_u64);
    let event = |epoch: u32, seq| BusEvent { epoch: epoch.to_string().into(), ..data(seq) };
    for (step, count) in steps {
        match step {
            0 => {
                (epoch, seq) = (epoch + 1, 1);
                let kind = BusEventKind::Gap(GapReason::NewEpoch);
                env.publish(&trades(), BusEvent { kind, ..event(epoch, seq) }).await;
            }
            // The bus loses events.
            1 => seq += count,
            2 => log.read(&mut client, usize::try_from(count).unwrap() * 10),
            // The client reconnects and resumes.
            3 => {
                let Some(id) = log.last_id() else { continue };
                client = env.hub.subscriber();
                let slot = client.add(env.hub.subscribe(&trades()).await.unwrap());
                if let Some(missed) = client.resume(slot, &id) {
                    log.record(&Frame::gap(&trades(), &missed));
                }
                client.start(slot);
            }
            _ => {
                for _ in 0..count {
                    seq += 1;
                    env.publish(&trades(), event(epoch, seq)).await;
                }
            }
        }
    }
    log.read(&mut client, usize::MAX);
    log.check();
    if let Some(last_id) = log.last_id() {
        let latest = env.hub.topic_buffers.lock()[&trades()].state.read().ring.latest_sequence_id().cloned();
        assert_eq!(Some(last_id), latest, "all frames are read");
    }
}
