//! One hub over a bus that a test can break.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::*;
use crate::cache::{BusEvent, BusEventKind, CacheError};
use crate::model::{ExchangeId, GapReason, Symbol, Timestamp};

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

/// A demand that counts who wants what.
#[derive(Default)]
struct FakeDemand(Mutex<Vec<(Symbol, Duration)>>);

#[async_trait]
impl Demand for FakeDemand {
    async fn want(&self, _: ExchangeId, symbol: &Symbol, ttl: Duration) -> Result<(), CacheError> {
        self.0.lock().push((symbol.clone(), ttl));
        Ok(())
    }

    async fn wanted(&self, _: ExchangeId) -> Result<Vec<Symbol>, CacheError> {
        Ok(Vec::new())
    }
}

struct House {
    bus: Arc<FakeBus>,
    demand: Arc<FakeDemand>,
    hub: Arc<Hub>,
    clock: Clock,
}

fn house() -> House {
    let bus = Arc::new(FakeBus::default());
    let demand = Arc::new(FakeDemand::default());
    let clock = Clock::manual(Timestamp::EPOCH);
    let mut cache = crate::cache::memory(clock.clone());
    cache.bus = Arc::clone(&bus) as Arc<dyn EventBus>;
    cache.demand = Arc::clone(&demand) as Arc<dyn Demand>;
    let config = HubConfig { ring: Bounds { frames: 16, bytes: 1 << 20 }, max_topics: 3, ..HubConfig::default() };
    House { bus, demand, hub: Hub::new(&cache, clock.clone(), config), clock }
}

impl House {
    /// A client of one topic, from now on.
    async fn client(&self, topic: &Topic) -> Subscriber {
        let mut client = self.hub.subscriber();
        let slot = client.add(self.hub.enter(topic).await.unwrap());
        client.start(slot);
        client
    }

    async fn publish(&self, topic: &Topic, event: BusEvent) {
        self.bus.publish(topic, event).await.unwrap();
        self.clock.advance(Duration::ZERO).await;
    }
}

/// What a client is given now, as JSON.
fn taken(client: &mut Subscriber) -> Vec<String> {
    let mut all = Vec::new();
    client.gather(usize::MAX, |_, frame| all.push(String::from_utf8(frame.json().to_vec()).unwrap()));
    all
}

/// The numbers that a client is given now; of a gap the first and the last.
fn numbers(client: &mut Subscriber) -> Vec<(u64, Option<u64>)> {
    let mut all = Vec::new();
    client.gather(usize::MAX, |_, frame| {
        let last = frame.place().map(|place| place.seq);
        all.push(if frame.is_gap() { (frame.from(), last) } else { (frame.from(), None) });
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
async fn subscribers_of_a_topic_share_one_listener_and_the_door_is_shut_after_a_while() {
    let house = house();
    let mut first = house.client(&trades()).await;
    let mut second = house.client(&trades()).await;
    assert_eq!((*house.bus.subscribed.lock(), house.hub.topics()), (1, 1));
    house.publish(&trades(), data(1)).await;
    assert_eq!((numbers(&mut first), numbers(&mut second)), (vec![(1, None)], vec![(1, None)]));
    drop((first, second));
    house.clock.advance(Duration::from_secs(59)).await;
    assert_eq!(house.hub.topics(), 1, "who lost the connection may come back");
    let mut third = house.client(&trades()).await;
    house.clock.advance(Duration::from_mins(10)).await;
    house.publish(&trades(), data(2)).await;
    assert_eq!(numbers(&mut third), [(2, None)]);
    assert_eq!(*house.bus.subscribed.lock(), 1);
    drop(third);
    house.clock.advance(Duration::from_secs(61)).await;
    assert_eq!(house.hub.topics(), 0);
    house.publish(&trades(), data(3)).await;
    assert!(house.bus.listeners.lock().is_empty(), "the bus is let go");
}

#[tokio::test]
async fn a_market_is_wanted_until_a_while_after_the_last_one_left() {
    let house = house();
    let client = house.client(&trades()).await;
    house.clock.advance(Duration::from_secs(25)).await;
    let linger = house.hub.config.linger;
    let wanted = vec![("BTC/USDT".parse::<Symbol>().unwrap(), linger); 3];
    assert_eq!(*house.demand.0.lock(), wanted, "at once, and each ten seconds");
    drop(client);
    house.clock.advance(Duration::from_secs(59)).await;
    assert_eq!(house.demand.0.lock().len(), 4, "once more at the end");
}

#[tokio::test]
async fn there_are_no_more_topics_than_allowed() {
    let house = house();
    for name in ["trades:okx:A/B", "trades:okx:B/B", "trades:okx:C/B"] {
        house.hub.enter(&topic(name)).await.unwrap();
    }
    assert_eq!(house.hub.enter(&trades()).await.err(), Some(Full));
    assert!(house.hub.enter(&topic("trades:okx:A/B")).await.is_ok());
}

#[tokio::test]
async fn a_slow_subscriber_of_a_ticker_gets_the_newest() {
    let house = house();
    let ticker = topic("ticker:binance:BTC/USDT");
    let mut slow = house.client(&ticker).await;
    assert_eq!(numbers(&mut slow), []);
    for seq in 1..=500 {
        house.bus.publish(&ticker, data(seq)).await.unwrap();
    }
    house.clock.advance(Duration::ZERO).await;
    assert_eq!(numbers(&mut slow), [(500, None)]);
    assert_eq!((numbers(&mut slow), slow.behind()), (vec![], 0));
    let mut late = house.client(&ticker).await;
    assert_eq!(numbers(&mut late), [], "only what comes from now on");
}

#[tokio::test]
async fn tickers_come_at_the_pace_that_the_client_asks_for() {
    let house = house();
    let ticker = topic("ticker:binance:BTC/USDT");
    let mut client = house.client(&ticker).await;
    let slot = client.find(&ticker).unwrap();
    client.set_pace(slot, Duration::from_millis(250));
    let mut seen = Vec::new();
    for seq in 1..=100 {
        house.publish(&ticker, data(seq)).await;
        seen.extend(numbers(&mut client).into_iter().map(|(seq, _)| seq));
        house.clock.advance(Duration::from_millis(100)).await;
    }
    assert_eq!(seen.len(), 34, "{seen:?}");
    assert!(seen.is_sorted());
    house.publish(&ticker, data(101)).await;
    assert_eq!(numbers(&mut client), [], "it is not time yet");
    {
        let waiting = client.ready();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        house.clock.advance(Duration::from_millis(250)).await;
        waiting.await;
    }
    assert_eq!(numbers(&mut client), [(101, None)], "the newest comes when its time has come");
}

#[tokio::test]
async fn a_slow_subscriber_of_trades_is_told_which_numbers_it_missed() {
    let house = house();
    let mut slow = house.client(&trades()).await;
    house.publish(&trades(), data(1)).await;
    assert_eq!(numbers(&mut slow), [(1, None)]);
    for seq in 2..=30 {
        house.publish(&trades(), data(seq)).await;
    }
    let mut told = Vec::new();
    slow.gather(1, |_, frame| told.push(String::from_utf8(frame.json().to_vec()).unwrap()));
    assert_eq!(told.len(), 2, "about as much as was asked for: {told:?}");
    assert!(told[0].contains("\"from_seq\":2,\"to_seq\":14,\"reason\":\"slow_client\""), "{}", told[0]);
    assert!(slow.behind() > 0);
    let rest = numbers(&mut slow);
    assert_eq!((rest.first(), rest.last(), rest.len()), (Some(&(16, None)), Some(&(30, None)), 15));
    assert_eq!(slow.behind(), 0, "who caught up is not behind");
}

#[tokio::test]
async fn a_jump_in_the_numbers_of_the_bus_is_a_gap() {
    let house = house();
    let mut client = house.client(&trades()).await;
    house.publish(&trades(), data(5)).await;
    house.publish(&trades(), data(5)).await;
    house.publish(&trades(), data(9)).await;
    let told = taken(&mut client);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[1].contains("\"epoch\":\"e\",\"from_seq\":6,\"to_seq\":8,\"reason\":\"bus_lost\""), "{}", told[1]);
    house.publish(&trades(), BusEvent { epoch: "f".into(), ..data(3) }).await;
    let told = taken(&mut client);
    assert!(told[0].contains("\"epoch\":\"f\",\"from_seq\":1,\"to_seq\":2,\"reason\":\"new_epoch\""), "{}", told[0]);
}

#[tokio::test]
async fn a_lost_bus_is_a_gap_and_is_listened_to_again() {
    let house = house();
    let mut client = house.client(&trades()).await;
    house.publish(&trades(), data(7)).await;
    assert_eq!(numbers(&mut client), [(7, None)]);
    *house.bus.broken.lock() = true;
    house.bus.listeners.lock().clear();
    house.clock.advance(Duration::from_mins(1)).await;
    assert!(taken(&mut client).is_empty());
    *house.bus.broken.lock() = false;
    house.clock.advance(Duration::from_secs(6)).await;
    let told = taken(&mut client);
    assert!(told[0].contains("\"from_seq\":8,\"to_seq\":null,\"reason\":\"bus_lost\""), "{told:?}");
    house.publish(&trades(), data(9)).await;
    assert_eq!(numbers(&mut client), [(9, None)], "the gap ends with the next number");
}

#[tokio::test]
async fn a_dead_bus_does_not_hold_a_subscriber_for_ever() {
    let house = house();
    *house.bus.broken.lock() = true;
    let trades = trades();
    let (seat, ()) = tokio::join!(house.hub.enter(&trades), house.clock.advance(Duration::from_secs(2)));
    assert!(seat.is_ok());
}

#[tokio::test]
async fn who_comes_back_goes_on_where_it_was() {
    let house = house();
    let mut client = house.client(&trades()).await;
    for seq in 1..=10 {
        house.publish(&trades(), data(seq)).await;
    }
    assert_eq!(numbers(&mut client).len(), 10);
    drop(client);
    for seq in 11..=20 {
        house.publish(&trades(), data(seq)).await;
    }
    let place = |seq| Place { epoch: "e".into(), seq };
    let mut back = house.hub.subscriber();
    let slot = back.add(house.hub.enter(&trades()).await.unwrap());
    assert_eq!(back.resume(slot, &place(10)), None);
    back.start(slot);
    assert_eq!(numbers(&mut back).into_iter().map(|(seq, _)| seq).collect::<Vec<_>>(), (11..=20).collect::<Vec<_>>());

    let mut late = house.hub.subscriber();
    let slot = late.add(house.hub.enter(&trades()).await.unwrap());
    let missed = late.resume(slot, &place(2)).unwrap();
    assert_eq!((missed.from, missed.to, missed.reason), (Some(3), Some(20), GapReason::ResumeExpired));
    late.start(slot);
    house.publish(&trades(), data(21)).await;
    assert_eq!(numbers(&mut late), [(21, None)]);

    let mut stranger = house.hub.subscriber();
    let slot = stranger.add(house.hub.enter(&topic("trades:okx:A/B")).await.unwrap());
    let missed = stranger.resume(slot, &place(2)).unwrap();
    assert_eq!((missed.from, missed.to, missed.reason), (Some(3), None, GapReason::ResumeExpired));
}

proptest::proptest! {
    /// Whatever happens between a publisher and a client, each number is seen once, or named by a gap.
    #[test]
    fn each_number_is_seen_once_or_named(steps in proptest::collection::vec((0_u8..10, 1_u64..30), 1..80)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(each_number(steps));
    }
}

/// What a client knows: of each epoch the numbers that it saw or that were named, as they came.
#[derive(Default)]
struct Account(Vec<(Arc<str>, u64, u64)>);

impl Account {
    fn gather(&mut self, client: &mut Subscriber, budget: usize) {
        client.gather(budget, |_, frame| self.note(frame));
    }

    fn note(&mut self, frame: &Frame) {
        let place = frame.place().expect("nothing was lost without a number");
        self.0.push((Arc::clone(&place.epoch), frame.from(), place.seq));
    }

    fn last(&self) -> Option<Place> {
        self.0.last().map(|(epoch, _, seq)| Place { epoch: Arc::clone(epoch), seq: *seq })
    }

    /// Each number follows the one before it; a new epoch begins with its first.
    fn check(&self) {
        for pair in self.0.windows(2) {
            let [(before, _, last), (epoch, from, to)] = pair else { unreachable!() };
            let expected = if before == epoch { last + 1 } else { 1 };
            assert_eq!(*from, expected, "{:?}", self.0);
            assert!(to >= from, "{:?}", self.0);
        }
    }
}

async fn each_number(steps: Vec<(u8, u64)>) {
    let house = house();
    let mut client = house.client(&trades()).await;
    let mut account = Account::default();
    let (mut epoch, mut seq) = (0_u32, 0_u64);
    let event = |epoch: u32, seq| BusEvent { epoch: epoch.to_string().into(), ..data(seq) };
    for (step, many) in steps {
        match step {
            0 => {
                (epoch, seq) = (epoch + 1, 1);
                let kind = BusEventKind::Gap(GapReason::NewEpoch);
                house.publish(&trades(), BusEvent { kind, ..event(epoch, seq) }).await;
            }
            // The bus loses some.
            1 => seq += many,
            2 => account.gather(&mut client, usize::try_from(many).unwrap() * 10),
            // The connection breaks, and the client comes back.
            3 => {
                let Some(place) = account.last() else { continue };
                client = house.hub.subscriber();
                let slot = client.add(house.hub.enter(&trades()).await.unwrap());
                if let Some(missed) = client.resume(slot, &place) {
                    account.note(&Frame::gap(&trades(), &missed));
                }
                client.start(slot);
            }
            _ => {
                for _ in 0..many {
                    seq += 1;
                    house.publish(&trades(), event(epoch, seq)).await;
                }
            }
        }
    }
    account.gather(&mut client, usize::MAX);
    account.check();
    if let Some(last) = account.last() {
        let newest = house.hub.rooms.lock()[&trades()].state.read().ring.newest().cloned();
        assert_eq!(Some(last), newest, "and nothing is left");
    }
}
